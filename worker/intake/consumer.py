"""Celery's consumer, which at a cold shutdown cancels what is being run; here that is the node's batches too."""

from celery.worker.consumer import Consumer as CelerysConsumer


class Consumer(CelerysConsumer):  # type: ignore[misc]  # Celery has no types
    """The setting `worker_consumer` names it."""

    def cancel_active_requests(self) -> None:
        """Kill the pool processes that run anything: what they ran is not settled, and goes back."""
        super().cancel_active_requests()
        if self.app.intake is not None and self.app.intake.gathering is not None:
            self.app.intake.gathering.cancel()
