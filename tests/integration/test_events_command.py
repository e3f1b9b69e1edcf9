"""`trivet events tail`: what the stream has, and what comes."""

import os
import signal
import subprocess
import sys
from uuid import uuid4

import orjson
import pytest

from tests.fixtures.command_line import Run
from tests.fixtures.jobs import Bank, message
from worker.operations.embedded import Urls


def deposits(bank: Bank, count: int) -> None:
    account = bank.open(0)
    bank.run(*(message("accounts.deposit", {"account": account, "amount": 1}) for _ in range(count)))


def positions(bank: Bank) -> list[str]:
    entries = bank.run.given.redis.xrange("events") or ()
    return [position.decode() for position, _ in entries if isinstance(position, bytes)]


def test_as_json_each_line_is_the_event_as_it_was_published(bank: Bank, trivet: Run) -> None:
    deposits(bank, 3)

    told = trivet("events", "tail", "--no-follow", "--json")

    assert [orjson.loads(line) for line in told.stdout.splitlines()] == bank.events()


def test_for_people_each_event_is_one_line_that_begins_with_its_position(bank: Bank, trivet: Run) -> None:
    bank.run(message("accounts.deposit", {"account": uuid4(), "amount": 1}))
    deposits(bank, 1)

    told = trivet("events", "tail", "--no-follow")

    lines = told.stdout.splitlines()
    assert [line.split()[0] for line in lines] == positions(bank)
    assert "accounts.deposit.rejected" in lines[0]
    assert "account_not_found: " in lines[0]
    assert lines[-1].endswith('"balance":1}')


def test_what_was_printed_first_is_where_it_goes_on(bank: Bank, trivet: Run) -> None:
    deposits(bank, 4)
    events, places = bank.events(), positions(bank)

    for since in (places[1], events[1]["id"]):
        told = trivet("events", "tail", "--no-follow", "--json", "--since", since)
        assert [orjson.loads(line) for line in told.stdout.splitlines()] == events[2:]


def test_a_moment_is_a_position_too(bank: Bank, trivet: Run) -> None:
    deposits(bank, 1)
    a_moment_later = int(positions(bank)[-1].partition("-")[0]) + 1

    told = trivet("events", "tail", "--no-follow", "--since", str(a_moment_later))

    assert (told.returncode, told.stdout) == (0, "")


def test_only_the_types_that_were_asked_for_are_printed(bank: Bank, trivet: Run) -> None:
    deposits(bank, 2)

    told = trivet("events", "tail", "--no-follow", "--json", "--type", "*.deposit.*")

    assert [orjson.loads(line)["type"] for line in told.stdout.splitlines()] == ["accounts.deposit.succeeded"] * 2


@pytest.mark.parametrize(
    ("since", "says"),
    [
        ("1-0", "trimmed away"),
        ("tomorrow", "neither a position"),
        ("00000000-0000-4000-8000-000000000000", "no event in the stream"),
    ],
)
def test_a_place_that_is_not_there_is_told_in_one_line(bank: Bank, trivet: Run, since: str, says: str) -> None:
    deposits(bank, 1)

    told = trivet("events", "tail", "--no-follow", "--since", since)

    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.count("\n") == 1
    assert says in told.stderr


def test_ctrl_c_ends_it_quietly(bank: Bank, servers: Urls) -> None:
    deposits(bank, 1)
    # A shell ignores Ctrl-C for what it runs in the background, and so would everything that is started there.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from worker.operations.cli import main; main()"
    command = [sys.executable, "-c", program, "events", "tail", "--json"]
    with subprocess.Popen(
        command, env=os.environ | servers.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for event in bank.events():
            assert orjson.loads(process.stdout.readline()) == event
        deposits(bank, 1)
        assert orjson.loads(process.stdout.readline()) == bank.events()[-3]

        process.send_signal(signal.SIGINT)

        assert process.wait(10) == 0
        assert process.stderr.read() == b""


def test_a_reader_that_has_had_enough_is_no_error(bank: Bank, servers: Urls) -> None:
    deposits(bank, 200)
    command = f"{sys.executable} -c 'from worker.operations.cli import main; main()' events tail --no-follow --json"

    ran = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {command} | head -1"],
        env=os.environ | servers.environment(),
        capture_output=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, b"")
