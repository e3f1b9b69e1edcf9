"""Whatever a message holds, it gets an ending of its own, nothing of it is written, and its neighbours run."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from tests.fixtures.jobs import Bank, Runner, empty, message
from worker.delivery.node import Node
from worker.errors import Outcome
from worker.execution.attempt import Ending
from worker.messages import PAYLOAD_MAX, Message, job_id
from worker.stores.resources import Resources

AMOUNT_MAX = 2**53 - 1


@dataclass(frozen=True)
class World:
    """What a payload may name: rows that are there, each fit for something else."""

    bank: Bank
    user: UUID
    account: UUID
    other: UUID
    dollars: UUID
    closed: UUID
    full: UUID
    usual: dict[str, dict[str, int]] = field(default_factory=dict)

    @classmethod
    def make(cls, bank: Bank) -> "World":
        user = bank.user()
        account, other = bank.open_many(2, 1_000, owner=user)
        closed = bank.open(owner=user)
        bank.value("UPDATE accounts SET closed_at = now() WHERE id = :id RETURNING 1", id=closed)
        dollars = bank.open(1_000, "USD", user)
        return cls(bank, user, account, other, dollars, closed, bank.open(AMOUNT_MAX, owner=user))

    def valid(self, task: str) -> dict[str, Any]:
        """A payload that succeeds, with no side effect on other payloads of this world."""
        payloads: dict[str, dict[str, Any]] = {
            "users.create": {"name": "Bob", "email": f"{uuid4()}@example.org"},
            "accounts.open": {"owner_id": str(self.user), "currency": "EUR", "opening_balance": 1},
            "accounts.deposit": {"account": str(self.account), "amount": 5},
            "accounts.transfer": {"source": str(self.account), "target": str(self.other), "amount": 1},
        }
        return payloads[task]

    def written(self) -> dict[str, int]:
        """How much of the business there is, in PostgreSQL and in MongoDB."""
        counts: dict[str, int] = self.bank.rows(COUNTS)[0]._asdict()
        documents = self.bank.run.given.documents
        return counts | {f"{name} in MongoDB": documents[name].count_documents({}) for name in COLLECTIONS}

    def usually_written(self, task: str) -> dict[str, int]:
        """What two jobs of the task write by themselves."""
        if task not in self.usual:
            before = self.written()
            self.bank.run(*(message(task, self.valid(task)) for _ in range(2)))
            self.usual[task] = difference(self.written(), before)
        return self.usual[task]


def difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: int(after[name] - before[name]) for name in after}


COUNTS = """
    SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM accounts) AS accounts,
           (SELECT count(*) FROM ledger_entries) AS entries, (SELECT sum(balance) FROM accounts) AS money
