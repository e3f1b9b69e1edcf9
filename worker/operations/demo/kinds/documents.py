"""Free-form documents: put, patched key by key, and removed."""

from typing import Final

from worker.operations.demo.plan import Plan
from worker.operations.demo.workload import Planned

COLLECTIONS: Final = ("notes", "pages", "preferences")


def document(plan: Plan) -> Planned:
    """A new document."""
    plan.documents += 1
    collection, key = plan.random.choice(COLLECTIONS), f"d{plan.documents}"
    body = {"n": plan.random.randint(1, 1_000), "tags": ["demo", {"é": None}]}
    plan.bodies[f"{collection}/{key}"] = dict(body)
    return plan.job("documents.put", {"collection": collection, "id": key, "body": body, "if_version": 0})


def document_elsewhere(plan: Plan) -> Planned:
    """A document in a collection that is not for documents."""
    payload = {"collection": "users", "id": "admin", "body": {}}
    return plan.job("documents.put", payload, "collection_not_allowed")


def hostile_document(plan: Plan) -> Planned:
    """A document with a key that MongoDB takes for something else."""
    key = plan.random.choice(["$where", "a.b", "__proto__"])
    payload = {"collection": "notes", "id": "hostile", "body": {"a": [{key: 1}]}}
    return plan.job("documents.put", payload, "document_invalid")


def patching(plan: Plan) -> Planned:
    """A document gets one more key, so that the order of such changes does not matter."""
    if not plan.bodies:
        return patching_nothing(plan)
    place = plan.random.choice(list(plan.bodies))
    changes = {f"k{len(plan.bodies[place])}": plan.random.randint(1, 1_000)}
    plan.bodies[place] |= changes
    collection, _, key = place.partition("/")
    return plan.job("documents.patch", {"collection": collection, "id": key, "changes": changes})


def patching_nothing(plan: Plan) -> Planned:
    """A document that does not exist."""
    payload = {"collection": "notes", "id": "missing", "changes": {"n": 1}}
    return plan.job("documents.patch", payload, "document_not_found")


def removing(plan: Plan) -> Planned:
    """A document is removed."""
    if not plan.bodies:
        return patching_nothing(plan)
    place = plan.random.choice(list(plan.bodies))
    del plan.bodies[place]
    collection, _, key = place.partition("/")
    return plan.job("documents.delete", {"collection": collection, "id": key})
