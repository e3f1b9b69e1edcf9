"""Pages of Flower in the place of its own: they know our queues, and hear what workers answer."""

import asyncio
from collections import Counter
from typing import Any, Final

from flower.api.control import ControlHandler
from flower.api.tasks import GetQueueLengths
from flower.views.broker import BrokerView
from tornado.web import HTTPError, authenticated

from worker.intake.queues import Queues

REPLIES_S: Final = 1.0
"""How long the workers' answers are waited for."""


class _OurQueues:
    """What Flower asks a handler for when it shows queues: itself as the broker, and the names."""

    application: Any

    def get_broker(self) -> "_OurQueues":
        return self

    def get_active_queue_names(self) -> list[str]:
        return sorted({*self.application.queue_names, *self._consumers()})

    async def queues(self, names: list[str]) -> list[dict[str, object]]:
        """How many messages wait in each queue, at all priorities, and how many live workers take from it."""
        queues: Queues = self.application.queues
        depths = await asyncio.to_thread(queues.depths, names)
        consumers = self._consumers()
        waiting = {name: sum(depths[name].values()) for name in names}
        return [
            {"name": name, "messages": count, "messages_ready": count, "consumers": consumers[name]}
            for name, count in waiting.items()
        ]

    def _consumers(self) -> Counter[str]:
        known = self.application.events.state.workers
        alive = {name for name, worker in known.items() if worker.alive}
        asked = self.application.workers
        return Counter(
            queue["name"] for name in alive & asked.keys() for queue in asked[name].get("active_queues", ())
        )


class BrokerPage(_OurQueues, BrokerView):  # type: ignore[misc]  # Flower has no types
    """`/broker`: Flower's own counts no consumers, and knows no queue while no worker is up."""


class QueueLengths(_OurQueues, GetQueueLengths):  # type: ignore[misc]  # Flower has no types
    """`/api/queues/length`."""


class Revoke(ControlHandler):  # type: ignore[misc]  # Flower has no types
    """`/api/task/revoke/ID`: Flower's own says that it is done, whatever the workers say."""

    @authenticated
    async def post(self, task_id: str) -> None:
        """Revoke a task; 409 when a worker refuses, 503 when none answers."""
        if self.application.options.read_only:
            raise HTTPError(403, "Read only mode is enabled")
        replies = await self.run_blocking(
            "task.revoke",
            task_id,
            self.capp.control.revoke,
            task_id,
            terminate=self.get_argument("terminate", default=False, type=bool),
            signal=self.get_argument("signal", default="SIGTERM", type=str),
            reply=True,
            timeout=REPLIES_S,
        )
        answers = [answer for reply in replies or () for answer in reply.values()]
        if refusals := [str(answer["error"]) for answer in answers if "error" in answer]:
            raise HTTPError(409, "; ".join(refusals))
        if not answers:
            raise HTTPError(503, "No worker has answered: ask again when one is up")
        self.write({"message": f"Revoked '{task_id}'"})
