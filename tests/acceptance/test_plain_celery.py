"""What a plain Celery client may do, seen from a process that has only Celery."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.fixtures.jobs import Bank, Runner, settings_for
from tests.fixtures.nodes import StartNode, wait_for
from tests.fixtures.plain_celery import Answer, start_client
from tests.fixtures.service import Service, running_service
from worker.delivery.node import Node
from worker.messages import derive_id
from worker.operations.embedded import Stack, Urls
from worker.operations.migrating import migrate
from worker.settings import Settings
from worker.stores.resources import Resources

RESULT_MAX = 64 * 1024


@pytest.fixture(scope="module")
def service(
    settings: Settings, servers: Urls, plain_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with running_service(settings, servers, plain_python, tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def owner(service: Service) -> UUID:
    return service.bank.user()


@pytest.fixture
def account(service: Service, owner: UUID) -> UUID:
    return service.bank.open(100, owner=owner)


def test_the_client_has_nothing_of_this_package(service: Service) -> None:
    assert service.client.call("sees", module="celery")
    assert not any(service.client.call("sees", module=ours) for ours in ("worker", "tasks", "celeryconfig"))


def test_a_job_sent_by_name_takes_effect_under_its_task_id(service: Service, account: UUID) -> None:
    task_id = service.deposit(account, queue="accounts")

    row = service.ended(task_id)

    assert (row.state, row.task_id) == ("succeeded", task_id)
    assert row.data == {"account": str(account), "balance": 105}
    assert service.bank.balance(account) == 105


def test_delay_and_apply_async_of_a_task_declared_by_the_client_send_the_same_job(
    service: Service, account: UUID
) -> None:
    payload = {"account": account, "amount": 5}

    sent = [
        service.client.delay("accounts.deposit", payload),
        service.client.apply_async("accounts.deposit", payload),
        service.client.apply_async("accounts.deposit", payload, queue="accounts", task_id=str(uuid4())),
    ]

    assert [service.ended(task_id).state for task_id in sent] == ["succeeded"] * 3
    assert service.bank.balance(account) == 115


def test_one_idempotency_key_under_two_task_ids_has_one_effect(service: Service, account: UUID) -> None:
    headers = {"idempotency_key": f"order-{account}"}
    job_id = derive_id("accounts.deposit", f"order-{account}")

    first = service.deposit(account, headers=headers)
    service.ended(job_id)
    second = service.deposit(account, headers=headers | {"want_result": True})

    assert service.client.get(second).value == {"account": str(account), "balance": 105}
    assert first != second
    assert service.bank.balance(account) == 105
    assert len(service.events_of(job_id)) == 1


def test_a_task_id_that_is_no_uuid_is_as_good(service: Service, account: UUID) -> None:
    task_id = f"deposit no. 7 of {account} (ä)"

    for _ in range(2):
        service.deposit(account, task_id=task_id, headers={"want_result": True})
        assert service.client.get(task_id).value["balance"] == 105

    row = service.ended(derive_id("accounts.deposit", task_id))
    assert row.task_id == task_id
    (event,) = service.events_of(row.id)
    assert event["taskid"] == task_id


@pytest.mark.parametrize("how", ["countdown", "eta"])
def test_a_delayed_job_runs_once_and_not_before_its_time(service: Service, account: UUID, how: str) -> None:
    sent = datetime.now(UTC)
    option = {"countdown": 1} if how == "countdown" else {"eta": (sent + timedelta(seconds=1)).isoformat()}

    task_id = service.deposit(account, **option)

    row = service.ended(task_id)
    assert row.first_seen >= sent + timedelta(seconds=1)
    assert (row.state, service.effects_of(task_id)) == ("succeeded", 1)


def test_a_delayed_job_keeps_the_headers_of_its_producer(service: Service, account: UUID) -> None:
    headers = {"idempotency_key": f"later-{account}", "want_result": True}

    task_id = service.deposit(account, countdown=0.2, headers=headers)

    assert service.client.get(task_id).value == {"account": str(account), "balance": 105}
    assert service.ended(derive_id("accounts.deposit", f"later-{account}")).state == "succeeded"


def test_a_delayed_job_that_is_rejected_raises_like_any_other(service: Service) -> None:
    task_id = service.deposit(uuid4(), countdown=0.2, headers={"want_result": True})

    answer = service.client.get(task_id)

    assert (answer.raised, answer.args[0]) == ("Rejected", "account_not_found")
    assert service.ended(task_id).data["code"] == "account_not_found"


@pytest.mark.parametrize("options", [{}, {"countdown": 0.1}], ids=["at once", "delayed"])
@pytest.mark.parametrize("field", ["self", "task_id", "args"])
def test_no_name_of_a_field_is_special(service: Service, account: UUID, field: str, options: Any) -> None:
    payload = {"account": account, "amount": 5, field: "x"}

    task_id = service.client.send("accounts.deposit", payload, **options)

    row = service.ended(task_id)
    assert (row.state, row.data["code"], row.data["field"]) == ("rejected", "invalid_payload", field)


def test_a_job_that_expires_later_runs(service: Service, account: UUID) -> None:
    task_id = service.deposit(account, expires=60)

    assert service.ended(task_id).state == "succeeded"


def test_a_job_that_has_expired_is_rejected_and_its_producer_hears_of_it(service: Service, account: UUID) -> None:
    expired = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()

    task_id = service.deposit(account, expires=expired, headers={"want_result": True})

    row = service.ended(task_id)
    assert (row.state, row.data["code"]) == ("rejected", "expired")
    assert [event["type"] for event in service.events_of(task_id)] == ["accounts.deposit.rejected"]
    assert service.client.get(task_id).args[0] == "expired"
    assert service.bank.balance(account) == 100


def test_a_wanted_result_is_the_outcomes_data(service: Service, owner: UUID, account: UUID) -> None:
    target = service.bank.open(1, owner=owner)
    payload = {"source": account, "target": target, "amount": 30}

    task_id = service.client.send("accounts.transfer", payload, headers={"want_result": True})

    expected = {"transfer": task_id, "source_balance": 70, "target_balance": 31}
    assert service.client.get(task_id) == Answer(value=expected)
    assert service.ended(task_id).data == expected


def test_a_rejection_raises_with_its_code(service: Service, owner: UUID, account: UUID) -> None:
    target = service.bank.open(1, owner=owner)
    payload = {"source": account, "target": target, "amount": 101}

    task_id = service.client.send("accounts.transfer", payload, headers={"want_result": True})

    answer = service.client.get(task_id)
    assert (answer.raised, answer.args[0]) == ("Rejected", "insufficient_funds")
    assert service.client.state(task_id) == "FAILURE"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ignore_result": False},
        {"ignore_result": False, "countdown": 0.1},
        {"headers": {"want_result": False}},
        {"headers": {"want_result": "true"}},
    ],
    ids=["plain", "ignore_result", "ignore_result delayed", "not wanted", "no bool"],
)
@pytest.mark.parametrize("amount", [5, -5], ids=["succeeded", "rejected"])
def test_a_result_that_was_not_asked_for_is_not_stored(
    service: Service, account: UUID, options: dict[str, Any], amount: int
) -> None:
    task_id = service.deposit(account, amount, **options)

    service.ended(task_id)

    service.drain()
    assert service.redis.exists(f"celery-task-meta-{task_id}") == 0


def test_a_duplicate_has_no_second_effect_and_its_result_is_stored_again(service: Service, account: UUID) -> None:
    headers = {"want_result": True}
    task_id = service.deposit(account, headers=headers)
    first = service.client.get(task_id)
    service.redis.delete(f"celery-task-meta-{task_id}")

    service.deposit(account, task_id=task_id, headers=headers)

    assert service.client.get(task_id) == first == Answer(value={"account": str(account), "balance": 105})
    service.ended(task_id)
    assert service.bank.balance(account) == 105
    assert len(service.events_of(task_id)) == 1


def test_a_duplicate_of_a_rejected_job_is_rejected_again_though_it_could_succeed_now(
    service: Service, account: UUID, owner: UUID
) -> None:
    target = service.bank.open(0, owner=owner)
    payload = {"source": target, "target": account, "amount": 50}
    task_id = service.client.send("accounts.transfer", payload, headers={"want_result": True})
    first = service.client.get(task_id)
    service.redis.delete(f"celery-task-meta-{task_id}")
    service.ended(service.deposit(target, 50))

    service.client.send("accounts.transfer", payload, task_id=task_id, headers={"want_result": True})

    assert service.client.get(task_id) == first
    assert first.args[0] == "insufficient_funds"
    assert service.bank.balance(target) == 50
    assert len(service.events_of(task_id)) == 1


def test_the_same_id_with_another_payload_is_an_event_of_its_own_and_the_jobs_outcome_stands(
    service: Service, account: UUID
) -> None:
    task_id = service.deposit(account, headers={"want_result": True})
    first = service.client.get(task_id)

    service.deposit(account, 6, task_id=task_id, headers={"want_result": True})

    wait_for(lambda: len(service.events_of(task_id)) == 2)
    own, conflict = service.events_of(task_id)
    assert own["type"] == "accounts.deposit.succeeded"
    assert (conflict["type"], conflict["subject"]) == ("accounts.deposit.rejected", f"jobs/{task_id}")
    assert conflict["data"]["code"] == "idempotency_conflict"
    assert own["id"] != conflict["id"]
    assert service.ended(task_id).state == "succeeded"
    assert service.client.get(task_id) == first
    assert service.bank.balance(account) == 105


def test_every_producer_of_a_refused_payload_is_told_under_its_own_task_id(service: Service, account: UUID) -> None:
    headers = {"idempotency_key": f"twice-{account}", "want_result": True}
    assert service.client.get(service.deposit(account, 5, headers=headers)).value is not None

    refused = [service.deposit(account, 6, headers=headers) for _ in range(2)]

    answers = [service.client.get(task_id, 5) for task_id in refused]
    assert [answer.args[:1] for answer in answers] == [("idempotency_conflict",)] * 2


def test_a_job_before_its_deadline_runs(service: Service, account: UUID) -> None:
    deadline = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    task_id = service.deposit(account, headers={"deadline": deadline})

    assert service.ended(task_id).state == "succeeded"


def test_a_job_past_its_deadline_is_rejected_as_expired(service: Service, account: UUID) -> None:
    headers = {"deadline": "2020-01-31T12:00:00Z", "want_result": True}

    task_id = service.deposit(account, headers=headers)

    assert service.client.get(task_id).args[0] == "expired"
    row = service.ended(task_id)
    assert (row.state, row.data["code"]) == ("rejected", "expired")
    assert service.bank.balance(account) == 100


@pytest.mark.parametrize(
    "deadline", ["tomorrow", "2030-01-31T12:00:00", "2030-13-01T00:00:00Z", 1893456000, [], ""]
)
def test_a_deadline_that_is_no_time_with_a_zone_is_refused(
    service: Service, account: UUID, deadline: object
) -> None:
    task_id = service.deposit(account, headers={"deadline": deadline})

    row = service.ended(task_id)
    assert (row.state, row.data["code"], row.data["field"]) == ("rejected", "invalid_payload", "deadline")
    assert service.bank.balance(account) == 100


@pytest.mark.parametrize("key", ["", "x" * 513, 7, "\0", ["a"]])
def test_an_idempotency_key_that_is_no_short_text_is_refused(service: Service, account: UUID, key: object) -> None:
    task_id = service.deposit(account, headers={"idempotency_key": key})

    wait_for(lambda: [event for event in service.bank.events() if event["taskid"] == task_id])
    (event,) = [event for event in service.bank.events() if event["taskid"] == task_id]
    assert event["type"] == "accounts.deposit.rejected"
    assert (event["data"]["code"], event["data"]["field"]) == ("invalid_payload", "idempotency_key")
    assert service.bank.balance(account) == 100


def test_payload_version_1_is_understood(service: Service, account: UUID) -> None:
    task_id = service.deposit(account, headers={"payload_version": 1})

    assert service.ended(task_id).state == "succeeded"


def test_an_unknown_payload_version_is_parked_with_its_raw_bytes(service: Service, account: UUID) -> None:
    task_id = service.deposit(account, headers={"payload_version": 2, "want_result": True})

    row = service.ended(task_id)
    assert row.state == "parked"
    assert json.loads(row.body)[1] == {"account": str(account), "amount": 5}
    assert row.headers.items() >= {"payload_version": 2, "want_result": True}.items()
    assert [event["type"] for event in service.events_of(task_id)] == ["accounts.deposit.parked"]
    assert service.client.get(task_id).raised == "Parked"
    assert service.bank.balance(account) == 100


def test_the_traceparent_of_the_producer_is_in_the_event(service: Service, account: UUID) -> None:
    traceparent = f"00-{uuid4().hex}-00f067aa0ba902b7-01"

    sent = [
        service.deposit(account, headers={"traceparent": traceparent}),
        service.deposit(account, headers={"traceparent": traceparent}, countdown=0.1),
        service.deposit(account, headers={"traceparent": "nonsense"}),
    ]

    for task_id in sent:
        service.ended(task_id)
    seen = [service.events_of(task_id)[0].get("traceparent") for task_id in sent]
    assert seen == [traceparent, traceparent, None]


@pytest.mark.parametrize("options", [{}, {"countdown": 0.1}], ids=["at once", "delayed"])
def test_positional_arguments_are_refused(service: Service, account: UUID, options: dict[str, Any]) -> None:
    task_id = service.client.send("accounts.deposit", {"amount": 5}, str(account), **options)

    row = service.ended(task_id)
    assert (row.state, row.data["code"], row.data["field"]) == ("rejected", "invalid_payload", "args")


def test_a_payload_that_is_nested_too_deep_ends_and_harms_no_later_job(service: Service, account: UUID) -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]

    task_id = service.client.send("accounts.deposit", {"account": account, "amount": 5, "deep": deep})

    assert service.ended(service.deposit(account)).state == "succeeded"
    assert service.ended(task_id).state in {"rejected", "parked"}
    assert service.bank.balance(account) == 105


def test_the_largest_result_of_a_user_is_stored_whole(service: Service) -> None:
    name = "\N{GRINNING FACE}" * 200

    task_id = service.client.send(
        "users.create", {"name": name, "email": f"{uuid4()}@example.org"}, headers={"want_result": True}
    )

    answer = service.client.get(task_id)
    assert answer.value["user"]["name"] == name
    stored: Any = service.redis.get(f"celery-task-meta-{task_id}")
    assert len(stored) <= RESULT_MAX


def test_a_completion_event_tells_the_clients_task_id_and_no_email_address(service: Service) -> None:
    email = f"{uuid4()}@example.org"

    task_id = service.client.send("users.create", {"name": "Ada", "email": email})

    service.ended(task_id)
    (event,) = service.events_of(task_id)
    assert (event["type"], event["subject"]) == ("users.create.succeeded", f"users/{task_id}")
    assert (event["jobid"], event["taskid"], event["source"]) == (task_id, task_id, "trivet")
    assert email not in json.dumps(event)


def test_a_mixed_workload_with_duplicates_adds_up(service: Service, owner: UUID) -> None:
    accounts = service.bank.open_many(4, 100, owner=owner)
    transfers = [
        {"source": accounts[i % 4], "target": accounts[(i + 1 + i % 3) % 4], "amount": 1 + i % 60}
        for i in range(60)
    ]

    sent = [service.client.send("accounts.transfer", payload) for payload in transfers]
    for task_id, payload in reversed(list(zip(sent, transfers, strict=True))):
        service.client.send("accounts.transfer", payload, task_id=task_id)

    assert {service.ended(task_id).state for task_id in sent} <= {"succeeded", "rejected"}
    service.drain()
    assert sum(map(service.bank.balance, accounts)) == 400
    wait_for(lambda: service.bank.value("SELECT count(*) FROM trivet.outbox") == 0)
    service.bank.check()


def test_a_delayed_job_that_is_due_while_postgresql_is_away_runs_when_it_is_back(
    own_servers: Stack, start_node: StartNode, plain_python: Path, tmp_path: Path
) -> None:
    with closing(Resources.open(settings_for(own_servers.urls))) as given, closing(Node()) as shared:
        migrate(given)
        bank = Bank(Runner(given, shared))
        account = bank.open(100)
        start_node(own_servers.urls)
        with start_client(plain_python, tmp_path, own_servers.urls.redis) as client:
            due = datetime.now(UTC) + timedelta(seconds=0.5)
            payload = {"account": account, "amount": 5}
            task_id = client.send("accounts.deposit", payload, eta=due.isoformat())
        own_servers.postgres.kill()
        wait_for(lambda: datetime.now(UTC) > due + timedelta(seconds=1))

        own_servers.postgres.start()

        ended = "SELECT FROM trivet.jobs WHERE id = :id AND ended_at IS NOT NULL"
        wait_for(lambda: bank.rows(ended, id=UUID(task_id)), 15)
        assert bank.balance(account) == 105
