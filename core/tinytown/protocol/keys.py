"""The Redis keys and channels of a town that clients name themselves. Pure.

All keys begin with ``tt:{<town>}``, with literal braces, so that one town is in one slot of a Redis Cluster and many
towns share a server. The functions of the library derive all others from that base; ``docs/reference/protocol.md`` lists them.
"""

from __future__ import annotations

from tinytown.model.ids import check_id, check_town_name


class Keys:
    """The keys of the town `town`. Raises: UsageError for an illegal town name."""

    def __init__(self, town: str) -> None:
        self.town = check_town_name(town)
        #: ``tt:{town}``, the one key that functions are given.
        self.base = f"tt:{{{town}}}"
        self.events = f"{self.base}:events"
        self.cursors = f"{self.base}:cursors"
        self.plugins = f"{self.base}:plugins"
        #: The channel on which agents that want a host are announced.
        self.placement_channel = f"{self.base}:notify"

    def host_channel(self, host_id: str) -> str:
        """The channel on which a host is notified of its agents' mail and desired states; for an agent without one, its own."""
        return f"{self.placement_channel}:{host_id}"

    def plugin(self, plugin: str) -> str:
        """What a plugin keeps in the town."""
        return f"{self.base}:plugin:{plugin}"

    def plugin_key(self, plugin: str, name: str) -> str:
        """A key of a plugin's own, of whatever type. Raises: UsageError for an illegal name of a plugin or key."""
        return f"{self.plugin(check_id('a plugin name', plugin))}:{check_id('a key', name)}"

    def trace(self, message_id: str) -> str:
        """The history of a message."""
        return f"{self.base}:trace:{message_id}"
