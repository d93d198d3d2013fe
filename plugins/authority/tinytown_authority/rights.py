"""What the rounds of agents may do, rule by rule. Which rule holds for what is in `rules`.

A rule reads the arguments of a function as the
operation that they claim to be, and makes that operation anew. So the server gets what every client is checked for, about
agents and tasks that were looked at, and who calls is never taken from the round's own words.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import msgspec
from tinytown.config import Permissions
from tinytown.errors import Refused
from tinytown.model.agents import Agent
from tinytown.model.details import TaskChanges, TaskDetails
from tinytown.model.events import KnownEvent, OtherEvent, read_event
from tinytown.model.ids import SUPERVISOR_ID, SUPERVISOR_NAMES, check_id, check_word, nicknames as nicknames_of
from tinytown.model.messages import Body, Priority, TaskAssign
from tinytown.model.tasks import Task
from tinytown.model.text import check_text, shown
from tinytown.model.time import rfc3339
from tinytown.protocol import Operation, task_fields
from tinytown.town import Town
from tinytown_prompts.roles import load_roles

from tinytown_authority.settings import Settings

Words = list[bytes]


@dataclass(frozen=True, slots=True)
class Caller:
    """A round: its agent and its tasks, in its town."""

    town: Town
    settings: Settings
    agent: Agent
    tasks: Sequence[Task]
    permissions_of: Callable[[Agent], Permissions]

    def is_exceeded_by(self, agent: Agent) -> bool:
        """Whether `agent` may do more on this machine than the round's own."""
        return _RANK[self.permissions_of(agent)] > _RANK[self.permissions_of(self.agent)]

    @property
    def is_confined(self) -> bool:
        """Whether the round's agent may not do everything that its user may."""
        return self.permissions_of(self.agent) != "full"

    @property
    def conducts(self) -> bool:
        """Whether the role of the round's agent makes it a conductor."""
        role = load_roles(self.town.config).get(self.agent.role or "")
        return role is not None and role.authority == "conductor"

    def own(self, task: Task) -> Task | None:
        """The task as the round began it, if it is one of the round's."""
        return next((own for own in self.tasks if own.id == task.id), None)

    def is_self(self, name: bytes) -> bool:
        """Whether `name` means the round's own agent."""
        agent = self.agent
        return name.decode("utf-8", "replace").lower() in {
            agent.id,
            agent.name.lower(),
            (agent.nickname or "").lower(),
        } - {""}


#: The types of events that only the town itself reports.
TOWN_EVENTS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(KnownEvent))

_RANK = {"read": 0, "write": 1, "full": 2}
_AGENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Members of an event that say what and when it was.
_EVENT_HEAD = frozenset({"type", "id", "at"})


class _Envelope(msgspec.Struct, frozen=True):
    correlation_id: str | None = None


Rule = Callable[[Caller, Words], Awaitable[Words]]


def refuse(caller: Caller, what: str, hint: str = "send the supervisor a message: tt send supervisor TEXT") -> Refused:
    """The error for what the rights of a round do not include; to be raised by the caller."""
    return Refused(f"agent {shown(caller.agent.name)!r} may not {what}", hint=hint, code="not_allowed")


# -- rules ------------------------------------------------------------------------------------------------


async def read(_: Caller, arguments: Words) -> Words:
    """Reads of what every agent may know."""
    return arguments


async def own_mailbox(caller: Caller, arguments: Words) -> Words:
    """agent, ..."""
    agent, *rest = arguments
    if caller.is_self(agent):
        return [caller.agent.id.encode(), *rest]
    if not caller.conducts:
        raise refuse(caller, "read another's mail")
    return arguments


async def setup(caller: Caller, arguments: Words) -> Words:
    """schema, settings: a client asks whether the town is ready; only a person changes its settings."""
    if len(arguments) > 1:
        raise refuse(caller, "change the settings of the town")
    return arguments


