"""Every Redis key and channel of a town, in one place. Pure.

All keys begin with ``tt:{<town>}``, with literal braces, so that one town lies in one slot of a Redis Cluster and many
towns share a server. The functions of the library derive the same names from that base; a test holds this table, the
functions and ``docs/reference/protocol.md`` together.
"""

from __future__ import annotations

import msgspec

from tinytown.model.ids import check_id, check_town_name

#: Pattern of each key below the base -> Redis type (``any``: as its owner likes). ``<...>`` stands for an id, a name or a state.
KEYS: dict[str, str] = {
    "meta": "hash",
    "seq": "string",
    "tokens": "string",
    "agents": "zset",
    "names": "hash",
    "nicknames": "hash",
    "placement": "zset",
    "asleep": "zset",
    "agent:<agent>": "hash",
    "agent:<agent>:open": "set",
    "agent:<agent>:rounds": "list",
    "mail:<agent>:queue": "zset",
    "mail:<agent>:leases": "zset",
    "mail:<agent>:delayed": "zset",
    "mail:<agent>:bodies": "hash",
    "mail:<agent>:state": "hash",
    "trace:<message>": "string",
    "dead": "zset",
    "dead:<message>": "hash",
    "tasks": "zset",
    "tasks:ids": "zset",
    "tasks:finished": "zset",
    "tasks:state:<state>": "zset",
    "tasks:agent:<agent>": "zset",
    "tasks:tag:<tag>": "zset",
    "backlog": "zset",
    "holds": "zset",
    "lineages": "hash",
    "task:<task>": "hash",
    "task:<task>:needs": "set",
    "task:<task>:dependants": "set",
    "parked": "zset",
    "throttles": "hash",
    "costs": "hash",
    "costs:days": "zset",
    "costs:day:<day>": "hash",
    "budgets": "hash",
    "reserved": "hash",
    "hosts": "zset",
    "host:<host>": "hash",
    "host:<host>:agents": "set",
    "lease:<name>": "string",
    "plugins": "set",
    "plugin:<plugin>": "hash",
    "plugin:<plugin>:<key>": "any",
    "op:<op>": "string",
    "cursors": "hash",
    "events": "stream",
}

#: Pattern of each pub/sub channel below the base -> what is published there.
CHANNELS: dict[str, str] = {
    "notify": "placement: an agent wants a host",
    "notify:<agent>": "mail; urgent; control now | control soon; stop-round <round>",
}


class Keys(msgspec.Struct, frozen=True):
    """The keys of the town `town`. Raises UsageError for an illegal town name."""

    town: str

    def __post_init__(self) -> None:
        check_town_name(self.town)

    @property
    def base(self) -> str:
        """``tt:{town}``, the one key that functions are given."""
        return f"tt:{{{self.town}}}"

    @property
    def events(self) -> str:
        """The event stream."""
        return f"{self.base}:events"

    @property
    def cursors(self) -> str:
        """How far each sink has read the event stream."""
        return f"{self.base}:cursors"

    @property
    def placement_channel(self) -> str:
        """The channel on which agents that want a host are announced."""
        return f"{self.base}:notify"

    def agent_channel(self, agent_id: str) -> str:
        """The channel on which an agent's holder is notified of mail and of changes of its desired state."""
        return f"{self.base}:notify:{agent_id}"

    @property
    def plugins(self) -> str:
        """Which plugins keep something in the town."""
        return f"{self.base}:plugins"

    def plugin(self, plugin: str) -> str:
        """What a plugin keeps in the town."""
        return f"{self.base}:plugin:{plugin}"

    def plugin_key(self, plugin: str, name: str) -> str:
        """A key of a plugin's own, of whatever type. Raises: UsageError for an illegal name of a plugin or key."""
        return f"{self.plugin(check_id('a plugin name', plugin))}:{check_id('a key', name)}"

    def trace(self, message_id: str) -> str:
        """The history of a message."""
        return f"{self.base}:trace:{message_id}"
