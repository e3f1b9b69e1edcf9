"""Links that go silent or break, as seen by a batch and by a lease in the test's own process."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from redis.exceptions import RedisError

from tests.fixtures.jobs import Bank, Runner, message, settings_for
from tests.fixtures.nodes import wait_for
from tests.fixtures.proxy import Proxy, proxied
from worker.errors import StoreUnavailable
from worker.intake.leases import Leases
from worker.operations.embedded import Urls
from worker.stores.redis import open_redis
from worker.stores.resources import Resources


@pytest.fixture
def far_bank(bank: Bank, servers: Urls) -> Iterator[tuple[Proxy, Bank]]:
    """A bank whose PostgreSQL is behind a proxy."""
    with (
        proxied(servers.postgres) as (proxy, url),
        Resources.open(settings_for(replace(servers, postgres=url))) as given,
    ):
        yield proxy, Bank(Runner(given, bank.run.node))


def cut_the_answer(proxy: Proxy) -> None:
    proxy.cut_commits(1)


def cut_in_the_middle(proxy: Proxy) -> None:
    proxy.close_after(300)


@pytest.mark.parametrize("cut", [cut_the_answer, cut_in_the_middle])
def test_a_link_that_breaks_in_a_batch_leaves_one_effect_whether_it_had_committed_or_not(
    bank: Bank, far_bank: tuple[Proxy, Bank], cut: Callable[[Proxy], None]
) -> None:
    proxy, far = far_bank
    account = far.open(0)
    deposits = [message("accounts.deposit", {"account": account, "amount": 1}) for _ in range(5)]

    cut(proxy)
    with pytest.raises(StoreUnavailable):
        far.run(*deposits)
    committed = bank.balance(account)
    far.run(*deposits)  # as the node does a little later
    bank.deliver_all()

    assert committed == (5 if cut is cut_the_answer else 0)
    assert bank.balance(account) == 5
    bank.check()


@pytest.mark.parametrize("half_open", [True, False])
def test_a_silent_redis_is_noticed_within_a_third_of_the_lease_and_left_alone_for_a_moment(
    servers: Urls, *, half_open: bool
) -> None:
    with proxied(servers.redis) as (proxy, url):
        settings = settings_for(replace(servers, redis=url), lease_s=3)
        with open_redis(settings, timeout_s=settings.silence_s) as client:
            node = Leases(client, queues=lambda: ("q",), lease_s=settings.lease_s)
            node.join()

            proxy.go_silent()
            noticed_s = until_it_gives_up(node)
            again_s = until_it_gives_up(node)
            (proxy.heal_for_new_connections if half_open else proxy.heal)()
            wait_for(lambda: answers(node), 3)
            node.leave()
            node.close()

    assert noticed_s <= settings.lease_s / 3 + 0.5
    assert again_s <= 0.1


def until_it_gives_up(node: Leases) -> float:
    began = time.monotonic()
    with pytest.raises(RedisError):
        node.renew()
    return time.monotonic() - began


def answers(node: Leases) -> bool:
    try:
        return node.renew()
    except RedisError:
        return False
