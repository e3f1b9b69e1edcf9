"""What the processes of a node share about what is owed."""

from contextlib import closing

from tests.fixtures.nodes import wait_for
from worker.delivery.node import FRESH_S, Node


def test_nobody_takes_it_for_granted_that_nothing_is_owed() -> None:
    with closing(Node()) as node:
        assert not node.nothing_owed()


def test_that_nothing_was_owed_counts_for_a_moment_only() -> None:
    with closing(Node()) as node:
        node.see_nothing_owed()

        assert node.nothing_owed()
        wait_for(lambda: not node.nothing_owed(), FRESH_S + 5)