async def send(caller: Caller, arguments: Words) -> Words:
    """to, from, id, class, priority, not before, size, body: an agent with more rights gets no orders from one with fewer."""
    to, _, message_id, _, priority, not_before, _, raw = arguments
    body: Any = msgspec.json.decode(raw, type=cast("Any", Body))
    if isinstance(body, TaskAssign):
        raise refuse(caller, "send the order for a task", "tt assign gives a task to an agent")
    if body.category == "task":
        to = await _receiver(caller, to)
    operation = caller.town.operations.send(
        to.decode(),
        body,
        sender=caller.agent.id,
        priority=cast("Priority", priority.decode()),
        message_id=message_id.decode(),
        correlation_id=msgspec.json.decode(raw, type=_Envelope).correlation_id,
        not_before_ms=int(not_before),
    )
    return _anew(operation)


async def settle(caller: Caller, arguments: Words) -> Words:
    """op, verb, task, by, token, text: with the round's own token; what passes the gates is only submitted."""
    op, given, reference, _, _, text = arguments
    verb = cast("Literal['submit', 'fail', 'cancel']", "submit" if given == b"complete" else given.decode())
    task = await _task(caller, reference)
    own = caller.own(task)
    if own is None and not (verb == "cancel" and caller.conducts):
        raise refuse(caller, f"{given.decode()} a task that is none of its round")
    token = (own.token or "") if own else ""
    operation = caller.town.operations.settle_task(verb, task.id, text=text.decode(), by=caller.agent.id, token=token)
    return _anew(operation, op)


async def add(caller: Caller, arguments: Words) -> Words:
    """op, id, agent, priority, needs, tags, fields: new work, for the backlog or for an agent; never as finished."""
    op, task_id, agent, priority, needs, tags, *fields = arguments
    given = _members(fields)
    if "state" in given:
        raise refuse(caller, "add tasks as finished")
    details: TaskDetails = {
        "task_id": task_id.decode(),
        "priority": cast("Priority", priority.decode()),
        "needs": msgspec.json.decode(needs, type=list[str]),
        "tags": msgspec.json.decode(tags, type=list[str]),
        "title": given.pop("title", ""),
        "role": given.pop("role", ""),
        "parent": given.pop("parent", ""),
        "held": given.pop("held", ""),
        "held_until": rfc3339(int(until)) if (until := given.pop("held_until", "")) else "",
    }
    if origin := given.pop("origin", ""):
        details["origin"] = msgspec.json.decode(origin, type=dict[str, Any])
    description = given.pop("description", "")
    details["meta"] = {name.removeprefix("meta:"): _table(caller, name, text) for name, text in given.items()}
    if agent:
        agent = await _receiver(caller, agent)
    elif await _may_go_further(caller):
        # Whoever takes it from the backlog may do more than the one that wrote it: a person looks first.
        why = f"added by {caller.agent.name}, whose permissions are {caller.permissions_of(caller.agent)}; release it to allow it"
        details |= {"held": why, "held_until": ""}
    return _anew(caller.town.operations.add_task(description, agent=agent.decode(), **details), op)


async def assign(caller: Caller, arguments: Words) -> Words:
    """op, task, agent: what nobody has, or the agent itself has."""
    op, reference, agent = arguments
    task = await _task(caller, reference)
    if not caller.conducts and not _is_free_or_own(caller, task):
        raise refuse(caller, "reassign the task of another agent")
    return [op, task.id.encode(), await _receiver(caller, agent)]


async def change(caller: Caller, arguments: Words) -> Words:
    """task, ...: a task that nobody has, or the agent itself; of a confined one its own, as others may take what nobody has."""
    task = await _task(caller, arguments[0])
    if caller.is_confined and caller.own(task) is None:
        raise refuse(caller, "change tasks that agents with more rights may take")
    if not caller.conducts and not _is_free_or_own(caller, task):
        raise refuse(caller, "change the task of another agent")
    return [task.id.encode(), *_texts(caller, arguments[1:])]


