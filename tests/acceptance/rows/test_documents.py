"""The rows of free-form documents: body and version in PostgreSQL, the copy in MongoDB, and nothing of it told."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.fixtures.service import Ended, Service

BODY = {"title": "One", "tags": ["a", {"b": None}], "secret": "nobody else's business"}


@pytest.fixture
def place(service: Service) -> dict[str, Any]:
    """Where a document is."""
    there = {"collection": "notes", "id": f"n{uuid4()}"}
    service.job("documents.put", {**there, "body": BODY})
    return there


def holds(service: Service, ended: Ended, place: dict[str, Any], version: int, body: Any) -> bool:
    """Whether row, copy, result and event agree; None: the document is gone."""
    row = service.row("documents", f"notes/{place['id']}")
    copy = service.document("documents.notes", place["id"])
    assert ended.data == ended.event["data"] == {**place, "version": version}
    assert ended.event["subject"] == f"documents/notes/{place['id']}"
    assert row["version"] == version
    if body is None:
        return row["body"] is None and copy.pop("deleted") is True and "body" not in copy
    return copy == {"body": body, "revision": version, "deleted": False} and json.loads(row["body"]) == body


@pytest.mark.row("documents.put")
def test_a_document_is_kept_and_copied_in_full(service: Service, place: dict[str, Any]) -> None:
    new = {"collection": "notes", "id": f"n{uuid4()}"}

    first = service.job("documents.put", {**new, "body": BODY, "if_version": 0})
    over = service.job("documents.put", {**place, "body": {"n": 2}, "if_version": 1})

    assert holds(service, first, new, 1, BODY)
    assert holds(service, over, place, 2, {"n": 2})


@pytest.mark.row("documents.patch")
def test_a_patched_document_has_what_was_told_and_keeps_the_rest(service: Service, place: dict[str, Any]) -> None:
    ended = service.job("documents.patch", {**place, "changes": {"secret": None, "title": "Two", "more": {"n": 1}}})

    assert holds(service, ended, place, 2, {"title": "Two", "tags": BODY["tags"], "more": {"n": 1}})


@pytest.mark.row("documents.delete")
def test_a_deleted_document_leaves_a_tombstone_and_its_version(service: Service, place: dict[str, Any]) -> None:
    ended = service.job("documents.delete", {**place, "if_version": 1})

    assert holds(service, ended, place, 2, None)
