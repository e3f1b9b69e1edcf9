"""Each code with which each task is rejected: raised by `get()`, told by the event, and nothing is written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.fixtures.copies import everything
from tests.fixtures.service import Service

TOKEN = "ab" * 32
NOBODY = str(uuid4())


@dataclass(frozen=True)
class There:
    """What is there to be named by payloads that are refused."""

    user: UUID
    email: str
    eve: UUID
    account: UUID
    other: UUID
    dollars: UUID
    closed: UUID
    resolved: UUID
    stranded: UUID

    def money(self, **changes: Any) -> dict[str, Any]:
        """What a transfer and a hold take."""
        return {"source": self.account, "target": self.other, "amount": 5, **changes}


@pytest.fixture(scope="module")
def there(service: Service) -> There:
    user = service.bank.user()
    account, other = service.bank.open_many(2, 100, owner=user)
    closed = service.job("accounts.close", {"id": service.bank.open(owner=user)}).data["account"]["id"]
    left = service.bank.open(owner=user)
    resolved, stranded = (
        service.job("accounts.hold", {"source": account, "target": target, "amount": 1}).id
        for target in (other, left)
    )
    service.job("accounts.release", {"hold": resolved})
    service.job("accounts.close", {"id": left})
    service.job("documents.put", {"collection": "notes", "id": "there", "body": {}})
    service.job("sessions.open", {"token_hash": TOKEN, "user_id": user, "ttl_s": 100})
    service.job("sessions.revoke", {"token_hash": TOKEN})
    dollars = service.bank.open(100, "USD", user)
    eve, email = service.bank.user(), f"{user}@example.org"
    return There(user, email, eve, account, other, dollars, UUID(closed), resolved, stranded)


NOTE = {"collection": "notes", "id": "there"}
ELSEWHERE = {"collection": "users", "id": "there"}
MISSING = {"collection": "notes", "id": "missing"}
CHANGES: dict[str, dict[str, Any]] = {"put": {"body": {}}, "patch": {"changes": {}}, "delete": {}}
HOSTILE = {"$where": "sleep(1000)"}
SESSION = {"token_hash": TOKEN, "user_id": NOBODY}
GREETING = {"user_id": NOBODY, "kind": "greeting", "body": "hello"}

Case = tuple[str, str, Callable[[There], dict[str, Any]]]

CASES: list[Case] = [
    ("users.create", "email_taken", lambda it: {"name": "Eve", "email": it.email.upper()}),
    ("users.update", "email_taken", lambda it: {"id": it.eve, "email": it.email}),
    *((f"users.{verb}", "user_not_found", lambda _: {"id": NOBODY}) for verb in ("update", "delete", "get")),
    ("users.delete", "user_has_accounts", lambda it: {"id": it.user}),
    ("posts.create", "user_not_found", lambda _: {"author_id": NOBODY, "title": "Ghost"}),
    *((f"posts.{verb}", "post_not_found", lambda _: {"id": NOBODY}) for verb in ("update", "publish", "delete")),
    ("accounts.open", "user_not_found", lambda _: {"owner_id": NOBODY, "currency": "EUR"}),
    *(
        (f"accounts.{verb}", code, lambda it, at=at: {"account": getattr(it, at, NOBODY), "amount": 5})
        for verb in ("deposit", "withdraw")
        for code, at in (("account_not_found", "nobody"), ("account_closed", "closed"))
    ),
    ("accounts.withdraw", "insufficient_funds", lambda it: {"account": it.account, "amount": 100}),
    *(
        (f"accounts.{verb}", code, changed)
        for verb in ("transfer", "hold")
        for code, changed in (
            ("account_not_found", lambda it: it.money(target=NOBODY)),
            ("account_closed", lambda it: it.money(source=it.closed)),
            ("insufficient_funds", lambda it: it.money(amount=100)),
            ("same_account", lambda it: it.money(target=it.account)),
            ("currency_mismatch", lambda it: it.money(target=it.dollars)),
        )
    ),
    *((f"accounts.{verb}", "hold_not_found", lambda _: {"hold": NOBODY}) for verb in ("capture", "release")),
    *((f"accounts.{verb}", "hold_resolved", lambda it: {"hold": it.resolved}) for verb in ("capture", "release")),
    ("accounts.capture", "account_closed", lambda it: {"hold": it.stranded}),
    ("accounts.close", "account_not_found", lambda _: {"id": NOBODY}),
    ("accounts.close", "account_not_empty", lambda it: {"id": it.account}),
    ("accounts.close", "account_closed", lambda it: {"id": it.closed}),
    *(
        (f"documents.{verb}", code, lambda _, at=at, more=more: {**at, **more})
        for verb, more in CHANGES.items()
        for code, at in (
            ("collection_not_allowed", ELSEWHERE),
            ("version_conflict", NOTE | {"if_version": 7}),
            ("document_not_found", MISSING),
        )
        if (verb, code) != ("put", "document_not_found")
    ),
    ("documents.put", "document_invalid", lambda _: {**NOTE, "body": HOSTILE}),
    ("documents.patch", "document_invalid", lambda _: {**NOTE, "changes": HOSTILE}),
    *(
        (f"sessions.{verb}", "session_not_found", lambda _: {"token_hash": "cd" * 32})
        for verb in ("touch", "revoke")
    ),
    ("sessions.open", "session_not_found", lambda it: {"token_hash": TOKEN, "user_id": it.user, "ttl_s": 9}),
    ("sessions.open", "user_not_found", lambda _: {**SESSION, "ttl_s": 9}),
    ("sessions.revoke", "user_not_found", lambda _: SESSION),
    ("sessions.revoke_all", "user_not_found", lambda _: {"user_id": NOBODY}),
    ("notifications.send", "user_not_found", lambda _: GREETING),
    ("notifications.mark_read", "user_not_found", lambda _: {"user_id": NOBODY, "ids": [NOBODY]}),
]


@pytest.mark.parametrize(("task", "code", "payload"), CASES, ids=[f"{task} {code}" for task, code, _ in CASES])
def test_what_cannot_be_is_refused_by_its_code_and_nothing_is_written(
    service: Service, there: There, task: str, code: str, payload: Callable[[There], dict[str, Any]]
) -> None:
    before = everything(service.bank.run.given)

    ended = service.job(task, payload(there))

    assert ended.refusal["code"] == code
    assert ended.refusal["message"]
    assert everything(service.bank.run.given) == before
