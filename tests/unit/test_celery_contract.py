"""What we build on in Celery, kombu, billiard and redis-py beyond what they promise.

A new version that changes one of these fails here first. Each message says what of ours stands on it.
"""

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.pool import ApplyResult, TimeoutHandler
from celery import Celery, Task
from celery.app.task import Context
from celery.apps.worker import on_cold_shutdown
from celery.beat import Service
from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool
from celery.worker import WorkController, state
from celery.worker.consumer import Consumer
from celery.worker.control import Panel
from celery.worker.request import Request, create_request_cls
from celery.worker.strategy import default as celery_strategy
from kombu.transport import redis, virtual
from redbeat.schedulers import RedBeatScheduler, acquire_distributed_beat_lock
from redis.connection import Connection
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from worker.envelopes import envelope
from worker.intake.keys import PRIORITIES, SEPARATOR, Keys
from worker.intake.request import MESSAGE, REVOKED
from worker.intake.transport import RESERVING, Channel, Poller, QoS, Transport
from worker.messages import Message


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def source(thing: Any) -> str:
    return inspect.getsource(thing)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (QoS.ack, virtual.QoS.ack),
        (QoS.reject, virtual.QoS.reject),
        (QoS.can_consume, virtual.QoS.can_consume),
        (QoS.restore_unacked_once, virtual.QoS.restore_unacked_once),
        (Channel.basic_qos, redis.Channel.basic_qos),
        (Channel._basic_cancel, redis.Channel._basic_cancel),  # noqa: SLF001 - this is what is tested
        (Poller._register_BRPOP, redis.MultiChannelPoller._register_BRPOP),  # noqa: SLF001
        (Poller.on_readable, redis.MultiChannelPoller.on_readable),
        (Poller.on_poll_init, redis.MultiChannelPoller.on_poll_init),
        (Poller.maybe_restore_messages, redis.MultiChannelPoller.maybe_restore_messages),
    ],
    ids=lambda method: getattr(method, "__qualname__", ""),
)
def test_what_the_transport_replaces_has_kombus_signature(ours: Any, theirs: Any) -> None:
    assert parameters(ours) == parameters(theirs), (
        f"worker/intake/transport.py replaces {theirs.__qualname__}, whose parameters have changed"
    )


def test_the_poller_asks_for_jobs_by_the_channels_queues_and_hands_its_sockets_to_the_loop() -> None:
    starts = source(redis.MultiChannelPoller.on_poll_start)

    assert "channel.active_queues" in starts, "a channel takes jobs if it has active queues: Channel.takes_jobs"
    assert "self._register_BRPOP(channel)" in starts, (
        "each turn of the loop is a tick of the node: Poller._register_BRPOP"
    )
    poller = redis.MultiChannelPoller()
    assert poller._fd_to_chan == {}, "the node's socket is put there: Poller._register_BRPOP"  # noqa: SLF001
    poller._fd_to_chan[7] = (None, RESERVING)  # noqa: SLF001
    assert list(poller.fds) == [7], "the loop reads the sockets that are there"
    assert f"type == '{RESERVING}'" in source(redis.MultiChannelPoller.on_readable), (
        f"kombu calls the taking of jobs {RESERVING}: our entry of the node's socket uses the name"
    )
    assert "chan.qos.can_consume()" in source(redis.MultiChannelPoller.on_readable), (
        "a channel that may not consume is not read: QoS.can_consume is always true with a node"
    )


def test_kombus_poller_is_found_where_the_transport_puts_ours() -> None:
    cycle = inspect.getattr_static(redis.Transport, "cycle", None)

    assert cycle is None, "Transport.__init__ sets `cycle` to our Poller"
    assert "self.cycle" in source(redis.Transport.register_with_event_loop), "and the event loop finds it there"
    assert Transport.Channel is Channel
    assert "self.QoS(self)" in source(inspect.getattr_static(redis.Channel, "qos").fget), (
        "a channel makes its QoS from the attribute QoS"
    )


def test_a_delivered_payload_goes_to_the_callback_of_its_queue_as_kombus_own_do() -> None:
    assert parameters(virtual.Transport._deliver) == ["self", "message", "queue"], (  # noqa: SLF001
        "Channel.deliver hands special messages to kombu by it"
    )
    assert "self.connection._deliver(loads(" in source(redis.Channel._brpop_read), (  # noqa: SLF001
        "kombu's own channel does the same; ours skips decoding what has been decoded"
    )
    assert "payload['properties']" in source(virtual.Message.__init__)
    assert "properties['delivery_tag']" in source(virtual.Message.__init__), (
        "Channel.deliver puts the tag of the lease into the payload's properties"
    )


def test_kombus_qos_keeps_what_was_delivered_where_ours_forgets_it() -> None:
    qos = virtual.QoS(channel=None)
    qos._on_collect.cancel()  # noqa: SLF001

    qos.append("message", 7)
    kept = dict(qos._delivered)  # noqa: SLF001
    qos.ack(7)
    qos._flush()  # noqa: SLF001

    assert kept == {7: "message"}, "QoS.restore_unacked_once clears `_delivered`: nothing of it must go back"
    assert not qos._delivered, "an acknowledged tag is forgotten with the next flush"  # noqa: SLF001


