"""Messages: what is read of them, what is refused, and with which words."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import RFC_4122, UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.envelopes import body_of
from worker.errors import InvalidPayload, PayloadTooLarge, Rejected, Unreadable
from worker.messages import (
    BODY_MAX,
    KEY_MAX,
    PAYLOAD_MAX,
    Message,
    Payload,
    canonical,
    check_headers,
    deadline,
    digest_of,
    payload_version,
    printable,
    random_id,
    read_payload,
    text_of,
    traceparent,
)

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
names = st.text("abcdäß🙂", max_size=4)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
payloads = st.dictionaries(
    names, st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=8)
)


def message(body: bytes, **headers: Any) -> Message:
    return Message("users.create", str(uuid4()), body, headers=headers)


def of(kwargs: str, **headers: Any) -> Message:
    """A message whose kwargs are this JSON, as a client in any language may have written it."""
    return message(f"[[], {kwargs}, {json.dumps(EMBED)}]".encode("utf-8", "surrogatepass"), **headers)


def shuffled(value: Any, order: Any) -> Any:
    """The same JSON value, with the keys of every object in another order."""
    match value:
        case dict():
            items = [(key, shuffled(item, order)) for key, item in value.items()]
            order.shuffle(items)
            return dict(items)
        case list():
            return [shuffled(item, order) for item in value]
        case _:
            return value


# The canonical form


@given(payloads, st.randoms(), st.sampled_from([None, 0, 3, "\t"]), st.booleans())
def test_neither_the_order_of_keys_nor_spaces_nor_escapes_change_a_payload(
    payload: dict[str, Any],
    order: Any,
    indent: int | str | None,
    ascii_only: bool,  # noqa: FBT001 - hypothesis passes by position
) -> None:
    plain = read_payload(message(body_of(orjson.dumps(payload))))
    other = json.dumps(shuffled(payload, order), indent=indent, ensure_ascii=ascii_only)

    assert read_payload(of(other)) == plain


@given(payloads)
def test_the_canonical_form_reads_back_as_the_payload_and_is_its_own_canonical_form(
    payload: dict[str, Any],
) -> None:
    text = canonical(payload)

    assert json.loads(text) == payload
    assert canonical(json.loads(text)) == text


@given(payloads, payloads)
def test_two_payloads_have_one_digest_only_when_they_are_written_alike(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    read_one, read_other = (read_payload(message(body_of(canonical(payload)))) for payload in (one, other))

    assert (read_one.digest == read_other.digest) == (canonical(one) == canonical(other))


def test_an_integer_and_the_same_number_with_a_fraction_are_two_payloads() -> None:
    assert read_payload(of('{"x": 1}')).digest != read_payload(of('{"x": 1.0}')).digest


def test_of_a_key_that_occurs_twice_the_last_value_counts() -> None:
    assert read_payload(of('{"x": 1, "x": 2}')).canonical == b'{"x":2}'


# What no task takes

HOSTILE = {
    "NUL": r'"a\u0000b"',
    "half a surrogate pair": r'"\ud800"',
    "the other half": r'"a\udfffb"',
    "not a number": "NaN",
    "infinity": "Infinity",
    "minus infinity": "-Infinity",
    "too large for a double": "1e999",
    "too small for a double": "-1e999",
    "one above 64 bits": str(2**63),
    "unsigned 64 bits": str(2**64 - 1),
    "65 bits": str(2**64),
    "one below 64 bits": str(-(2**63) - 1),
    "a googol": "1" + 100 * "0",
}
PLACES = [
    ('{{"field": {0}}}', "field"),
    ('{{"a": {{"b": [1, {{"c": {0}}}]}}}}', "a.b.1.c"),
    ('{{"before": null, "list": ["x", [{0}]], "after": 1e3}}', "list.1.0"),
    ('{{"ü": {{"": {0}}}}}', "ü."),
]


@pytest.mark.parametrize(("place", "field"), PLACES)
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_no_store_can_keep_is_refused_and_its_place_is_named(value: str, place: str, field: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        read_payload(of(place.format(value)))

    assert refused.value.field == field


@pytest.mark.parametrize("key", [r"\u0000", r"a\ud800"])
def test_a_hostile_key_is_refused_and_named_in_printable_text(key: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        read_payload(of(f'{{"outer": {{"{key}": 1}}}}'))

    field = refused.value.field
    assert field is not None
    assert field.startswith("outer.")
    assert printable(field) == field


@given(payloads, st.lists(names, min_size=1, max_size=5), st.sampled_from(sorted(HOSTILE.values())))
def test_a_hostile_value_is_found_however_deep_and_beside_whatever(
    payload: dict[str, Any], path: list[str], value: str
) -> None:
    nested = value
    for name in reversed(path):
        nested = f"{{{json.dumps(name)}: {nested}}}"
    beside = json.dumps(payload).removeprefix("{").removesuffix("}")
    whole = f'{{{beside}{"," if beside else ""} "hostile": {nested}}}'

    with pytest.raises(InvalidPayload) as refused:
        read_payload(of(whole))

    assert refused.value.field == ".".join(["hostile", *path])


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0])
def test_every_integer_of_64_bits_is_taken(number: int) -> None:
    assert read_payload(of(f'{{"x": {number}}}')).canonical == b'{"x":%d}' % number


@given(st.text(st.characters()))
def test_whatever_text_comes_is_kept_exactly_or_refused(text: str) -> None:
    body = message(json.dumps([[], {"x": text}, EMBED]).encode())

    if printable(text) == text:
        assert json.loads(read_payload(body).canonical) == {"x": text}
    else:
        with pytest.raises(InvalidPayload):
            read_payload(body)


# Size


def padded(size: int) -> dict[str, str]:
    """A payload whose canonical JSON has so many bytes."""
    return {"x": "a" * (size - len(canonical({"x": ""})))}


def test_a_payload_of_256_kib_is_taken() -> None:
    assert len(read_payload(message(body_of(canonical(padded(256 * 1024))))).canonical) == PAYLOAD_MAX == 256 * 1024


def test_a_payload_of_one_byte_more_is_too_large() -> None:
    with pytest.raises(PayloadTooLarge, match=str(PAYLOAD_MAX + 1)):
        read_payload(message(body_of(canonical(padded(PAYLOAD_MAX + 1)))))


def test_it_is_the_canonical_form_that_is_measured() -> None:
    escaped = json.dumps({"x": "é" * ((PAYLOAD_MAX - 8) // 2)}, indent=8)

    assert len(escaped) > 2 * PAYLOAD_MAX
    assert len(read_payload(of(escaped)).canonical) == PAYLOAD_MAX


def test_a_body_that_is_far_too_long_is_refused_without_being_read() -> None:
    with pytest.raises(PayloadTooLarge, match=str(BODY_MAX + 1)):
        read_payload(message(b"[" * (BODY_MAX + 1)))


# Bodies that cannot be read

UNREADABLE = {
    "nothing": b"",
    "no JSON": b"\x80\x04\x95pickle",
    "no UTF-8": b'[[], {"x": "\xff"}, {}]',
    "JSON that ends early": b'[[], {"x": 1}, {}',
    "JSON and more": b"[[], {}, {}] []",
    "null": b"null",
    "a number": b"7",
    "a list of none": b"[]",
    "a list of two": b"[[], {}]",
    "a list of four": b"[[], {}, {}, {}]",
    "kwargs that are a list": b"[[], [], {}]",
    "kwargs that are null": b"[[], null, {}]",
    "kwargs that are text": b'[[], "{}", {}]',
    "an object": b'{"args": [], "kwargs": {}, "embed": {}}',
    "text": b'"abc"',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_body_that_is_no_message_of_celery_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_payload(message(body))


@pytest.mark.parametrize("depth", [253, 254, 500, 5_000, 250_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_taken_or_refused_but_never_harms(depth: int, opening: str, closing: str) -> None:
    innermost = "0" if opening == "[" else "{}"

    try:
        read = read_payload(of(f'{{"x": {opening * depth}{innermost}{closing * depth}}}'))
    except (Rejected, Unreadable):
        pass
    else:
        assert isinstance(read, Payload)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_the_message_is_read_or_refused(body: bytes) -> None:
    try:
        read = read_payload(message(body))
    except (Rejected, Unreadable):
        pass
    else:
        assert canonical(json.loads(read.canonical)) == read.canonical


@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "application/x-yaml", "text/plain", ""])
def test_another_content_type_than_json_is_unreadable(content_type: str) -> None:
    with pytest.raises(Unreadable, match="only application/json"):
        read_payload(Message("users.create", "1", body_of(b"{}"), content_type))


@pytest.mark.parametrize("args", ["[1]", '["Ada", "ada@example.org"]', "[null]", '{"0": 1}', '"x"'])
def test_positional_arguments_are_refused(args: str) -> None:
    with pytest.raises(InvalidPayload, match="by name") as refused:
        read_payload(message(f'[{args}, {{"name": "Ada"}}, {{}}]'.encode()))

    assert refused.value.field == "args"


# Headers


@pytest.mark.parametrize(
    ("headers", "version"), [({}, 1), ({"payload_version": 1}, 1), ({"payload_version": "2"}, 2)]
)
def test_the_version_of_a_payload_is_1_unless_its_header_says_another(
    headers: dict[str, object], version: int
) -> None:
    assert payload_version(headers) == version


@pytest.mark.parametrize("version", [0, -1, "", "1.0", 1.0, True, None, [1], "\u0661", "01", "9" * 5_000])
def test_what_is_no_version_is_unreadable(version: object) -> None:
    with pytest.raises(Unreadable, match="payload_version"):
        payload_version({"payload_version": version})


def test_the_digest_is_that_of_the_payload_whatever_its_version() -> None:
    assert digest_of(of('{"x": 1}', payload_version=7)) == digest_of(of('{"x": 1}'))


zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=zones))
def test_a_deadline_is_the_moment_that_was_written(moment: datetime) -> None:
    assert deadline({"deadline": moment.isoformat()}) == moment


def test_a_deadline_may_end_in_z() -> None:
    expected = datetime(2030, 1, 31, 12, tzinfo=UTC)

    assert deadline({"deadline": "2030-01-31T12:00:00Z"}) == expected
    assert deadline({"deadline": "2030-01-31T14:00:00+02:00"}) == expected


def test_what_celery_says_of_expiry_without_a_zone_is_in_utc() -> None:
    expected = datetime(2030, 1, 31, 12, tzinfo=UTC)

    assert deadline({"expires": "2030-01-31T12:00:00"}) == expected
    with pytest.raises(InvalidPayload, match="zone"):
        deadline({"deadline": "2030-01-31T12:00:00"})


def test_without_a_deadline_there_is_none() -> None:
    assert deadline({}) is None


@pytest.mark.parametrize(
    "wrong", ["", "soon", "2030-01-31", "2030-01-31T12:00:00", "2030-02-30T12:00:00Z", 1_900_000_000, True, ["x"]]
)
def test_a_deadline_that_is_no_time_with_a_zone_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidPayload, match="RFC 3339") as refused:
        check_headers({"deadline": wrong})

    assert refused.value.field == "deadline"


def test_a_message_past_its_deadline_can_still_be_read() -> None:
    past = datetime.now(UTC) - timedelta(days=1)

    assert read_payload(of("{}", deadline=past.isoformat())).canonical == b"{}"


@pytest.mark.parametrize("key", ["k", " ", "Zoë", "🙂" * KEY_MAX])
def test_a_key_of_1_to_512_characters_is_taken(key: str) -> None:
    assert read_payload(of("{}", idempotency_key=key)).canonical == b"{}"


@pytest.mark.parametrize("key", ["", "k" * (KEY_MAX + 1), "a\0b", "a\ud800", 42, True, ["k"], {"k": 1}])
def test_any_other_key_is_refused(key: object) -> None:
    with pytest.raises(InvalidPayload) as refused:
        check_headers({"idempotency_key": key})

    assert refused.value.field == "idempotency_key"


@pytest.mark.parametrize(
    ("header", "wanted"), [(True, True), (False, False), (None, False), ("true", False), (1, False)]
)
def test_a_result_is_wanted_only_when_the_header_is_true(header: object, wanted: bool) -> None:  # noqa: FBT001
    assert message(b"", want_result=header).wants_result is wanted
    assert message(b"").wants_result is False


def test_a_well_formed_trace_context_is_kept() -> None:
    given_context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    assert traceparent({"traceparent": given_context}) == given_context


@pytest.mark.parametrize("wrong", [None, "", "00-4bf9-00f0-01", 7, "00-" + "G" * 32 + "-00f067aa0ba902b7-01"])
def test_any_other_trace_context_is_left_out_and_refuses_nothing(wrong: object) -> None:
    assert traceparent({"traceparent": wrong}) is None
    assert read_payload(of("{}", traceparent=wrong)).canonical == b"{}"


def test_headers_that_are_not_ours_are_not_looked_at() -> None:
    assert read_payload(of("{}", retries="many", x={"y": float("nan")})).canonical == b"{}"


# Printable text


@given(st.text(st.characters()))
def test_printable_text_has_no_nul_and_is_utf_8_and_its_own_printable_form(text: str) -> None:
    shown = printable(text)

    assert "\0" not in shown
    assert shown.encode().decode() == shown
    assert printable(shown) == shown


@given(texts)
def test_text_that_can_be_kept_is_printed_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_random_ids_are_uuids_of_version_4_and_differ() -> None:
    made = [random_id() for _ in range(1_000)]

    read = {UUID(text) for text in made}

    assert len(read) == 1_000
    assert {(one.version, one.variant) for one in read} == {(4, RFC_4122)}
    assert made == [str(UUID(text)) for text in made]


@given(st.uuids())
def test_the_text_of_an_id_is_that_which_everybody_writes(made: UUID) -> None:
    assert text_of(made) == str(made)