async def change_once(caller: Caller, arguments: Words) -> Words:
    """op, task, ..."""
    return [arguments[0], *await change(caller, arguments[1:])]


async def edit(caller: Caller, arguments: Words) -> Words:
    """task, names and values of `TaskChanges`"""
    reference, *fields = arguments
    given: dict[str, Any] = dict(_members(fields))
    if unknown := given.keys() - TaskChanges.__annotations__.keys():
        raise refuse(caller, f"change the field {shown(min(unknown))} of a task")
    for name in given.keys() & {"needs", "tags"}:
        given[name] = msgspec.json.decode(given[name], type=list[str])
    checked = task_fields(given, caller.town.config.limits.message_bytes)
    return await change(caller, [reference, *(text.encode() for item in checked.items() for text in item)])


async def set_table(caller: Caller, arguments: Words) -> Words:
    """task, name, JSON or nothing: what a plugin keeps beside a task"""
    reference, name, text = arguments
    check_plugin_data(caller, name.decode())  # to remove one says as much as to write one
    table = _table(caller, f"meta:{name.decode()}", text.decode()) if text else None
    (id_,) = await change(caller, [reference])
    check_word("table name", name.decode())
    return [id_, name, b"" if table is None else msgspec.json.encode(table)]


async def requeue(caller: Caller, arguments: Words) -> Words:
    """op, task, reason: from the backlog others take it, which may do more than its author."""
    if await _may_go_further(caller):
        raise refuse(caller, "put tasks back onto the backlog, from which agents with more rights take them")
    return await change_once(caller, arguments)


async def conduct(caller: Caller, arguments: Words) -> Words:
    """What only conductors may do."""
    if not caller.conducts:
        raise refuse(caller, "do this; a conductor may")
    return _texts(caller, arguments)


async def reopen(caller: Caller, arguments: Words) -> Words:
    """op, task, reason: the reason is an order to the agent that had the task, or to whoever takes it."""
    op, reference, reason = await conduct(caller, arguments)
    task = await _task(caller, reference)
    if task.agent_id:
        await _receiver(caller, task.agent_id.encode())
    elif await _may_go_further(caller):
        raise refuse(caller, "put tasks back onto the backlog, from which agents with more rights take them")
    return [op, task.id.encode(), reason]


async def spawn(caller: Caller, arguments: Words) -> Words:
    """id, name, kind, role, nicknames, whether one was chosen, parent, bound, tags, labels: of the kinds that are allowed."""
    id_, name, kind, role, nicknames, is_chosen, _, max_rounds, tags, labels = (word.decode() for word in arguments)
    if not caller.conducts or kind not in caller.settings.spawn:
        kinds = ", ".join(caller.settings.spawn) or "none"
        raise refuse(caller, "spawn this agent", f"plugins.authority.spawn allows conductors these kinds: {kinds}")
    if not _AGENT_ID.fullmatch(id_) or id_ == SUPERVISOR_ID:
        raise refuse(caller, "give an agent this id")
    if caller.is_exceeded_by(msgspec.structs.replace(caller.agent, id=id_, name=name, cli=kind, role=role or None)):
        # It would take from the backlog what the caller has put there.
        raise refuse(caller, "spawn an agent that may do more than itself")
    operation = caller.town.operations.create_agent(
        name,
        cli=kind,
        role=role,
        nickname=msgspec.json.decode(nicknames, type=list[str])[0] if is_chosen == "1" else "",
        parent=caller.agent.id,
        tags=msgspec.json.decode(tags, type=list[str]),
        max_rounds=int(max_rounds),
        labels=msgspec.json.decode(labels, type=list[str]),
    )
    words = _anew(operation)
    names = words[4] if is_chosen == "1" else msgspec.json.encode(list(nicknames_of(id_)))
    return [arguments[0], *words[1:4], names, *words[5:]]