def test_priorities_and_their_lists_are_kombus() -> None:
    assert list(PRIORITIES) == redis.PRIORITY_STEPS, "worker/intake/keys.py names the list of each priority"
    assert redis.Channel.priority_steps == list(PRIORITIES)
    assert redis.Channel.sep == SEPARATOR, "between a queue and its priority: worker/intake/keys.py"
    channel = object.__new__(redis.Channel)
    lists = [channel._q_for_pri("q", step) for step in PRIORITIES]
    assert lists == Keys().queues(["q"]), "producers put messages into these lists, and nodes take them out"


def test_the_global_prefix_stands_in_front_of_a_queues_list() -> None:
    assert {"LPUSH", "RPUSH", "LLEN"} <= {*redis.GlobalKeyPrefixMixin.PREFIXED_SIMPLE_COMMANDS}, (
        "Keys puts kombu's `global_keyprefix` in front of each key, as a producer's LPUSH does"
    )
    assert redis.Channel.global_keyprefix == "", "Channel hands it to the node: _tell_node"


def test_a_message_of_ours_is_read_by_celerys_protocol_2() -> None:
    payload = json.loads(envelope(Message("accounts.deposit", "id", b"[[], {}, {}]")))

    assert {"body", "headers", "properties", "content-type", "content-encoding"} <= payload.keys(), (
        "kombu's envelope"
    )
    app = Celery("contract", set_as_current=False)
    theirs = app.amqp.task_protocols[2]("id", "accounts.deposit", args=(), kwargs={})
    assert theirs.headers.keys() <= payload["headers"].keys() | {"shadow", "meth", "replaced_task_nesting"}, (
        "worker/envelopes.py writes what Celery's own protocol 2 has; there are new headers"
    )
    assert {"task", "id", "group", "eta", "expires", "timelimit"} <= theirs.headers.keys(), (
        "worker/intake/elements.py and transport.py read these"
    )
    *_, embed = theirs.body
    assert embed.keys() == {"callbacks", "errbacks", "chain", "chord"}, "what makes a message special: elements.py"


def test_a_request_asks_and_tells_us_at_each_step() -> None:
    begins = source(create_request_cls)

    assert parameters(create_request_cls)[:4] == ["base", "task", "pool", "hostname"]
    assert "symbol_by_name(task.Request)" in source(celery_strategy), "SpecialTask.Request names our Request"
    assert "if self.revoked():" in begins, "Request.revoked is asked right before it goes to the pool"
    assert "raise TaskRevokedError" in begins, "what is not ours any more does not start"
    assert "self._apply_result = maybe(ref, result)" in begins, (
        "Request learns by it that its message went to the pool, and asks the pool by this weak reference"
    )
    for callback in ("accept_callback=self.on_accepted", "error_callback=self.on_failure"):
        assert callback in begins, f"Request is told by {callback}"
    assert "self.request_dict" in begins, "REVOKED reaches the pool process in it"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("revoked", ["self"]),
        ("on_accepted", ["self", "pid", "time_accepted"]),
        ("on_timeout", ["self", "soft", "timeout"]),
        ("on_failure", ["self", "exc_info", "send_failed_event", "return_ok"]),
        ("terminate", ["self", "pool", "signal"]),
        ("cancel", ["self", "pool", "signal", "emit_retry"]),
        ("reject", ["self", "requeue"]),
    ],
)
def test_the_hooks_of_a_request_have_the_parameters_that_ours_take(name: str, expected: list[str]) -> None:
    assert parameters(getattr(Request, name)) == expected, f"worker/intake/request.py: Request.{name}"


def test_a_lost_process_gives_its_message_back_and_a_time_limit_does_both_calls() -> None:
    fails = source(Request.on_failure)

    assert "self.task.reject_on_worker_lost and is_worker_lost" in fails, "deaths are counted before that"
    assert "self.reject(requeue=requeue)" in fails
    assert "return self.reject(requeue=exc.requeue)" in fails, "JobTask raises Reject while PostgreSQL is away"
    assert "acks_on_timeout" in fails, "SpecialTask.acks_on_timeout: a job that took too long comes again"
    killed = source(TimeoutHandler.on_hard_timeout)
    assert killed.index("job._set(") < killed.index("job.handle_timeout("), (
        "a hard limit calls on_failure first, which counts the death, and then on_timeout, which does nothing more"
    )


def test_an_error_of_the_pool_carries_its_cause() -> None:
    try:
        int("no number")
    except ValueError:
        info = ExceptionInfo()

    cause = info.exception.exc if isinstance(info.exception, ExceptionWithTraceback) else info.exception
    assert isinstance(cause, ValueError), "worker/intake/request.py tells deaths by the class: _cause"


