"""The contract's table of jobs: the subject of each, and its own codes of rejection."""

from typing import Final, NamedTuple

from worker.execution.job import JOBS

FUNDS = ("account_not_found", "account_closed", "insufficient_funds")
TRANSFER = (*FUNDS, "same_account", "currency_mismatch")
DOCUMENT = ("collection_not_allowed", "document_not_found", "version_conflict")


class Row(NamedTuple):
    """A job: without a subject its events are about the job itself."""

    subject: str | None = None
    codes: tuple[str, ...] = ()


ROWS: Final = {
    "users.create": Row("users/{job_id}", ("email_taken",)),
    "users.update": Row("users/{id}", ("user_not_found", "email_taken")),
    "users.delete": Row("users/{id}", ("user_not_found", "user_has_accounts")),
    "users.get": Row(codes=("user_not_found",)),
    "users.list": Row(),
    "posts.create": Row("posts/{job_id}", ("user_not_found",)),
    "posts.update": Row("posts/{id}", ("post_not_found",)),
    "posts.publish": Row("posts/{id}", ("post_not_found",)),
    "posts.delete": Row("posts/{id}", ("post_not_found",)),
    "posts.search": Row(),
    "accounts.open": Row("accounts/{job_id}", ("user_not_found",)),
    "accounts.deposit": Row("accounts/{account}", ("account_not_found", "account_closed")),
    "accounts.withdraw": Row("accounts/{account}", FUNDS),
    "accounts.transfer": Row("accounts/{source}", TRANSFER),
    "accounts.hold": Row("accounts/{source}", TRANSFER),
    "accounts.capture": Row("accounts/{source}", ("hold_not_found", "hold_resolved")),
    "accounts.release": Row("accounts/{source}", ("hold_not_found", "hold_resolved")),
    "accounts.close": Row("accounts/{id}", ("account_not_found", "account_not_empty")),
    "documents.put": Row(
        "documents/{collection}/{id}", ("collection_not_allowed", "document_invalid", "version_conflict")
    ),
    "documents.patch": Row("documents/{collection}/{id}", (*DOCUMENT, "document_invalid")),
    "documents.delete": Row("documents/{collection}/{id}", DOCUMENT),
    "sessions.open": Row("users/{user_id}", ("session_not_found", "user_not_found")),
    "sessions.touch": Row("users/{user_id}", ("session_not_found",)),
    "sessions.revoke": Row("users/{user_id}", ("session_not_found", "user_not_found")),
    "sessions.revoke_all": Row("users/{user_id}", ("user_not_found",)),
    "notifications.send": Row("users/{user_id}", ("user_not_found", "rate_limited")),
    "notifications.mark_read": Row("users/{user_id}", ("user_not_found",)),
    "maintenance.reconcile_ledger": Row(),
    "maintenance.reconcile_documents": Row(),
    "maintenance.prune": Row(),
    "maintenance.expire_holds": Row(),
    "maintenance.daily_report": Row(),
}

NOT_BROADCAST: Final = {"users.get", "users.list", "posts.search"}
"""Jobs that read: nothing of what they read is in an event."""

TO_COME: Final = {
    "maintenance.reconcile_ledger",
    "maintenance.reconcile_documents",
    "maintenance.prune",
    "maintenance.daily_report",
} - JOBS.keys()
"""Rows that have no job yet: one that is there needs a test like the others."""
