"""A cold shutdown while jobs come in."""

import pytest

from tests.faults.test_shutdown import COLD, end_under_load
from tests.fixtures.jobs import Bank
from tests.fixtures.nodes import StartNode
from worker.operations.embedded import Urls


@pytest.mark.parametrize("how", COLD)
def test_a_node_that_is_told_to_end_at_once_under_load_loses_nothing_and_leaves_nothing_in_its_hands(
    bank: Bank, start_node: StartNode, servers: Urls, how: str
) -> None:
    end_under_load(bank, start_node, servers, COLD[how])
