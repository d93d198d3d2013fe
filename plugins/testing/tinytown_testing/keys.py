"""Every Redis key and channel of a town, for tests of what a town leaves on its server. Pure.

A test of the core holds these tables, the server-side functions and ``docs/reference/protocol.md`` together.
"""

from __future__ import annotations

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
    "backlog:words": "zset",
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
    "notify:<host>": "<agent> mail; <agent> urgent; <agent> control now | <agent> control soon; <agent> stop-round <round>",
}