async def emit(caller: Caller, arguments: Words) -> Words:
    """op, type, members: an event of a plugin's own, marked with the agent that it comes from; none of the town's."""
    op, *event = arguments
    type_, members = _own_event(caller, event)
    return _anew(caller.town.operations.emit(type_, members), op)


async def plugin_data(caller: Caller, arguments: Words) -> Words:
    """op, plugin, field, JSON or nothing, whether to compare, with what, then perhaps type and members of an event"""
    op, plugin, field, value, is_compared, expected, *event = arguments
    check_plugin_data(caller, plugin.decode())
    own = _own_event(caller, event) if event else None
    operation = caller.town.operations.set_plugin_field(
        plugin.decode(),
        field.decode(),
        _json_or_none(value),
        expected=_json_or_none(expected) if is_compared == b"1" else msgspec.UNSET,
        event=own,
    )
    return _anew(operation, op)


def check_plugin_data(caller: Caller, plugin: str) -> None:
    """Raises: Refused for a plugin whose data rounds may not change."""
    if plugin not in caller.settings.plugin_data:
        raise refuse(caller, "change the data of this plugin", "plugins.authority.plugin_data names those that it may")


# -- what the rules share ------------------------------------------------------------------------------------


def _anew(operation: Operation[Any], op: bytes = b"") -> Words:
    """The arguments of an operation; with `op`, by which the round has it recognized when it is repeated."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in operation.command[4:]]
    return [check_id("an operation's id", op.decode()).encode(), *words[1:]] if op else words


def _members(words: Words) -> dict[str, str]:
    """Names and values in turn. Raises: ValueError."""
    texts = [word.decode() for word in words]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _texts(caller: Caller, words: Words) -> Words:
    """The words themselves. Raises: UsageError for one that is no text to be kept."""
    for word in words:
        if word:
            check_text("a text", word.decode(), caller.town.config.limits.message_bytes)
    return words


def _json_or_none(text: bytes) -> Any:
    return msgspec.json.decode(text) if text else None


def _table(caller: Caller, name: str, text: str) -> dict[str, Any]:
    """What a plugin keeps beside a task, from the field ``meta:<plugin>``."""
    plugin = name.removeprefix("meta:")
    if plugin == name:
        raise refuse(caller, f"set the field {shown(name)} of a task")
    check_plugin_data(caller, plugin)
    table: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    return table


def _own_event(caller: Caller, words: Words) -> tuple[str, dict[str, str]]:
    """Type and members of an event that is no event of the town, by no reading of it."""
    type_, *rest = words
    members = _members(rest) | {"agent": caller.agent.name}
    event = read_event("0-0", {**members, "type": type_.decode()})
    if not isinstance(event, OtherEvent) or event.type in TOWN_EVENTS or members.keys() & _EVENT_HEAD:
        raise refuse(caller, "report events of the town")
    return type_.decode(), members


async def _receiver(caller: Caller, reference: bytes) -> bytes:
    """The agent that is to get work from the round, by its id once its rights have been compared.

    Raises: NotFound; Refused for an agent that may do more than the round's.
    """
    name = reference.decode()
    if not caller.is_confined or name.lower() in SUPERVISOR_NAMES:
        return reference
    agent = await caller.town.run(caller.town.operations.agent(name))
    if caller.is_exceeded_by(agent):
        raise refuse(caller, "give work to an agent that may do more than itself")
    return agent.id.encode()


async def _may_go_further(caller: Caller) -> bool:
    """Whether what the round puts onto the backlog may come to an agent with more rights."""
    return caller.is_confined and any(map(caller.is_exceeded_by, await caller.town.agents()))


async def _task(caller: Caller, reference: bytes) -> Task:
    """The task that the round names. Raises: NotFound."""
    return await caller.town.task(reference.decode())


def _is_free_or_own(caller: Caller, task: Task) -> bool:
    return task.agent_id in (None, "", caller.agent.id)