def test_a_pools_results_are_known_by_their_cache() -> None:
    cache: dict[int, Any] = {}
    result = ApplyResult(cache, None)

    assert cache == {result._job: result}, "engine.dropped() looks the job up in the pool's cache"  # noqa: SLF001
    result.discard()
    assert cache == {}, "what the pool discards leaves the cache without a callback"
    assert not result.ready()
    assert result._cache is cache  # noqa: SLF001
    assert result.worker_pids() == [], "Gathering.cancel kills the processes of a batch by it"


def test_a_lost_connection_flushes_the_pool_and_says_nothing() -> None:
    assert "self.pool.flush()" in source(Consumer.on_close), "gathering and Specials take back what was dropped"
    flush = source(AsynPool.flush)
    assert "if not job._accepted" in flush
    assert "job.discard()" in flush, "discarded, no callback: engine.dropped()"
    assert "self.terminate_job = P.terminate_job" in source(TaskPool.on_start), "Gathering.cancel"
    assert isinstance(inspect.getattr_static(TaskPool, "num_processes"), property), (
        "Gathering counts free processes"
    )


def test_a_cold_shutdown_cancels_the_consumer_and_what_runs_before_it_waits_for_the_pool() -> None:
    steps = source(on_cold_shutdown)

    order = [
        steps.index(step)
        for step in (
            "worker.wait_for_soft_shutdown()",
            "worker.consumer.task_consumer.cancel",
            "worker.consumer.cancel_active_requests()",
            "worker.consumer.pool.stop()",
        )
    ]
    assert order == sorted(order), "worker/intake/consumer.py kills running batches in cancel_active_requests"
    assert "worker_enable_soft_shutdown_on_idle" in source(WorkController.wait_for_soft_shutdown), (
        "celeryconfig.py sets it, for batches are none of Celery's active requests"
    )
    assert "'worker_consumer'" in source(WorkController.setup_defaults), "celeryconfig.py names our consumer by it"


def test_revoked_ids_are_in_the_state_of_the_worker() -> None:
    assert hasattr(state.revoked, "__contains__"), "gathering and Request look there"
    assert "controller.state.revoked" in source(celery_strategy), (
        "app.serve takes it from the consumer's controller"
    )
    assert state.should_terminate in {None, False}, "Request counts no death once it is set"


def test_remote_control_can_be_replaced_by_name() -> None:
    for name in ("active", "reserved", "scheduled"):
        assert name in Panel.data, f"worker/intake/control.py puts ours in the place of Celery's {name}"


def test_a_tasks_request_holds_the_headers_that_celery_does_not_know() -> None:
    context = Context({"id": "i", MESSAGE: "undecoded", REVOKED: True})

    assert (context.headers or {}).get(MESSAGE) == "undecoded", "JobTask finds its message there"
    assert context.get(REVOKED) is True, "and by it that it was revoked"


def test_every_task_can_be_made_from_a_class_of_ours() -> None:
    class Ours(Task):  # type: ignore[misc]  # Celery has no types
        abstract = True
        Request = "worker.intake.request:Request"

    app = Celery("contract", set_as_current=False, task_cls=Ours)
    app.finalize()

    made = {name: task.Request for name, task in app.tasks.items()}
    assert set(made.values()) == {Ours.Request}, f"SpecialTask: Celery's own tasks are to be safe too: {made}"


def test_redbeat_holds_its_lock_on_and_celerys_beat_lets_its_loss_through() -> None:
    takes = source(acquire_distributed_beat_lock)

    for used in ("timeout=scheduler.lock_timeout", "lock.acquire()", "scheduler.lock = lock"):
        assert used in takes, "Scheduler takes the same lock, without waiting: worker/operations/schedule.py"
    assert parameters(RedBeatScheduler.__init__)[:3] == ["self", "app", "lock_key"]
    assert "self.lock.release()" in source(RedBeatScheduler.close), "a beat that ends gives its lock away"
    assert "self.lock.extend(" in source(RedBeatScheduler.tick), "ours replaces it, and does the same"
    runs = source(Service.start)
    assert "except (KeyboardInterrupt, SystemExit):" in runs, "run_beat ends by SystemExit"
    assert runs.index("self.scheduler.tick()") < runs.index("finally:") < runs.index("self.sync()"), (
        "whatever ends a beat, Scheduler.close is called; run_beat begins anew after LockNotOwnedError"
    )


def test_redis_py_hands_over_what_the_line_needs() -> None:
    connection: Any = Connection(protocol=3)  # type: ignore[no-untyped-call]

    assert hasattr(connection._parser, "set_invalidation_push_handler"), "Line is woken by it"  # noqa: SLF001
    assert hasattr(connection, "_sock"), "the event loop reads this socket: Line.fileno"
    assert {"push_request", "timeout", "disconnect_on_error"} <= {*parameters(connection.read_response)}, (
        "Line reads pushes with them, without waiting"
    )
    assert hasattr(connection, "handshake_metadata"), "Line reads the version of Redis there"
    assert issubclass(NoScriptError, ResponseError), "a forgotten script is sent again: LeaseScripts"
    assert issubclass(ReadOnlyError, ResponseError), "a master that became a replica is left: Line.call"
