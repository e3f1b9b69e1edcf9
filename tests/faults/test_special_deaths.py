"""A special message that takes whole nodes with it."""

from functools import partial

from tests.faults.test_special_messages import deposit, outcomes, running, signature
from tests.fixtures.jobs import Bank
from tests.fixtures.nodes import StartNode, wait_for
from tests.fixtures.plain_app import plain_app
from worker.operations.embedded import Urls


def runs_after(bank: Bank, deaths: int) -> bool:
    return running(bank) == {str(deaths)}


def test_one_that_kills_its_whole_node_is_a_suspect_for_the_next(
    bank: Bank, start_node: StartNode, servers: Urls
) -> None:
    with plain_app(servers) as app:
        account = bank.open(0)
        endless = signature(app, "testing.think", {"seconds": 60}, queue="maintenance")
        node = start_node(servers, TRIVET_LEASE_S="3")
        endless.apply_async(link=deposit(app, account))

        for deaths in range(3):
            wait_for(partial(runs_after, bank, deaths), 15)
            node.kill()
            node = start_node(servers, TRIVET_LEASE_S="3")

        assert outcomes(bank, endless) == [("parked", "poison")]
