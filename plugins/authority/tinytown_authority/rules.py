"""The table of an agent's rights: which commands to the server a round may send.

Everything that is not in `FUNCTIONS` or among the plain reads is refused. What a command becomes is said by its rule in `rights`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tinytown.entry_points import installed
from tinytown.model.text import shown
from tinytown.protocol import TOWN_LIBRARY, FunctionLibrary, Keys, load_library

from tinytown_authority import rights
from tinytown_authority.rights import Caller, Rule, Words, refuse

#: Function of the town's library -> rule. What is missing is refused.
FUNCTIONS: dict[str, Rule] = {
    **dict.fromkeys(("status", "hosts", "agent_get", "agent_list", "task_get", "task_list"), rights.read),
    "town_setup": rights.setup,
    "peek": rights.own_mailbox,
    "send": rights.send,
    "task_settle": rights.settle,
    "task_add": rights.add,
    "task_assign": rights.assign,
    "backlog_claim": rights.assign,
    "agent_create": rights.spawn,
    "plugin_set": rights.plugin_data,
    "emit": rights.emit,
}

#: What people call the functions that are refused most often.
IN_WORDS = {
    "agent_set_desired_state": "start, pause or stop agents",
    "agent_remove": "remove agents",
    "town_freeze": "freeze the town",
    "town_thaw": "thaw the town",
    "budgets_set": "change budgets",
    "task_delete": "delete tasks",
    "remove": "remove mail",
    "drop": "remove dead letters",
    "redrive": "send dead letters again",
    "account_unpark": "release accounts",
    "reset": "reset the town",
    "restore_put": "restore a snapshot",
    "snapshot": "save the town",
}

#: What a distribution may say of the functions of a library of its own -> rule.
NAMED: dict[str, Rule] = {
    "read": rights.read,
    "mailbox": rights.own_mailbox,
    "task": rights.change,
    "task_once": rights.change_once,
    "task_fields": rights.edit,
    "table": rights.set_table,
    "backlog": rights.requeue,
    "reopen": rights.reopen,
    "conductor": rights.conduct,
}

#: The group of entry points that name a pair: a `FunctionLibrary`, and its functions that rounds may call with their rules.
GROUP = "tinytown.round_functions"


def libraries() -> Mapping[bytes, tuple[Rule, FunctionLibrary]]:
    """The functions of other distributions that rounds may call, by their names on the server.

    Raises: anything that an import may raise; KeyError for a rule that is none of `NAMED`.
    """
    found: dict[bytes, tuple[Rule, FunctionLibrary]] = {}
    for entry in installed(GROUP):
        library, rules = entry.load()
        found |= {library.function(name).encode(): (NAMED[rule], library) for name, rule in rules.items()}
    return found


#: Plain commands that read the one key that follows them.
READS = (b"EXISTS", b"XRANGE", b"XREVRANGE", b"HGET", b"HGETALL", b"HEXISTS", b"SMEMBERS", b"ZCARD", b"ZCOUNT")
#: Plain commands without a key.
FREE = (b"PING", b"TIME", b"INFO")


class Rules:
    """The rights of one round. `approve` is the only way of its commands to the server."""

    def __init__(
        self,
        caller: Caller,
        others: Mapping[bytes, tuple[Rule, FunctionLibrary]],
        mask: Callable[[bytes], bytes] = lambda word: word,
    ) -> None:
        self._caller = caller
        self._mask = mask  # what the town would keep and spread
        self._others = others
        self._functions = {TOWN_LIBRARY.function(name).encode(): rule for name, rule in FUNCTIONS.items()}
        self._functions |= {name: rule for name, (rule, _) in others.items()}
        keys = Keys(caller.town.name)
        self._base = keys.base.encode()
        self._events = keys.events.encode()
        readable = ("events", "cursors", "plugins", "meta", "agents", "hosts")
        self._readable = {f"{keys.base}:{name}".encode() for name in readable}
        self._plugins = f"{keys.base}:plugin:".encode()
        self._traces = keys.trace("").encode()

    async def approve(self, words: Words) -> Words:
        """The command to send in place of `words`. Raises: Refused with code ``not_allowed``; NotFound; UsageError."""
        if words[0].upper() == b"FCALL":
            if (rule := self._rule(words)) is not None:
                if words[1] in self._others:  # the round may not load what the server lacks
                    await self._caller.town.run(load_library(self._others[words[1]][1]))
                try:
                    return [*words[:4], *map(self._mask, await rule(self._caller, list(words[4:])))]
                except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
                    raise refuse(self._caller, "call a function with these arguments") from error
        elif self._only_reads(words):
            return words
        raise refuse(self._caller, self._what(words))

    def looks_first(self, words: Words) -> bool:
        """Whether the answer of `approve` may depend on what the town holds."""
        return self._rule(words) not in (None, rights.read)

    def _rule(self, words: Words) -> Rule | None:
        """The rule for a call of a function on this town; None for anything else."""
        return self._functions.get(words[1]) if words[2:4] == [b"1", self._base] else None

    def _only_reads(self, words: Words) -> bool:
        """Whether this is a plain command that reads what every agent may know."""
        command = words[0].upper()
        if command == b"XREAD" and b"STREAMS" in words:
            key, *position = words[words.index(b"STREAMS") + 1 :]
            return key == self._events and len(position) == 1
        if command == b"SCAN":  # a message by the beginning of its id
            return len(words) > 3 and words[2].upper() == b"MATCH" and words[3].startswith(self._traces)
        if command in READS:
            return len(words) > 1 and all(map(self._may_read, words[1:] if command == b"EXISTS" else words[1:2]))
        return command in FREE and len(words) == 1

    def _may_read(self, key: bytes) -> bool:
        return key in self._readable or key.startswith((self._plugins, self._traces))

    @staticmethod
    def _what(words: Words) -> str:
        """What a refused command would do, for people."""
        command, name = (word.decode("utf-8", "replace") for word in (*words, b"")[:2])
        if command.upper() != "FCALL":
            return f"send the server the command {shown(command)}"
        function = name.split("_", 2)[-1] if name.startswith("tt_") else name
        return IN_WORDS.get(function) or f"call the function {shown(function)}"
