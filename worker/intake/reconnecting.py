"""How a node finds a broker again that was away: at an even pace."""

from typing import Any, Final

import kombu
from celery.app import amqp

TRY_EVERY_S: Final = 1
"""Celery's own pause grows to half a minute, in which a node takes nothing though the broker is back."""


class Connection(kombu.Connection):  # type: ignore[misc,name-defined]  # kombu has no types
    """kombu's connection; whoever waits for the broker looks for it again and again."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for the broker."""
        pace = {"interval_start": TRY_EVERY_S, "interval_step": 0, "interval_max": TRY_EVERY_S}
        return super().ensure_connection(*args, **pace | kwargs)


class AMQP(amqp.AMQP):  # type: ignore[misc]  # Celery has no types
    """`app.amqp`, with our connections."""

    Connection = Connection
