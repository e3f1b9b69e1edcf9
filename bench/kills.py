"""What kill -9 costs, beside stock Celery: `python -m bench.kills [--kills N] [--rate R] [--only SIDE]`.

Two workers of one pool process each on embedded servers, and a plain Celery client in a process of its own that
sends single deposits, so many a second. One worker after the other is killed, as drawn from the seed, and started
again. Then all is left to finish, and it is checked that every job that was accepted took effect once. The same is
done to Celery on kombu's Redis transport (`bench.stock`), with the lease as visibility timeout.

A takeover is over when nothing is filed any more as being in the dead worker's hands. Ours must have lost, repeated
and parked nothing and have taken over within the lease and two seconds, or the exit code is 1.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from rich.console import Console
from rich.table import Table

from bench.killing import ACCOUNTS, GRACE_S, Found, count, drawn, kill_all, read, sending, settle
from bench.sides import Ours, Scene, Side, Stock
from tests.fixtures.jobs import Bank, Runner, empty, settings_for
from worker.operations.embedded import Options, Place, Stack
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

SIDES: Final[dict[str, Callable[[Scene], Side]]] = {"ours": Ours, "stock": Stock}


def trial(name: str, scene: Scene, asked: argparse.Namespace) -> Found:
    """Kill workers of one side, so many times."""
    began = time.monotonic()
    empty(scene.bank.run.given)
    accounts = scene.bank.open_many(ACCOUNTS, 0)
    side = SIDES[name](scene)
    out = scene.folder / f"{name}.sent"
    with sending(scene.urls, accounts, side.task, asked.rate, asked.seed, out):
        took_s = kill_all(side, drawn(asked.seed, asked.kills, asked.lease), partial(tell, name, began, out))
    settle(side)
    sent = read(out)
    waiting = side.waiting()
    without_effect, repeated, wrong = count(scene.bank, sent)
    lost, seconds = max(0, without_effect - waiting), round(time.monotonic() - began)
    return Found(asked.lease, len(sent), lost, waiting, repeated, wrong, side.endings(), took_s, seconds)


def tell(name: str, began: float, out: Path, kills: int) -> None:
    """Show that it goes on."""
    if kills % 10 == 0:
        sent = len(out.read_bytes().splitlines())
        seconds = time.monotonic() - began
        print(f"{name}: {kills} kills, {sent:,} sent, {seconds:.0f} s", file=sys.stderr, flush=True)


def table(found: dict[str, Found], asked: argparse.Namespace) -> Table:
    """One column for each side."""
    shown = Table("", *found, title=f"seed {asked.seed}, {asked.rate:.0f} jobs/s, lease {asked.lease:g} s")
    columns = [rows(one) for one in found.values()]
    for label in columns[0]:
        shown.add_row(label, *(column[label] for column in columns))
    return shown


def rows(found: Found) -> dict[str, str]:
    """The figures of one side, as they are printed."""
    after = found.takeovers
    return {
        "kill -9": f"{len(found.took_s)}",
        "jobs accepted": f"{found.sent:,}",
        "lost: no effect": f"{found.lost:,}",
        "not run in time": f"{found.waiting:,}",
        "more than one effect": f"{found.repeated:,}",
        "accounts with wrong balance": f"{found.wrong_balances} of {ACCOUNTS}",
        "ended as succeeded": f"{found.endings.get('succeeded', '–'):,}" if found.endings else "no record",
        "parked": f"{found.endings['parked']}" if found.endings else "no record",
        "killed with messages in hand": f"{len(after)}",
        "taken over after: p50": f"{statistics.median(after):.2f} s" if after else "–",
        "taken over after: max": f"{max(after):.2f} s" if after else "–",
        "seconds in all": f"{found.seconds}",
    }


def good(ours: Found, bank: Bank, lease_s: float) -> bool:
    """Whether ours did what it promises, and what must always be true of money, documents and events."""
    try:
        bank.check()
    except AssertionError:
        traceback.print_exc()
        return False
    once = ours.endings == {"succeeded": ours.sent, "parked": 0} and ours.lost == ours.waiting == ours.repeated == 0
    return once and ours.wrong_balances == 0 and max(ours.took_s) <= lease_s + GRACE_S


def run(asked: argparse.Namespace, folder: Path) -> tuple[dict[str, Found], bool]:
    """One trial of each side that was asked for, on the same servers."""
    found: dict[str, Found] = {}
    fine = True
    stack = Stack(Place.of(folder / "servers"), Options(appendfsync="always"))
    with ExitStack() as opened:
        opened.callback(stack.place.remove)
        opened.callback(stack.kill)
        stack.start()
        # A long lease: to read a few 100,000 jobs takes longer than the transaction of a node may be silent.
        given = opened.enter_context(Resources.open(settings_for(stack.urls, lease_s=600)))
        migrate(given)
        bank = Bank(Runner(given))
        for name in SIDES if asked.only is None else [asked.only]:
            with ExitStack() as running:
                found[name] = trial(name, Scene(stack.urls, folder, running, bank, asked.lease), asked)
            print(json.dumps({name: asdict(found[name])}), file=sys.stderr, flush=True)
            if name == "ours":
                fine = good(found[name], bank, asked.lease)
    return found, fine


def main() -> None:
    """Kill, wait, check, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--lease", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=SIDES)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(f"seed {asked.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        found, fine = run(asked, Path(folder))
    if asked.json:
        print(json.dumps({name: asdict(one) for name, one in found.items()} | {"ok": fine}))
    else:
        Console().print(table(found, asked))
    sys.exit(not fine)


if __name__ == "__main__":
    main()