"""
COLLECTIONS = ("users", "receipts")
TASKS = ("users.create", "accounts.open", "accounts.deposit", "accounts.transfer")
REQUIRED = {
    "users.create": ["name", "email"],
    "accounts.open": ["owner_id", "currency"],
    "accounts.deposit": ["account", "amount"],
    "accounts.transfer": ["source", "target", "amount"],
}
HOSTILE = {"NUL": "a\0b", "lone surrogate": "a\ud800b", "NaN": float("nan"), "Infinity": float("-inf")}


def _cases() -> Iterator[Any]:
    def case(task: str, field: str, what: str, value: object) -> Any:
        return pytest.param(task, {field: value}, field, id=f"{task} {field} {what}")

    for task in TASKS:
        yield case(task, "unknown", "field", 1)
        yield from (case(task, REQUIRED[task][0], what, value) for what, value in HOSTILE.items())
    yield from (case("accounts.deposit", "amount", what, value) for what, value in HOSTILE.items())
    for currency in ("eur", "EURO", "XXX", "EU", "E\N{LATIN CAPITAL LETTER U WITH DIAERESIS}R"):
        yield case("accounts.open", "currency", currency.encode("ascii", "replace").decode(), currency)
    for email in ("ada", "ada@", "@example.org", "ada@example", "a b@example.org", "a@b@example.org", "a@x..org"):
        yield case("users.create", "email", email, email)
    yield case("users.create", "email", "too long", f"{'a' * 60}@{'b' * 200}.example.org")


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """One world for the whole table: no case of it may leave a trace."""
    with closing(Resources.open(request.getfixturevalue("settings"))) as clients, closing(Node()) as node:
        empty(clients)
        yield World.make(Bank(Runner(clients, node)))


def run_between_neighbours(world: World, bad: Message) -> Ending:
    """Run a message in the middle of its batch, and prove that it is refused alone and without a trace."""
    usual = world.usually_written(bad.task)
    good = [message(bad.task, world.valid(bad.task)) for _ in range(2)]
    before = world.written()

    first, ending, last = world.bank.run(good[0], bad, good[1])

    assert (first.outcome, last.outcome) == (Outcome.SUCCEEDED, Outcome.SUCCEEDED)
    assert difference(world.written(), before) == usual
    recorded(world, bad, ending)
    return ending


def recorded(world: World, bad: Message, ending: Ending) -> None:
    """The ledger and exactly one event say what the ending says."""
    (row,) = world.bank.rows("SELECT * FROM trivet.jobs WHERE id = :id", id=job_id(bad))
    assert (row.state, row.data, row.task) == (ending.outcome.value, ending.data, bad.task)
    assert row.ended_at is not None
    (event,) = latest_events(world, bad)
    assert (event["type"], event["data"]) == (f"{bad.task}.{ending.outcome}", ending.data)
    assert event["subject"] == f"jobs/{job_id(bad)}"


def latest_events(world: World, of: Message) -> list[dict[str, Any]]:
    entries: Any = world.bank.run.given.redis.xrevrange("events", count=6)
    events = [orjson.loads(fields[b"event"]) for _, fields in entries]
    return [event for event in events if event["jobid"] == str(job_id(of))]


def rejected(ending: Ending, code: str, field: str | None) -> None:
    assert ending.outcome is Outcome.REJECTED
    assert (ending.data["code"], ending.data.get("field")) == (code, field)
    message = ending.data["message"]
    assert isinstance(message, str)
    assert message


@pytest.mark.parametrize(("task", "changes", "field"), list(_cases()))
def test_what_is_refused_harms_no_neighbour(world: World, task: str, changes: dict[str, Any], field: str) -> None:
    ending = run_between_neighbours(world, message(task, world.valid(task) | changes))

    rejected(ending, "invalid_payload", field)


RULES: dict[str, tuple[str, Callable[[World], dict[str, Any]], str, str | None]] = {
    "deposit, unknown account": (
        "accounts.deposit",
        lambda _: {"account": str(uuid4())},
        "account_not_found",
        None,
    ),
    "deposit, closed account": ("accounts.deposit", lambda w: {"account": str(w.closed)}, "account_closed", None),
    "deposit, full account": ("accounts.deposit", lambda w: {"account": str(w.full)}, "invalid_payload", "amount"),
    "deposit, a user's id": ("accounts.deposit", lambda w: {"account": str(w.user)}, "account_not_found", None),
    "open, unknown user": ("accounts.open", lambda _: {"owner_id": str(uuid4())}, "user_not_found", None),
    "open, an account's id": ("accounts.open", lambda w: {"owner_id": str(w.account)}, "user_not_found", None),
    "transfer, to itself": (
        "accounts.transfer",
        lambda w: {"target": str(w.account)},
        "same_account",
        "target",
    ),
    "transfer, to itself in capitals": (
        "accounts.transfer",
        lambda w: {"target": str(w.account).upper()},
        "same_account",
        "target",
    ),
    "transfer, unknown source": (
        "accounts.transfer",
        lambda _: {"source": str(uuid4())},
        "account_not_found",
        None,
    ),
    "transfer, unknown target": (
        "accounts.transfer",
        lambda _: {"target": str(uuid4())},
        "account_not_found",
        None,
    ),
    "transfer, other currency": (
        "accounts.transfer",
        lambda w: {"target": str(w.dollars)},
        "currency_mismatch",
        "target",
    ),
    "transfer, from a closed account": (
        "accounts.transfer",
        lambda w: {"source": str(w.closed)},
        "account_closed",
        None,
    ),
    "transfer, to a closed account": (
        "accounts.transfer",
        lambda w: {"target": str(w.closed)},
        "account_closed",
        None,
    ),
    "transfer, to a full account": (
        "accounts.transfer",
        lambda w: {"target": str(w.full)},
        "invalid_payload",
        "amount",
    ),
    "transfer, more than there is": (
        "accounts.transfer",
        lambda _: {"amount": AMOUNT_MAX},
        "insufficient_funds",
        "amount",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_what_breaks_a_rule_of_the_business_is_rejected_by_its_code(world: World, rule: str) -> None:
    task, changes, code, field = RULES[rule]

    ending = run_between_neighbours(world, message(task, world.valid(task) | changes(world)))

    rejected(ending, code, field)


@pytest.mark.parametrize("email", [str.lower, str.upper], ids=["same", "in capitals"])
def test_an_email_address_belongs_to_one_user(world: World, email: Callable[[str], str]) -> None:
    taken = world.valid("users.create")
    world.bank.run(message("users.create", taken))

    ending = run_between_neighbours(world, message("users.create", {"name": "Eve", "email": email(taken["email"])}))

    rejected(ending, "email_taken", "email")
    assert taken["email"] not in ending.data["message"].lower()


def test_of_two_users_with_one_email_address_in_one_batch_the_first_is_created(world: World) -> None:
    payload = world.valid("users.create")

    first, second = world.bank.run(message("users.create", payload), message("users.create", payload))

    assert first.outcome is Outcome.SUCCEEDED
    rejected(second, "email_taken", "email")


def body(kwargs: str, args: str = "[]") -> bytes:
    return f'[{args}, {kwargs}, {{"callbacks": null}}]'.encode()


def nested(depth: int, kind: str = "list") -> str:
    """A value this deep, as JSON."""
    start, end = ('{"a":', "}") if kind == "dict" else ("[", "]")
    return start * depth + "1" + end * depth


def deposit(world: World, amount: str, more: str = "") -> bytes:
    return body(f'{{"account": "{world.account}", "amount": {amount}{more}}}')


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1e400", "1.5", "5e0", "5.0", "1e308"])
def test_a_number_that_is_no_whole_one_is_refused_whatever_its_form(world: World, number: str) -> None:
    ending = run_between_neighbours(world, message("accounts.deposit", deposit(world, number)))

    rejected(ending, "invalid_payload", "amount")


@pytest.mark.parametrize("kind", ["list", "dict"])
@pytest.mark.parametrize("depth", [200, 300, 900, 50_000])
def test_however_deep_a_payload_is_it_ends_alone(world: World, depth: int, kind: str) -> None:
    bad = message("accounts.deposit", deposit(world, "5", f', "deep": {nested(depth, kind)}'))

    ending = run_between_neighbours(world, bad)

    assert ending.outcome in {Outcome.REJECTED, Outcome.PARKED}
    assert ending.data["code"] in {"invalid_payload", "unreadable"}


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ('{"deep": {"er": [1, "a\\u0000b"]}}', "deep.er.1"),
        ('{"deep": {"er": [1, "a\\ud800b"]}}', "deep.er.1"),
        ('{"deep": {"er": [1, NaN]}}', "deep.er.1"),
        ('{"a\\u0000b": 1}', "a\N{SYMBOL FOR NULL}b"),
        ('{"a\\udfffb": 1}', "a?b"),
        ('{"deep": {"er": 170141183460469231731687303715884105728}}', "deep.er"),
    ],
)
def test_what_no_store_can_keep_is_refused_at_its_place(world: World, raw: str, field: str) -> None:
    ending = run_between_neighbours(world, message("accounts.deposit", body(raw)))

    rejected(ending, "invalid_payload", field)


def of_size(size: int) -> dict[str, Any]:
    """A payload of so many bytes of canonical JSON."""
    payload = {"email": "ada@example.org", "name": ""}
    return payload | {"name": "x" * (size - len(json.dumps(payload, separators=(",", ":"))))}


def test_a_payload_of_256_kib_is_read(world: World) -> None:
    ending = run_between_neighbours(world, message("users.create", of_size(PAYLOAD_MAX)))

    rejected(ending, "invalid_payload", "name")


@pytest.mark.parametrize("size", [PAYLOAD_MAX + 1, 5 * PAYLOAD_MAX], ids=["one byte more", "five times that"])
def test_a_larger_payload_is_refused_for_its_size(world: World, size: int) -> None:
    ending = run_between_neighbours(world, message("users.create", of_size(size)))

    rejected(ending, "payload_too_large", None)


def test_the_form_of_the_json_does_not_count_towards_its_size(world: World) -> None:
    escaped = "\\u003c" * 200_000  # as Go's encoder writes `<`

    ending = run_between_neighbours(
        world, message("users.create", body(f'{{"name": "{escaped}", "email": "ada@example.org"}}'))
    )

    rejected(ending, "invalid_payload", "name")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf[[], {}, {}]",
        b"[[], {}, {}",
        b"null",
        b"7",
        b'"abc"',
        b"[]",
        b"[[], {}]",
        b"[[], {}, {}, {}]",
        b'{"args": [], "kwargs": {}, "embed": {}}',
        body("null"),
        body("[]"),
        body('["source", "target"]'),
        body("7"),
        body('"amount=5"'),
        b"\x80\x04K\x05.",
    ],
    ids=lambda raw: repr(raw)[2:-1],
)
def test_what_is_no_message_is_parked_with_its_raw_bytes(world: World, task: str, raw: bytes) -> None:
    bad = message(task, raw)

    ending = run_between_neighbours(world, bad)

    assert (ending.outcome, ending.data["code"]) == (Outcome.PARKED, "unreadable")
    assert world.bank.value("SELECT body FROM trivet.jobs WHERE id = :id", id=job_id(bad)) == raw


@pytest.mark.parametrize("key", ["x" * 200_000, "." * 200_000, "ä" * 100_000], ids=["letters", "dots", "umlauts"])
def test_a_key_however_long_makes_no_long_event(world: World, key: str) -> None:
    payload = world.valid("accounts.deposit") | {key: 1}

    ending = run_between_neighbours(world, message("accounts.deposit", payload))

    rejected(ending, "invalid_payload", f"{key[:1_000]}…")


@pytest.mark.parametrize(
    ("key", "told"), [("ada@example.org", "<address>"), ("a.b@x.org", "a.<address>"), ("a b", "a b"), ("@", "@")]
)
def test_an_address_that_is_a_key_is_in_no_event(world: World, key: str, told: str) -> None:
    unknown = world.valid("accounts.deposit") | {key: 1}
    within = {"collection": "notes", "id": "a", "body": {"mailed": {key: "\ud800"}}}

    rejected(run_between_neighbours(world, message("accounts.deposit", unknown)), "invalid_payload", told)
    (ending,) = world.bank.run(message("documents.put", within))
    assert ending.data["field"] == f"body.mailed.{told}"


@pytest.mark.parametrize("task", TASKS)
def test_an_empty_payload_is_rejected_for_the_first_field_that_is_missing(world: World, task: str) -> None:
    ending = run_between_neighbours(world, message(task, {}))

    rejected(ending, "invalid_payload", REQUIRED[task][0])


@pytest.mark.parametrize("args", ["[1]", "[null]", '{"amount": 5}', '"x"', "5"])
def test_positional_arguments_are_refused(world: World, args: str) -> None:
    ending = run_between_neighbours(
        world, message("accounts.deposit", body(f'{{"account": "{world.account}", "amount": 5}}', args))
    )

    rejected(ending, "invalid_payload", "args")


@pytest.mark.parametrize(
    "task_id", [" ", "a\0b", "a\ud800b", "x" * 10_000, "7", "0af7651916cd43dd8448eb211c80319c", "{0}"]
)
@pytest.mark.parametrize("want_result", [False, True])
def test_a_task_id_may_be_any_text(world: World, task_id: str, want_result: bool) -> None:  # noqa: FBT001 - a parameter
    before = world.bank.balance(world.account)
    payload = message("accounts.deposit", world.valid("accounts.deposit"))
    once = Message(payload.task, f"{task_id}{want_result:d}", payload.body, headers={"want_result": want_result})

    endings = world.bank.run(once, once)

    assert [ending.outcome.value for ending in endings] == ["succeeded"] * 2
    assert world.bank.balance(world.account) == before + 5
    (event,) = latest_events(world, once)
    assert event["type"] == "accounts.deposit.succeeded"


@pytest.mark.parametrize(
    "deadline",
    [
        "9999-12-31T23:59:59-01:00",
        "9999-12-31T23:59:59.999999Z",
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_a_deadline_at_the_end_of_time_is_no_trouble_for_later_messages(world: World, deadline: str) -> None:
    job = message("accounts.deposit", world.valid("accounts.deposit"), deadline=deadline)
    neighbour = message("accounts.deposit", world.valid("accounts.deposit"))

    endings = world.bank.run(job) + world.bank.run(job, neighbour)

    assert endings[0] == endings[1]
    assert endings[0].outcome in {Outcome.SUCCEEDED, Outcome.REJECTED}
    assert endings[2].outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("deadline", ["20300131T120000Z", "2030-W05-4T12:00:00Z", "2030-01-31Z", "2030-01-31T12Z"])
def test_a_deadline_in_another_form_than_rfc_3339_is_refused(world: World, deadline: str) -> None:
    bad = message("accounts.deposit", world.valid("accounts.deposit"), deadline=deadline)

    rejected(run_between_neighbours(world, bad), "invalid_payload", "deadline")


@pytest.mark.parametrize(
    "deadline",
    [
        "2199-01-31T12:00:00Z",
        "2199-01-31T12:00:00.123456789Z",
        "2199-01-31T12:00:00+05:30",
        "2199-01-31T12:00:00-00:00",
        "2199-01-31t12:00:00z",
        "2199-01-31 12:00:00Z",
    ],
)
def test_a_deadline_in_any_form_of_rfc_3339_is_taken(world: World, deadline: str) -> None:
    (ending,) = world.bank.run(message("accounts.deposit", world.valid("accounts.deposit"), deadline=deadline))

    assert ending.outcome is Outcome.SUCCEEDED


def test_the_whole_table_left_money_and_documents_in_step(world: World) -> None:
    world.bank.run.deliver_all()

    world.bank.check()
