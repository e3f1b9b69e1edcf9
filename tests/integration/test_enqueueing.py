"""What a producer may send by Python, what it is refused, and what it knows when Redis is not there."""

import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from kombu.connection import Connection

from tasks.accounts import Deposit, Transfer, deposit, transfer
from tasks.users import create
from tests.fixtures.jobs import Bank, message
from tests.fixtures.nodes import wait_for
from tests.fixtures.proxy import Proxy, proxied
from worker import Command, Result, UnitOfWork, job, producer
from worker.errors import InvalidPayload, Rejected
from worker.execution.enqueueing import Options
from worker.messages import derive_id
from worker.operations.embedded import Urls
from worker.operations.embedded.ports import choose
from worker.producer import CHUNK, NotEnqueued, QueueFull
from worker.stores.resources import Resources

pytestmark = pytest.mark.usefixtures("producing")

GOOD: dict[str, Any] = {"source": str(UUID(int=1)), "target": str(UUID(int=2)), "amount": 1}
NAIVE = datetime(2030, 1, 31, 12)  # noqa: DTZ001 - that is what is wrong with it

FAR = datetime.max.replace(tzinfo=timezone(-timedelta(hours=5)))

ANSWER = len(b"*2\r\n:1\r\n:1700000000000\r\n")
"""Bytes with which Redis answers a step."""

Queue = Callable[[], list[Any]]


class Remind(Command):
    """A command with a field that is also an option."""

    text: str
    deadline: str | None = None


class Reminded(Result):
    """Nothing to say."""


@job("accounts.remind")
def remind(_command: Remind, _work: UnitOfWork) -> Reminded:
    """Do nothing."""
    return Reminded()


@pytest.fixture
def queue(given: Resources) -> Queue:
    """The messages in the queue `accounts`, the first one sent first."""
    return lambda: [orjson.loads(raw) for raw in reversed(given.redis.lrange("accounts", 0, -1))]


