"""Each peer of the benchmark does the whole work of its transfers; what it needs is fetched when it is missing."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.checks import check_money
from bench.contestants import CannotRun, Contestant
from bench.contestants.peers import PEERS
from bench.contestants.peers.environment import Environment
from bench.orders import OPENING_BALANCE, Order, orders
from bench.scene import Scene, open_scene
from tests.fixtures.nodes import wait_for

JOBS = 200

# Only a machine without network or without Node excuses a peer: anything else is a failure of its set-up.
EXCUSES = ("no network", "no node", "no npm")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with open_scene(JOBS, 1, print) as scene:
        yield scene


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_moves_the_money_leaves_the_receipts_and_tells_of_each_transfer(scene: Scene, name: str) -> None:
    peer = PEERS[name](scene)
    install(peer)
    asked = orders(scene.fresh_accounts(), JOBS)
    events = scene.bank.run.given.redis

    peer.enqueue(asked)
    assert events.xlen("events") == 0, "it ran jobs before its worker was started"
    with ExitStack() as running:
        peer.start(running)
        wait_for(lambda: events.xlen("events") >= JOBS, 60, scene.folder / f"{name}-0.log")

    assert told(scene) == {order.id for order in asked}
    assert receipts(scene, peer) == {order.id: (order.source, order.target, order.amount) for order in asked}
    check_money(scene.bank, JOBS)
    assert changes(scene) == due(asked)


def test_an_environment_is_made_once_and_again_when_its_recipe_changes_or_it_failed(tmp_path: Path) -> None:
    recipe = tmp_path / "requirements.txt"
    recipe.write_text("one\n")
    environment = Environment("peer", [recipe], tmp_path / "cache")

    for said, reason in (("dns error: who?", "no network"), ("no such version", "see .*cache/peer-install.log")):
        with pytest.raises(CannotRun, match=reason):
            environment.make(["sh", "-c", f"echo '{said}' >&2; exit 1"])
    environment.make(["sh", "-c", "echo once >> made"])
    environment.make(["sh", "-c", "echo twice >> made"])

    assert (environment.folder / "made").read_text() == "once\n"
    recipe.write_text("another\n")
    environment.make(["sh", "-c", "echo anew >> made"])
    assert (environment.folder / "made").read_text() == "anew\n"


def install(peer: Contestant) -> None:
    try:
        versions = peer.install()
    except CannotRun as reason:
        if not str(reason).startswith(EXCUSES):
            raise
        pytest.skip(str(reason))
    assert all(versions.values())


def told(scene: Scene) -> set[str]:
    entries: Any = scene.bank.run.given.redis.xrange("events")
    ids = [orjson.loads(fields[b"event"])["id"] for _, fields in entries]
    assert len(ids) == JOBS
    return set(ids)


def receipts(scene: Scene, peer: Contestant) -> dict[str, tuple[str, str, int]]:
    found = scene.bank.run.given.documents[peer.receipts_collection].find()
    return {one["_id"]: (one["source"], one["target"], one["amount"]) for one in found}


def changes(scene: Scene) -> dict[str, int]:
    rows = scene.bank.rows("SELECT id::text, balance - :opened FROM accounts", opened=OPENING_BALANCE)
    return {account: change for account, change in rows if change}


def due(asked: list[Order]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for order in asked:
        found[order.source] -= order.amount
        found[order.target] += order.amount
    return {account: change for account, change in found.items() if change}
