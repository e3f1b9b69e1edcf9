"""Posts: written, changed, published, found and removed."""

from typing import Final

from worker.operations.demo.kinds.accounts import owner
from worker.operations.demo.kinds.spoiled import spoiled
from worker.operations.demo.plan import Plan
from worker.operations.demo.workload import Payload, Planned

WORDS: Final = ("engines", "compilers", "networks", "proofs", "orbits", "loops", "100%", "snake_case", "O'Brien")


def post(plan: Plan) -> Planned:
    """A post; its author may be one who leaves."""
    author = plan.random.choice([*plan.leavers, owner(plan)])
    planned = plan.job("posts.create", {"author_id": str(author), **_text(plan)})
    plan.authors[planned.message.job_id] = author
    plan.unpublished.append(planned.message.job_id)
    plan.unchanged.append(planned.message.job_id)
    return planned


def post_of_nobody(plan: Plan) -> Planned:
    """A post of a user that does not exist."""
    return plan.job("posts.create", {"author_id": str(plan.uuid()), **_text(plan)}, "user_not_found")


def invalid_post(plan: Plan) -> Planned:
    """A post that cannot be."""
    return spoiled(plan, "posts.create", {"author_id": str(owner(plan)), **_text(plan)})


def changing(plan: Plan) -> Planned:
    """A post gets another title, once."""
    if not plan.unchanged:
        return searching(plan)
    return plan.job("posts.update", {"id": str(plan.take(plan.unchanged)), "title": _text(plan)["title"]})


def publishing(plan: Plan) -> Planned:
    """A post is published."""
    if not plan.unpublished:
        return searching(plan)
    return plan.job("posts.publish", {"id": str(plan.take(plan.unpublished))})


def publishing_nothing(plan: Plan) -> Planned:
    """A post that does not exist."""
    return plan.job("posts.publish", {"id": str(plan.uuid())}, "post_not_found")


def searching(plan: Plan) -> Planned:
    """Posts are looked for, by a word or by a part of their author's name."""
    how = plan.random.choice(["text", "author_name_contains"])
    return plan.job("posts.search", {how: plan.random.choice(WORDS), "limit": plan.random.randint(1, 10)})


def removing(plan: Plan) -> Planned:
    """A post is removed."""
    if not plan.authors:
        return searching(plan)
    key = plan.random.choice(list(plan.authors))
    del plan.authors[key]
    return plan.job("posts.delete", {"id": str(key)})


def _text(plan: Plan) -> Payload:
    words = plan.random.sample(WORDS, 3)
    return {"title": f"On {words[0]} {plan.random.randint(1, 999)}", "content": " and ".join(words)}