@pytest.fixture
def proxy(servers: Urls, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Something between this producer and Redis that can be broken."""
    with proxied(servers.redis) as (proxy, url):
        monkeypatch.setenv("TRIVET_REDIS_URL", url)
        producer.close()
        yield proxy
        producer.close()


def deposits(count: int) -> list[Deposit]:
    return [Deposit(account=UUID(int=7), amount=amount) for amount in range(1, count + 1)]


def amounts(elements: list[Any]) -> list[int]:
    bodies = [orjson.loads(b64decode(element["body"])) for element in elements]
    return [kwargs["amount"] for _, kwargs, _ in bodies]


# What is refused

WRONG: list[tuple[dict[str, Any], str | None]] = [
    (GOOD | {"amount": 1.5}, "amount"),
    (GOOD | {"amount": 0}, "amount"),
    (GOOD | {"amount": "1"}, "amount"),
    (GOOD | {"amount": float("nan")}, "amount"),
    (GOOD | {"amount": 2**64}, "amount"),
    (GOOD | {"source": "nobody"}, "source"),
    (GOOD | {"source": "a\0b"}, "source"),
    (GOOD | {"source": "\ud800"}, "source"),
    (GOOD | {"note": "more"}, "note"),
    ({"amount": 1}, "source"),
    ({}, "source"),
    (GOOD | {"source": "x" * 300_000}, None),
]


@pytest.mark.parametrize(("payload", "field"), WRONG, ids=lambda value: str(value)[-40:])
def test_a_wrong_payload_is_refused_in_the_producer_as_a_worker_refuses_it_and_nothing_is_sent(
    payload: dict[str, Any], field: str | None, bank: Bank, given: Resources
) -> None:
    with pytest.raises(Rejected) as refused:
        transfer.enqueue(**payload)

    (ending,) = bank.run(message("accounts.transfer", payload))
    assert refused.value.data == ending.data
    assert refused.value.field == field
    assert not given.redis.exists("accounts")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "k" * 513}, "idempotency_key"),
        ({"deadline": NAIVE}, "deadline"),
        ({"eta": NAIVE}, "eta"),
        ({"idempotency_key": 0}, "idempotency_key"),
        ({"idempotency_key": [1]}, "idempotency_key"),
        ({"deadline": "2030-01-31T12:00:00Z"}, "deadline"),
        ({"eta": "2030-01-31T12:00:00Z"}, "eta"),
        ({"deadline": FAR}, "deadline"),
        ({"eta": FAR}, "eta"),
        ({"want_result": 1}, "want_result"),
        ({"traceparent": 0}, "traceparent"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_too(options: dict[str, Any], field: str, queue: Queue) -> None:
    with pytest.raises(InvalidPayload) as refused:
        transfer.enqueue(**GOOD, **options)

    assert refused.value.field == field
    assert queue() == []


def deep(levels: int) -> list[Any]:
    return [deep(levels - 1)] if levels else []


@pytest.mark.parametrize("value", [object(), deep(150)], ids=["an object", "deep"])
def test_what_cannot_be_json_is_refused(value: object, queue: Queue) -> None:
    with pytest.raises(InvalidPayload):
        transfer.enqueue(**GOOD | {"source": value})

    assert queue() == []


@pytest.mark.parametrize("wrong", [{"amount": 1.5}, {"amount": object()}], ids=["a fraction", "an object"])
@pytest.mark.parametrize("place", [0, 1, CHUNK + 1])
def test_of_many_none_is_sent_when_one_is_wrong_and_its_place_is_told(
    wrong: dict[str, Any], place: int, queue: Queue
) -> None:
    with pytest.raises(InvalidPayload) as refused:
        transfer.enqueue_many([*[GOOD] * place, GOOD | wrong, GOOD])

    assert str(refused.value.field).split(".")[0] == str(place)
    assert queue() == []


def test_a_command_of_another_job_is_a_mistake_of_the_program(queue: Queue) -> None:
    other: Any = Deposit(account=uuid4(), amount=1)

    with pytest.raises(TypeError, match="takes Transfer, not Deposit"):
        transfer.enqueue(other)

    assert queue() == []


# What is sent


def test_a_command_and_its_fields_make_the_same_payload(queue: Queue) -> None:
    source, target = uuid4(), uuid4()

    transfer.enqueue(Transfer(source=source, target=target, amount=1))
    transfer.enqueue(source=source, target=target, amount=1)
    transfer.enqueue_many([{"source": str(source), "target": str(target), "amount": 1}])

    assert len({element["body"] for element in queue()}) == 1


@pytest.mark.parametrize("name", ["Ada", "null and void"])
def test_what_an_iterator_yields_is_sent(given: Resources, name: str) -> None:
    posts = ({"title": title} for title in ("one", "two"))

    create.enqueue(name=name, email="ada@example.org", posts=posts)

    (element,) = given.redis.lrange("users", 0, -1)
    _, payload, _ = orjson.loads(b64decode(orjson.loads(element)["body"]))
    assert payload["posts"] == [{"title": "one"}, {"title": "two"}]


def test_options_become_headers_and_no_part_of_the_payload(queue: Queue) -> None:
    noon = datetime(2030, 1, 31, 12, tzinfo=UTC)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    sent = deposit.enqueue(
        *deposits(1),
        idempotency_key="order-42",
        want_result=True,
        deadline=noon + timedelta(hours=1),
        eta=noon,
        traceparent=trace,
    )

    (element,) = queue()
    assert (
        element["headers"].items()
        >= {
            "id": sent.task_id,
            "idempotency_key": "order-42",
            "want_result": True,
            "deadline": "2030-01-31T13:00:00+00:00",
            "eta": "2030-01-31T12:00:00+00:00",
            "traceparent": trace,
        }.items()
    )
    assert sent.job_id == derive_id("accounts.deposit", "order-42")
    assert amounts([element]) == [1]


def test_without_a_key_the_task_id_is_the_jobs_id() -> None:
    sent = deposit.enqueue(*deposits(1))

    assert str(sent.job_id) == sent.task_id


def test_a_field_named_like_an_option_is_given_in_a_command(queue: Queue) -> None:
    remind.enqueue(Remind(text="call", deadline="soon"))
    with pytest.raises(TypeError, match="deadline"):
        remind.enqueue(text="call", deadline=datetime.now(UTC))

    (element,) = queue()
    assert "deadline" not in element["headers"]


def test_a_command_and_fields_together_are_a_mistake_of_the_program(queue: Queue) -> None:
    with pytest.raises(TypeError, match="not both"):
        deposit.enqueue(*deposits(1), amount=2)

    assert queue() == []


def test_many_go_in_order_in_more_than_one_step_each_with_its_own_options(queue: Queue) -> None:
    many = deposits(2 * CHUNK + 1)

    sent = deposit.enqueue_many((one, Options(idempotency_key=f"no. {one.amount}")) for one in many)

    assert amounts(queue()) == [one.amount for one in many]
    assert [element["headers"]["id"] for element in queue()] == [one.task_id for one in sent]
    assert sent[-1].job_id == derive_id("accounts.deposit", f"no. {len(many)}")


def test_kombu_reads_what_many_were_sent_in_their_order(servers: Urls) -> None:
    many = deposits(CHUNK + 1)
    keyed = [(one, Options(idempotency_key=f"no. {one.amount}")) for one in many]

    sent = deposit.enqueue_many([many[0], *keyed[1:]])

    with Connection(servers.redis) as connection, closing(connection.SimpleQueue("accounts")) as messages:
        read = [messages.get(timeout=5) for _ in sent]
        assert [message.headers["id"] for message in read] == [one.task_id for one in sent]
        assert [message.payload[1]["amount"] for message in read] == [one.amount for one in many]
        assert [message.headers.get("idempotency_key") for message in read[:2]] == [None, "no. 2"]


def test_large_messages_go_in_steps_of_some_megabytes(queue: Queue, given: Resources) -> None:
    text = "x" * 200_000
    given.redis.config_resetstat()

    remind.enqueue_many([Remind(text=text)] * 40)

    assert len(queue()) == 40
    calls: Any = given.redis.info("commandstats")
    assert calls["cmdstat_lpush"]["calls"] == 3


def test_none_are_as_good_as_some(queue: Queue) -> None:
    assert deposit.enqueue_many([]) == []
    assert queue() == []


def test_a_redis_that_has_forgotten_the_script_is_told_it_again(queue: Queue, given: Resources) -> None:
    deposit.enqueue(*deposits(1))
    given.redis.script_flush()

    deposit.enqueue(*deposits(1))

    assert len(queue()) == 2


# A full queue


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue may hold three messages."""
    monkeypatch.setenv("TRIVET_QUEUE_MAX", "3")


@pytest.mark.usefixtures("three")
def test_a_full_queue_refuses_and_takes_again_when_there_is_room(queue: Queue, given: Resources) -> None:
    deposit.enqueue_many(deposits(3))

    with pytest.raises(QueueFull, match="TRIVET_QUEUE_MAX") as full:
        deposit.enqueue(*deposits(1))
    given.redis.rpop("accounts")
    deposit.enqueue_many(full.value.unsent)

    assert amounts(queue()) == [2, 3, 1]


@pytest.mark.usefixtures("three")
def test_of_many_that_do_not_fit_none_is_sent(queue: Queue) -> None:
    with pytest.raises(QueueFull) as full:
        deposit.enqueue_many(deposits(4))

    assert (len(full.value.sent), len(full.value.uncertain), len(full.value.unsent)) == (0, 0, 4)
    assert queue() == []


# Redis is not there


def test_when_redis_cannot_be_reached_nothing_is_uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIVET_REDIS_URL", f"redis://u:canary@127.0.0.1:{choose()}/0")

    with pytest.raises(NotEnqueued, match="Redis: ") as trouble:
        deposit.enqueue(*deposits(1))

    assert (len(trouble.value.uncertain), len(trouble.value.unsent)) == (0, 1)
    assert "canary" not in str(trouble.value)


def test_when_the_answer_is_lost_it_is_uncertain_and_sent_again_under_the_same_ids(
    proxy: Proxy, queue: Queue
) -> None:
    deposit.enqueue(*deposits(1))
    proxy.close_after(3)

    with pytest.raises(NotEnqueued) as trouble:
        deposit.enqueue_many(deposits(CHUNK + 2))
    again = deposit.enqueue_many([*trouble.value.uncertain, *trouble.value.unsent])

    assert (len(trouble.value.sent), len(trouble.value.uncertain), len(trouble.value.unsent)) == (0, CHUNK, 2)
    ids = [element["headers"]["id"] for element in queue()[1:]]
    assert ids[-len(again) :] == [one.task_id for one in again]
    assert set(ids) == {one.task_id for one in again}


def test_what_went_before_the_answer_was_lost_is_known_to_be_sent(proxy: Proxy, queue: Queue) -> None:
    deposit.enqueue(*deposits(1))
    proxy.close_after(ANSWER + 3)

    with pytest.raises(NotEnqueued, match=f"{CHUNK} sent, {CHUNK} uncertain, 2 not sent") as trouble:
        deposit.enqueue_many(deposits(2 * CHUNK + 2))
    sent = [*trouble.value.sent, *deposit.enqueue_many([*trouble.value.uncertain, *trouble.value.unsent])]

    arrived = [element["headers"]["id"] for element in queue()[1:]]
    assert list(dict.fromkeys(arrived)) == [one.task_id for one in sent]
    assert len(arrived) == len(sent) + CHUNK  # the uncertain ones had arrived


def test_when_others_fill_the_queue_meanwhile_what_went_is_told(
    proxy: Proxy, queue: Queue, given: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIVET_QUEUE_MAX", str(2 * CHUNK))
    deposit.enqueue(*deposits(1))
    given.redis.delete("accounts")
    proxy.slow_down(0.5)  # so long lies between two steps

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(deposit.enqueue_many, deposits(2 * CHUNK))
        wait_for(lambda: given.redis.llen("accounts") == CHUNK)
        given.redis.lpush("accounts", "another's")
    with pytest.raises(QueueFull) as full:
        sending.result()

    assert (len(full.value.sent), len(full.value.uncertain), len(full.value.unsent)) == (CHUNK, 0, CHUNK)
    assert given.redis.llen("accounts") == CHUNK + 1


def test_a_redis_that_refuses_writes_is_certain_to_have_taken_nothing(queue: Queue, given: Resources) -> None:
    given.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(NotEnqueued, match="maxmemory") as trouble:
            deposit.enqueue(*deposits(1))
    finally:
        given.redis.config_set("maxmemory", 0)

    assert len(trouble.value.unsent) == 1
    assert queue() == []


# Processes

FORKING = """
import os
from tasks.accounts import deposit

def send():
    deposit.enqueue(account="00000000-0000-0000-0000-000000000007", amount=1)

send()
child = os.fork()
for _ in range(20):
    send()
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_fork_sends_by_a_connection_of_its_own(queue: Queue) -> None:
    ran = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=False, timeout=60)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(queue()) == 41
