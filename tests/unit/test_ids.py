"""Job ids and digests: what the reference page publishes holds, for our code and for the page's own examples."""

import json
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import RFC_4122, UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.messages import Message, canonical, derive_id, job_id, read_payload

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "job-ids.md"
TASK = "accounts.transfer"


def rows_under(heading: str) -> list[tuple[str, ...]]:
    """The rows of the table under a heading of the page, each cell without its backquotes."""
    section = PAGE.read_text().split(f"### {heading}\n")[1].split("\n#")[0]
    return [
        tuple(cell.strip().strip("`") for cell in line.strip("|").split("|"))
        for line in section.splitlines()
        if line.startswith("| `")
    ]


def example(name: str) -> Callable[..., Any]:
    """The function of this name that the page gives as its example."""
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        if f"def {name}(" in code:
            names: dict[str, Any] = {}
            exec(code, names)  # noqa: S102 - our own page, to prove that it can be copied
            found: Callable[..., Any] = names[name]
            return found
    raise LookupError(f"the page has no example {name}")


ID_VECTORS = rows_under("Test vectors for ids")
DIGEST_VECTORS = rows_under("Test vectors for digests")
UNCLAIMED = {"e+", "e-", "0.00001"}  # numbers that the page's example does not claim

tasks = st.from_regex(r"[a-z]{1,20}\.[a-z_]{1,20}", fullmatch=True)
keys = st.text(min_size=1, max_size=80)


# The published vectors


def test_the_page_has_enough_vectors_of_each_kind() -> None:
    assert len(ID_VECTORS) >= 8
    assert len(DIGEST_VECTORS) >= 6


@pytest.mark.parametrize(("task", "key", "published"), ID_VECTORS)
def test_each_published_id_is_what_the_code_and_the_example_derive(task: str, key: str, published: str) -> None:
    key = json.loads(key)

    assert str(derive_id(task, key)) == published
    assert str(example("job_id")(task, key)) == published


@pytest.mark.parametrize(("payload", "form", "digest"), DIGEST_VECTORS)
def test_each_published_digest_is_that_of_the_canonical_form(payload: str, form: str, digest: str) -> None:
    read = read_payload(Message(TASK, str(uuid4()), b"[[]," + payload.encode() + b",{}]"))

    assert read.canonical.decode() == form
    assert read.digest.hex() == digest == sha256(form.encode()).hexdigest()


@pytest.mark.parametrize(
    ("payload", "form", "digest"), [row for row in DIGEST_VECTORS if not any(part in row[1] for part in UNCLAIMED)]
)
def test_the_digest_example_agrees_wherever_it_claims_to(payload: str, form: str, digest: str) -> None:
    assert example("digest")(json.loads(payload)) == digest


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcäß🙂\ufb01", max_size=3), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abcäß🙂\ufb01", max_size=3), plain_values))
def test_the_digest_example_agrees_on_any_payload_without_fractions(payload: dict[str, Any]) -> None:
    assert example("digest")(payload) == sha256(canonical(payload)).hexdigest()


def written(number: float) -> str:
    """A double as the page says that it is written."""
    digits, _, exponent = repr(number).partition("e")
    if not exponent:
        return digits
    if exponent == "-05":
        return f"{'-' * (number < 0)}0.0000{digits.lstrip('-').replace('.', '')}"
    return f"{digits}e{int(exponent):+}"


@given(st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1e-4, 1e-4) | st.floats(1e14, 1e18))
def test_a_double_is_written_as_the_page_says(number: float) -> None:
    assert canonical({"x": number}).decode() == f'{{"x":{written(number)}}}'


# Laws


@given(tasks, keys)
def test_a_derived_id_is_a_uuid_of_version_8_and_the_rfc_variant(task: str, key: str) -> None:
    derived = derive_id(task, key)

    assert derived.variant == RFC_4122
    assert derived.bytes[6] >> 4 == 8
    assert derived.bytes[8] >> 6 == 0b10


@given(tasks, keys)
def test_a_derived_id_keeps_all_other_bits_of_the_hash(task: str, key: str) -> None:
    hashed = sha256(f"trivet\0{task}\0{key}".encode()).digest()[:16]
    fixed = 0xF << 76 | 0b11 << 62

    assert derive_id(task, key).int & ~fixed == int.from_bytes(hashed) & ~fixed


@given(st.tuples(tasks, keys), st.tuples(tasks, keys))
def test_two_pairs_have_one_id_only_when_they_are_one_pair(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (derive_id(*one) == derive_id(*other)) == (one == other)


@given(keys)
def test_a_key_decides_the_id_whatever_the_task_id_is(key: str) -> None:
    by_key = [
        Message(TASK, task_id, b"", headers={"idempotency_key": key}) for task_id in (str(uuid4()), "mine", "")
    ]

    assert {job_id(message) for message in by_key} == {derive_id(TASK, key)}


@given(st.uuids())
def test_a_task_id_that_is_a_uuid_is_the_id_in_either_case(task_id: UUID) -> None:
    assert job_id(Message(TASK, str(task_id), b"")) == task_id
    assert job_id(Message(TASK, str(task_id).upper(), b"")) == task_id


@pytest.mark.parametrize(
    "task_id",
    [
        "order-42",
        "",
        "9b58e811c74a8e899487d23fd11f069f",
        "{9b58e811-c74a-8e89-9487-d23fd11f069f}",
        "urn:uuid:9b58e811-c74a-8e89-9487-d23fd11f069f",
        "9b58e811-c74a-8e89-9487-d23fd11f069f\n",
        "９b58e811-c74a-8e89-9487-d23fd11f069f",  # noqa: RUF001 - a digit, and not of ASCII
        "with \ud800 in it",
    ],
)
def test_any_other_task_id_counts_as_a_key(task_id: str) -> None:
    assert job_id(Message(TASK, task_id, b"")) == derive_id(TASK, task_id)


@pytest.mark.parametrize("key", [None, "", 7, ["order-42"], True])
def test_a_header_that_is_no_key_does_not_hide_the_message(key: object) -> None:
    task_id = uuid4()

    assert job_id(Message(TASK, str(task_id), b"", headers={"idempotency_key": key})) == task_id
