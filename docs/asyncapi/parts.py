"""The parts that tasks and events contribute to the document, and what each of them needs."""

from dataclasses import dataclass, field
from typing import Any

from docs.asyncapi.schemas import Schemas

Part = dict[str, Any]


@dataclass
class Parts:
    """What is collected: schemas, messages, channels, operations, by their keys."""

    schemas: Schemas
    messages: dict[str, Part] = field(default_factory=dict)
    channels: dict[str, Part] = field(default_factory=dict)
    operations: dict[str, Part] = field(default_factory=dict)

    def message(self, key: str, channel: str, message: Part) -> None:
        """Add a message, to a channel that is there."""
        self.messages[key] = message
        self.channels[channel]["messages"][key] = {"$ref": f"#/components/messages/{key}"}

    def operation(self, key: str, action: str, channel: str, *messages: str, **more: Any) -> None:
        """Add what is done with messages of a channel; `send` and `receive` are the worker's."""
        self.operations[key] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"} for message in messages],
            **more,
        }


def tags(name: str) -> list[Part]:
    """The tag of a slice."""
    return [{"name": name}]
