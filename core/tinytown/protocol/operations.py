"""One small value per operation of the town: the words to send and how to read the answer. Pure, no IO.

Executed by the trio link and by the blocking light client alike, so the command line, a REST request and an agent's
tool share every rule. All calls are safe to repeat: an operation that changes something carries an id of its own (a
message id, a claim token, an ``op``), and the functions do nothing when they see the same one again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import msgspec

from tinytown.model.agents import DESIRED_STATES, Agent, DesiredState, MailCounts, read_agent
from tinytown.model.events import Event, read_event
from tinytown.model.hash_codec import pairs
from tinytown.model.ids import (
    SUPERVISOR,
    SUPERVISOR_NAMES,
    check_agent_name,
    check_id,
    check_label,
    check_task_id,
    check_word,
    new_id,
    nicknames,
)
from tinytown.model.messages import (
    DEFAULT_MESSAGE_LIMIT_BYTES,
    PRIORITIES,
    Body,
    Message,
    Priority,
    TaskAssign,
    decode_message,
)
from tinytown.model.results import (
    Assigned,
    Batch,
    DeadLetter,
    Delivery,
    Freeze,
    Host,
    Inbox,
    MailboxEntry,
    Placement,
    Reclaimed,
    Sent,
    Started,
    Status,
    TraceLine,
)
from tinytown.model.round_records import RoundRecord, read_round
from tinytown.model.tasks import FINISHED, TASK_STATES, Fate, Task, TaskState, read_task
from tinytown.model.text import check_one_of, check_text, check_utf8
from tinytown.model.time import check_moment, rfc3339
from tinytown.protocol import library
from tinytown.protocol.keys import Keys
from tinytown.protocol.operation import Argument, Operation, Reply

T = TypeVar("T")

#: Type and members of an event of a plugin's own.
OwnEvent = tuple[str, Mapping[str, str]]

SCHEMA = "1"

_SORTED = msgspec.json.Encoder(order="sorted")
_value = msgspec.json.decode
_CLASSES = {"task": "t", "query": "q", "informational": "i", "confirmation": "c", "other": "o"}


# -- reading replies -------------------------------------------------------------------------------------


def _text(raw: Any) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


def _texts(reply: Reply) -> tuple[str, ...]:
    return tuple(_text(item) for item in reply)


def _rounds(reply: Reply) -> tuple[RoundRecord, ...]:
    records = (read_round(raw) for raw in reply)
    return tuple(record for record in records if record is not None)


def _flags(reply: Reply) -> tuple[bool, ...]:
    return tuple(bool(item) for item in reply)


def _try_message(raw: bytes) -> Message | None:
    try:
        return decode_message(raw)
    except ValueError:
        return None


def _mail_counts(reply: Reply) -> MailCounts:
    return MailCounts(**dict(zip(MailCounts.__struct_fields__, (int(count) for count in reply), strict=True)))


def _agent(reply: Reply) -> Agent:
    agent = read_agent(pairs(reply[0]))
    return msgspec.structs.replace(agent, mail=_mail_counts(reply[1]))


def _listed_agent(reply: Reply) -> Agent:
    """One of many: a record that a foreign hand has spoilt must not hide all the others."""
    try:
        return _agent(reply)
    except (TypeError, ValueError) as error:
        fields = pairs(reply[0])
        return Agent(
            id=fields.get("id", ""),
            name=fields.get("name", "?"),
            cli=fields.get("cli", ""),
            state="error",
            reason=f"its record cannot be read: {error}",
        )


def _agents(reply: Reply) -> tuple[Agent, ...]:
    return tuple(_listed_agent(item) for item in reply)


def _placed(reply: Reply) -> Placement:
    due_ms = int(reply[0])
    return Placement(agents=_agents(reply[1:]), due_s=float("inf") if due_ms < 0 else due_ms / 1000)


def _task(reply: Reply) -> Task:
    return read_task(pairs(reply))


def _tasks(reply: Reply) -> tuple[Task, ...]:
    return tuple(_task(item) for item in reply)


def _maybe_task(reply: Reply) -> Task | None:
    return _task(reply) if reply else None


def _assigned(reply: Reply) -> Assigned:
    return Assigned(task=_task(reply[0]), message_id=_text(reply[1]) or None)


def _maybe_assigned(reply: Reply) -> Assigned | None:
    return _assigned(reply) if reply else None


def _started(reply: Reply) -> Started:
    return Started(stale=reply[0] == b"stale", task=_maybe_task(reply[1]), held=reply[0] == b"held")


def _host(reply: Reply) -> Host:
    fields = pairs(reply)
    return Host(
        id=fields["id"],
        name=fields.get("name", ""),
        pid=int(fields.get("pid") or 0),
        machine=fields.get("machine", ""),
        root=fields.get("root", ""),
        joined_at=rfc3339(int(fields["joined_at"])) if fields.get("joined_at") else None,
        version=fields.get("version", ""),
        lease_until=rfc3339(int(fields["deadline"])) if fields.get("deadline") else None,
        agents=int(fields.get("agents") or 0),
        capacity=int(fields.get("capacity") or 0),
        backends=tuple(fields.get("backends", "").split()),
        labels=tuple(fields.get("labels", "").split()),
        frozen=int(fields["frozen"]) if fields.get("frozen") else None,
    )


def _status(reply: Reply) -> Status:
    meta, counts, backlog, dead, hosts, agents, mail = reply
    by_state = pairs([_text(item).encode() for item in counts])
    told = pairs(meta)
    since = told.get("frozen_at")
    return Status(
        tasks={state: int(by_state.get(state, 0)) for state in TASK_STATES},
        backlog=int(backlog),
        dead=int(dead),
        hosts=tuple(_host(host) for host in hosts),
        agents=_agents(agents),
        supervisor_mail=_mail_counts(mail),
        schema=told.get("schema", ""),
        frozen=Freeze(since=rfc3339(int(since)), reason=told.get("frozen_why", "")) if since else None,
    )


def _lying(place: Any, _member: Any, deliveries: Any, body: Any, score: Any) -> MailboxEntry:
    until = None if place == b"queued" else rfc3339(int(score))
    where: Any = _text(place)
    return MailboxEntry(place=where, deliveries=int(deliveries), until=until, raw=body, message=_try_message(body))


def _inbox(reply: Reply) -> Inbox:
    messages = tuple(_lying(*reply[i : i + 5]) for i in range(1, len(reply), 5))
    return Inbox(agent=_text(reply[0]), messages=messages)


def _dead_letters(reply: Reply) -> tuple[DeadLetter, ...]:
    letters: list[DeadLetter] = []
    for flat in reply:
        raw = {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}
        letters.append(
            DeadLetter(
                id=_text(raw["id"]),
                agent=_text(raw["agent"]),
                reason=_text(raw["reason"]),
                at=rfc3339(int(raw["at"])),
                deliveries=int(raw["deliveries"]),
                raw=raw["body"],
                message=_try_message(raw["body"]),
            )
        )
    return tuple(letters)


def _story(reply: Reply) -> tuple[TraceLine, ...]:
    lines = _text(reply or b"").split("\n")[:-1]
    return tuple(TraceLine(at=rfc3339(int(line.partition(" ")[0])), what=line.partition(" ")[2]) for line in lines)


def _entries(reply: Reply) -> tuple[Event, ...]:
    return tuple(read_event(_text(entry[0]), pairs(entry[1])) for entry in reply or ())


def _stream(reply: Reply) -> tuple[Event, ...]:
    if not reply:
        return ()
    by_key: Mapping[Any, Any] = dict(reply)  # a map, or a list of pairs
    return _entries(next(iter(by_key.values())))


def _maybe_text(reply: Reply) -> str | None:
    return None if reply is None else _text(reply)


def now_text() -> str:
    """This machine's time as RFC 3339 in UTC, for the envelopes of messages."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- calls -----------------------------------------------------------------------------------------------


class TownOperations:
    """Makes the calls of the town `name`. Holds nothing but key names; safe to share.

    Arguments named ``agent`` or ``task`` take whatever people type: a name, an id, a nickname, a unique beginning of one.
    Making a call raises UsageError for values that can never be right; running it raises what the town's state refuses.
    """

    def __init__(self, name: str, *, message_limit_bytes: int = DEFAULT_MESSAGE_LIMIT_BYTES) -> None:
        self.keys = Keys(name)
        self._base = self.keys.base
        self.message_limit_bytes = message_limit_bytes

    def _call(self, function: str, decode: Any, *args: Argument) -> Operation[Any]:
        for text in args:
            if isinstance(text, str) and not text.isascii():
                check_utf8(text)
        return Operation(("FCALL", library.function(function), 1, self._base, *args), decode)

    def _once(self, function: str, decode: Any, *args: Argument) -> Operation[Any]:
        """A call that would do more the second time: the fresh id in front lets the function know it again."""
        return self._call(function, decode, new_id(), *args)

    # -- mail

    def send(
        self,
        to: str,
        body: Body,
        *,
        sender: str = SUPERVISOR,
        priority: Priority = "normal",
        message_id: str | None = None,
        correlation_id: str | None = None,
        not_before_ms: int = 0,
    ) -> Operation[Sent]:
        """Put a message into a mailbox; the same `message_id` twice is one message. `not_before_ms` is server time."""
        if not isinstance(body, TaskAssign):
            check_text("a message", body.text, self.message_limit_bytes)
        check_one_of("a priority", priority, PRIORITIES)
        message_id = check_id("a message id", message_id) if message_id else new_id()
        fields: dict[str, Any] = msgspec.to_builtins(body)
        fields |= {"priority": priority, "created_at": now_text(), "correlation_id": correlation_id}

        def decode(reply: Reply) -> Sent:
            state, agent_id, name = _text(reply).split(" ")
            return Sent(message_id=message_id, to=name, agent_id=agent_id, new=state == "queued")

        return self._call(
            "send",
            decode,
            to,
            sender,
            message_id,
            _CLASSES[body.category],
            priority,
            not_before_ms,
            len(body.text.encode()),
            msgspec.json.encode(fields),
        )

    def claim(
        self,
        agent_id: str,
        *,
        token: str,
        fence: str = "",
        count: int = 1,
        lease_ms: int = 10_000,
        acks: Iterable[Delivery] = (),
    ) -> Operation[Batch]:
        """Acknowledge `acks`, then lease the next messages in strict order, with at most one order among them.

        `token` names this claim: the same one again gets the same messages, as long as it holds any. `fence` is the
        agent's lease token.
        """

        def decode(reply: Reply) -> Batch:
            due = int(reply[1])
            return Batch(
                now_ms=int(reply[0]),
                next_due_ms=None if due < 0 else due,
                held=_text(reply[2]) or None,
                waiting=reply[3:] == [1],
                deliveries=tuple(
                    Delivery(
                        member=reply[i].decode(),
                        token=token,
                        deliveries=reply[i + 1],
                        raw=reply[i + 2],
                        message=_try_message(reply[i + 2]),
                    )
                    for i in range(3, len(reply) - 2, 3)
                ),
            )

        check_id("a claim token", token)
        return self._call("claim", decode, agent_id, fence, token, max(count, 0), lease_ms, *_members(acks))

    def ack(self, agent_id: str, deliveries: Iterable[Delivery]) -> Operation[tuple[bool, ...]]:
        """Remove leased messages; for each whether this lease still held it."""
        return self._once("ack", _flags, agent_id, *_members(deliveries))

    def renew(
        self, agent_id: str, deliveries: Iterable[Delivery], *, lease_ms: int = 10_000
    ) -> Operation[tuple[bool, ...]]:
        """Extend leases; for each whether this lease still held it."""
        return self._call("renew", _flags, agent_id, lease_ms, *_members(deliveries))

    def nack(
        self,
        agent_id: str,
        deliveries: Iterable[Delivery],
        *,
        delay_ms: int = 0,
        counts: bool = True,
        reason: str = "returned",
    ) -> Operation[tuple[str, ...]]:
        """Give leased messages back to their old place; for each ``queued``, ``dead`` or ``stale``."""
        return self._once("nack", _texts, agent_id, delay_ms, int(counts), reason, *_members(deliveries))

    def bury(self, agent_id: str, deliveries: Iterable[Delivery], *, reason: str) -> Operation[int]:
        """Make leased messages dead letters at once; how many there were."""
        return self._once("dead", int, agent_id, reason, *_members(deliveries))

    def peek(self, agent: str, *, limit: int = 100) -> Operation[Inbox]:
        """What lies in a mailbox, in the order of delivery; nothing is taken."""
        return self._call("peek", _inbox, agent, limit)

    def remove(self, agent: str, message: str) -> Operation[tuple[str, ...]]:
        """Delete a message that nobody works on (or ``all`` of them); ids of what went."""
        return self._once("remove", _texts, agent, message)

    def trace(self, message_id: str) -> Operation[tuple[TraceLine, ...]]:
        """Where a message has been and when; empty when it is unknown or too long ago."""
        return self._call("trace", _story, message_id)

    def dead_letters(self, *, limit: int = 100) -> Operation[tuple[DeadLetter, ...]]:
        """The dead letters, newest first."""
        return self._call("dead_list", _dead_letters, limit)

    def redrive(self, letter: str) -> Operation[tuple[str, ...]]:
        """Put a dead letter (or ``all``) back into its mailbox with a clean count; ids of what went."""
        return self._once("redrive", _texts, letter)

    def drop(self, letter: str) -> Operation[tuple[str, ...]]:
        """Delete a dead letter (or ``all``); ids of what went."""
        return self._once("drop", _texts, letter)

    # -- tasks

    def add_task(
        self,
        description: str,
        *,
        agent: str = "",
        title: str = "",
        priority: Priority = "normal",
        needs: Sequence[str] = (),
        tags: Sequence[str] = (),
        role: str = "",
        parent: str = "",
        held: str = "",
        held_until: str = "",
        task_id: str | None = None,
        finished: TaskState | None = None,
        origin: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Operation[Assigned]:
        """Make a task: blocked while a need is open, else assigned to `agent`, else on the backlog.

        With a reason in `held` it is held from the beginning, see `hold_task`; `held_until` is RFC 3339.
        One that was `finished` elsewhere is made in that state (completed, failed or cancelled), and nobody is told to do it.
        """
        fields = self._task_fields(
            description=description, title=title, priority=priority, needs=needs, tags=tags, role=role, parent=parent
        )
        lists = [fields.pop(name) for name in ("priority", "needs", "tags")]
        fields = {name: text for name, text in fields.items() if text}
        if held or held_until:
            fields["held"] = check_text("a reason", held, 10_000)
            fields["held_until"] = str(check_moment(held_until)) if held_until else ""
        if finished:
            fields["state"] = check_one_of("an outcome", finished, sorted(FINISHED))
        if origin:
            fields["origin"] = _json(origin)
        for name, table in (meta or {}).items():
            fields[f"meta:{check_word('table name', name)}"] = _json(table)
        task_id = check_task_id(task_id) if task_id else new_id()
        return self._once("task_add", _assigned, task_id, agent, *lists, *_flat(fields))

    def update_task(
        self,
        task: str,
        *,
        description: str | None = None,
        title: str | None = None,
        priority: Priority | None = None,
        needs: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        role: str | None = None,
        parent: str | None = None,
    ) -> Operation[Task]:
        """Change what a task says, as long as nobody works on it and it is not finished; what is None stays as it is."""
        fields = self._task_fields(
            description=description, title=title, priority=priority, needs=needs, tags=tags, role=role, parent=parent
        )
        return self._call("task_update", _task, task, *_flat(fields))

    def _task_fields(self, **given: Any) -> dict[str, str]:
        """The fields of a task that are given, checked, as text."""
        fields = {name: value for name, value in given.items() if value is not None}
        if "description" in fields:
            check_text("a task", fields["description"], self.message_limit_bytes)
        if "priority" in fields:
            check_one_of("a priority", fields["priority"], PRIORITIES)
        if fields.get("title"):
            check_text("a title", fields["title"], 1000)
        if fields.get("role"):
            check_word("role", fields["role"])
        if fields.get("parent"):
            check_task_id(fields["parent"])
        for tag in fields.get("tags", ()):
            check_word("tag", tag)
        return {name: value if isinstance(value, str) else _json(list(value)) for name, value in fields.items()}

    def task(self, task: str) -> Operation[Task]:
        """One task."""
        return self._call("task_get", _task, task)

    def tasks(
        self, *, state: TaskState | Literal["backlog", ""] = "", agent: str = "", tag: str = "", limit: int = 50
    ) -> Operation[tuple[Task, ...]]:
        """Tasks, newest first, that match all that is given; with the state ``backlog`` the backlog in its order."""
        return self._call("task_list", _tasks, state, agent, tag, limit)

    def current_task(self, agent: str) -> Operation[Task | None]:
        """The task that an agent works on, or its only open one."""
        return self._call("task_current", _maybe_task, agent)

    def assign_task(self, task: str, agent: str) -> Operation[Assigned]:
        """Give a task that nobody works on to an agent."""
        return self._once("task_assign", _assigned, task, agent)

    def start_task(self, agent_id: str, fence: str, task: str, round_id: str) -> Operation[Started]:
        """Begin to work on a task; the kernel's own."""
        return self._call("task_start", _started, agent_id, fence, task, check_id("a run id", round_id))

    def settle_task(
        self,
        verb: Literal["complete", "submit", "fail", "cancel"],
        task: str,
        *,
        text: str = "",
        by: str = "",
        token: str = "",
    ) -> Operation[Task]:
        """Complete, submit (say done), fail or cancel a task.

        An agent gives its id and its round's task token; a person gives neither.
        """
        if text:
            check_text("a text", text, self.message_limit_bytes)
        check_one_of("a verb", verb, ("complete", "submit", "fail", "cancel"))
        return self._once("task_settle", _task, verb, task, by, token, text)

    def reopen_task(self, task: str, *, reason: str = "reopened") -> Operation[Assigned]:
        """Open a finished task again: for its agent, else for the backlog; what needs it waits again."""
        return self._once("task_reopen", _assigned, task, check_text("a reason", reason, 10_000))

    def requeue_task(self, task: str, *, reason: str = "requeued") -> Operation[Task]:
        """Take a task from its agent and put it onto the backlog."""
        return self._once("task_requeue", _task, task, check_text("a reason", reason, 10_000))

    def hold_task(self, task: str, *, reason: str, until: str = "") -> Operation[Task]:
        """Keep a task from being worked on, until `release_task` or the moment `until` (RFC 3339); a round on it is ended."""
        return self._once(
            "task_hold", _task, task, check_text("a reason", reason, 10_000), check_moment(until) if until else ""
        )

    def release_task(self, task: str) -> Operation[Task]:
        """Let a held task go on: to its agent, else onto the backlog, unless a need is open."""
        return self._once("task_release", _task, task)

    def delete_task(self, task: str) -> Operation[str]:
        """Forget a task that nobody works on and that no open task needs; its id."""
        return self._once("task_delete", _text, task)

    def add_need(self, task: str, need: str) -> Operation[Task]:
        """Make a task wait for another; refuses a circle."""
        return self._call("task_need", _task, task, need)

    def set_task_meta(self, task: str, name: str, table: Mapping[str, Any] | None) -> Operation[Task]:
        """Keep one plugin's table beside a task; None removes it."""
        check_word("table name", name)
        return self._call("task_meta", _task, task, name, "" if table is None else _json(table))

    def judge_task(self, task: str, fate: Fate, *, round_id: str = "", evidence: str = "") -> Operation[Task]:
        """The gates' verdict on what the round `round_id` has submitted ('': whichever); with `again` the task goes back to its
        agent with the evidence."""
        return self._once("task_verdict", _task, task, round_id, fate, evidence)

    def claim_from_backlog(self, task: str, agent: str) -> Operation[Assigned]:
        """Give a task that is on the backlog to an agent."""
        return self._once("backlog_claim", _assigned, task, agent)

    def claim_matching(self, agent_id: str, fence: str, words: Iterable[str]) -> Operation[Assigned | None]:
        """Give an idle agent the first task of the backlog whose role or tag is one of its `words`."""
        return self._once("backlog_claim_matching", _maybe_assigned, agent_id, fence, *words)

    def assign_backlog(self, agent: str) -> Operation[tuple[str, ...]]:
        """Give the whole backlog (1,000 tasks at most) to an agent; ids of the tasks."""
        return self._once("backlog_assign_all", _texts, agent)

    # -- agents

    def create_agent(
        self,
        name: str,
        *,
        cli: str,
        role: str = "",
        nickname: str = "",
        parent: str = "",
        tags: Sequence[str] = (),
        max_rounds: int = 0,
        labels: Sequence[str] = (),
    ) -> Operation[Agent]:
        """Add an agent that wants to run. Without a nickname it gets one that belongs to its id.

        Only a host that has all of its `labels` takes it; ``host=NAME`` is a label of the machine of that name.
        """
        check_agent_name(name)
        if role:
            check_word("role", role)
        for tag in tags:
            check_word("tag", tag)
        for label in labels:
            check_label(label)
        if nickname.lower() in SUPERVISOR_NAMES:
            check_agent_name(nickname)
        agent_id = new_id()
        names = [check_word("nickname", nickname)] if nickname else list(nicknames(agent_id))
        return self._call(
            "agent_create",
            _agent,
            agent_id,
            name,
            cli,
            role,
            _json(names),
            int(bool(nickname)),
            parent,
            max_rounds,
            _json(list(tags)),
            _json(list(labels)),
        )

    def agent(self, agent: str) -> Operation[Agent]:
        """One agent with the counts of its mail."""
        return self._call("agent_get", _agent, agent)

    def agents(self) -> Operation[tuple[Agent, ...]]:
        """All agents, oldest first, in one answer."""
        return self._call("agent_list", _agents)

    def want(self, agent: str, wanted: DesiredState, *, now: bool = False, reason: str = "") -> Operation[Agent]:
        """Ask that an agent be running, paused, drained or stopped; with `now` its round is interrupted."""
        check_one_of("a wanted state", wanted, DESIRED_STATES)
        if reason:
            check_text("a reason", reason, 10_000)
        return self._call("agent_want", _agent, agent, wanted, "now" if now else "soon", reason)

    def reclaim(self, agent: str, *, tasks_to: str | None = None, mail_to: str | None = None) -> Operation[Reclaimed]:
        """Give what an agent has to another, or to the backlog (``""``); what it works on at that moment stays with it.

        `tasks_to` gets its open tasks, `mail_to` its mail; None leaves them. Of its mail, orders in free text become tasks of
        the backlog, and the rest stays.
        """

        def decode(reply: Reply) -> Reclaimed:
            return Reclaimed(tasks=_texts(reply[0]), messages=_texts(reply[1]), made=_texts(reply[2]))

        where = ["" if to is None else to or "-" for to in (tasks_to, mail_to)]
        return self._once("agent_reclaim", decode, agent, *where)

    def recount_rounds(self, agent: str, *, max_rounds: int | None = None) -> Operation[Agent]:
        """Count the rounds of an agent that nobody hosts from 0 again, up to another bound if one is given."""
        return self._once("agent_recount", _agent, agent, "" if max_rounds is None else max_rounds)

    def remove_agent(self, agent: str, *, force: bool = False) -> Operation[str]:
        """Take an agent that nobody hosts out of the town.

        With `force` its open tasks go onto the backlog and its mail to the dead letters; without, having any is refused.
        """
        return self._once("agent_remove", _text, agent, int(force))

    def rounds(
        self, agent: str | None = None, *, task: str = "", run: str = "", limit: int = 20
    ) -> Operation[tuple[RoundRecord, ...]]:
        """The latest rounds that have ended, newest first: of one agent or all, on one task, or whose ids begin with `run`."""
        return self._call("rounds", _rounds, limit, task, run, *([] if agent is None else [agent]))

    # -- for kernels

    def place_agents(
        self, host: str, backends: Iterable[str], *, count: int, accounts: Mapping[str, str] | None = None
    ) -> Operation[Placement]:
        """Take over agents that want a host and whose backend is here. A backend that is not in `accounts` is its own."""
        with_accounts = _flat({kind: (accounts or {}).get(kind, kind) for kind in backends})
        return self._once("agent_place", _placed, host, count, *with_accounts)

    def report_agent_state(self, agent_id: str, fence: str, state: str, reason: str = "") -> Operation[str]:
        """Tell the state of an agent that this kernel holds; what is wanted of it."""
        return self._call("agent_observe", _text, agent_id, fence, state, reason)

    def release_agent(
        self, agent_id: str, fence: str, state: str, *, reason: str = "", retry_ms: int = -1, failed: bool = False
    ) -> Operation[int]:
        """Let go of an agent; with `retry_ms` >= 0 it wants a host again after so long. Returns its failures in a row.

        One that is released `cold` without sleeps: it wants a host again as soon as it has mail, or the backlog a task for it.
        """
        return self._once("agent_release", int, agent_id, fence, state, reason, retry_ms, int(failed))

    def start_round(self, agent_id: str, fence: str, round_id: str, task_id: str = "") -> Operation[str]:
        """Tell that an agent begins to work; what is wanted of it."""
        return self._call("round_start", _text, agent_id, fence, check_id("a run id", round_id), task_id)

    def settle_round(
        self,
        agent_id: str,
        fence: str,
        round_id: str,
        deliveries: Iterable[Delivery],
        *,
        outcome: str,
        mail: Literal["ack", "nack", "return"],
        delay_ms: int = 0,
        reason: str = "",
        task_id: str = "",
        fate: Fate = "again",
        text: str = "",
        duration_ms: int = 0,
        session_id: str = "",
        record: bytes = b"{}",
        throttled_ms: int | None = None,
        jitter: float = 0.0,
        charge: str = "",
    ) -> Operation[str]:
        """Store a round's outcome and settle its mail and task in one step; the state of the task afterwards ('' = none).

        `throttled_ms` parks the agent's account for so long, or, when it is -1, for a time that grows and is the longer
        the nearer `jitter` is to 1. `charge` is what the round has cost, see `pricing.charge_of`.
        """

        def decode(reply: Reply) -> str:
            return _text(reply[0])

        return self._call(
            "round_settle",
            decode,
            agent_id,
            fence,
            round_id,
            outcome,
            mail,
            delay_ms,
            reason,
            task_id,
            fate,
            text,
            duration_ms,
            session_id,
            record,
            "" if throttled_ms is None else throttled_ms,
            jitter,
            charge,
            *_members(deliveries),
        )

    # -- accounts

    def unpark_account(self, account: str, *, reason: str = "") -> Operation[bool]:
        """Let the agents of an account go on before its time is over; whether it was parked."""
        return self._once("account_unpark", bool, account, reason)

    # -- the ledger

    def charge_round(self, agent_id: str, round_id: str, charge: str, *, task_id: str = "") -> Operation[int]:
        """Enter what a round has cost whose outcome is not accepted any more; for others `settle_round` does it."""
        return self._call("round_charge", int, agent_id, check_id("a run id", round_id), task_id, charge)

    def set_budgets(self, numbers: Mapping[str, int]) -> Operation[tuple[str, ...]]:
        """Let these budgets and no others hold from now on, see `BudgetsConfig.server_numbers`; names of what has changed."""
        return self._once("budgets_set", _texts, *_flat(numbers))

    def tidy_costs(self, *, days: int) -> Operation[int]:
        """Forget one day that is older than so many; 1 when one went. Made again it goes on until that is 0."""
        return self._call("costs_tidy", int, days)

    # -- hosts

    def join(self, host: str, *, lease_ms: int, about: Mapping[str, str]) -> Operation[tuple[str, ...]]:
        """Take part in the town as a kernel; ids of kernels that were found lost."""
        return self._once("host_join", _texts, check_id("a host id", host), lease_ms, *_flat(about))

    def beat(self, host: str, *, lease_ms: int, capacity: int | None = None) -> Operation[tuple[str, ...]]:
        """Renew a kernel's lease and give back what lost kernels held; ids of this kernel's agents that have mail.

        `capacity` is how many agents it takes at most from now on, 0 when it is about to leave.
        """
        return self._call("host_beat", _texts, host, lease_ms, "" if capacity is None else capacity)

    def sweep(self) -> Operation[tuple[str, ...]]:
        """Give back what lost kernels held, and release what was held until now; ids of the kernels. Any beat does the same."""
        return self._call("town_sweep", _texts)

    def leave(self, host: str, *, reason: str) -> Operation[int]:
        """End a kernel's part in the town; its agents are free for others at once."""
        return self._call("host_leave", int, host, reason)

    def hosts(self) -> Operation[tuple[Host, ...]]:
        """The kernels that take part."""

        def decode(reply: Reply) -> tuple[Host, ...]:
            return tuple(_host(host) for host in reply)

        return self._call("hosts", decode)

    def take_lease(self, name: str, holder: str, *, lease_ms: int) -> Operation[bool]:
        """Take or renew a lease of the town, for work that only one kernel does; whether the holder has it."""
        return self._call("lease_take", bool, check_id("a lease's name", name), holder, lease_ms)

    def give_up_lease(self, name: str, holder: str) -> Operation[bool]:
        """Give a lease back before it runs out."""
        return self._once("lease_give_up", bool, name, holder)

    # -- the town

    def setup(self, settings: Mapping[str, int]) -> Operation[str]:
        """Make the town's data if there is none and store its bounds; the schema that the data has."""
        return self._call("town_setup", _text, SCHEMA, *_flat(settings))

    def status(self, *, agents: bool = True) -> Operation[Status]:
        """The whole town in one answer."""
        return self._call("status", _status, int(agents))

    def freeze(self, *, reason: str) -> Operation[bool]:
        """Let all kernels freeze what runs, and begin nothing; whether the town was not frozen before."""
        return self._once("town_freeze", bool, check_text("a reason", reason, 10_000))

    def thaw(self, *, reason: str) -> Operation[bool]:
        """Let the town go on; whether it was frozen before."""
        return self._once("town_thaw", bool, check_text("a reason", reason, 10_000))

    def tell_frozen(self, host: str, commands: int | None) -> Operation[int]:
        """Tell how many commands a kernel has frozen; None when it goes on."""
        return self._once("host_froze", int, host, "" if commands is None else commands)

    def tidy(self, *, finished_age_ms: int, finished_count: int, events: int) -> Operation[int]:
        """Forget a few of what is older or more than this; how many tasks went. Made again it goes on until that is 0."""
        return self._call("tidy", int, finished_age_ms, finished_count, events)

    # -- what plugins keep

    def plugin_data(self, plugin: str) -> Operation[Mapping[str, Any]]:
        """All that a plugin keeps in the town: field -> value."""

        key = self.keys.plugin(check_id("a plugin's name", plugin))
        return Operation(("HGETALL", key), lambda reply: {name: _value(text) for name, text in pairs(reply).items()})

    def plugins_with_data(self) -> Operation[tuple[str, ...]]:
        """The names of the plugins that keep anything in the town."""
        return Operation(("SMEMBERS", self.keys.plugins), lambda reply: tuple(sorted(_texts(reply))))

    def plugin_field(self, plugin: str, field: str) -> Operation[Any]:
        """One of the things that a plugin keeps; None when there is nothing."""

        key = self.keys.plugin(check_id("a plugin's name", plugin))
        return Operation(
            ("HGET", key, check_id("a field", field)), lambda reply: None if reply is None else _value(reply)
        )

    def set_plugin_field(
        self, plugin: str, field: str, value: Any, *, expected: Any = msgspec.UNSET, event: OwnEvent | None = None
    ) -> Operation[bool]:
        """Keep `value`, anything that JSON can hold, for a plugin; None removes the field. Whether it was done.

        With `expected` only if the field holds just that, as it was read (None: nothing): so that nobody overwrites
        what somebody else has written in between. An `event` of the plugin's own, type and members, is told in the same
        step, when something changed.
        """
        told = (check_id("an event type", event[0]), *_flat(event[1])) if event else ()
        compared = (0, b"") if expected is msgspec.UNSET else (1, _kept(expected))
        check_id("a plugin's name", plugin)
        return self._once("plugin_set", bool, plugin, check_id("a field", field), _kept(value), *compared, *told)

    # -- events

    def emit(self, type_: str, members: Mapping[str, str]) -> Operation[int]:
        """Add an event of a plugin's or kernel's own to the stream."""
        return self._once("emit", int, check_id("an event type", type_), *_flat(members))

    def latest_events(self, count: int, *, begin: str = "-") -> Operation[tuple[Event, ...]]:
        """The newest `count` events, oldest of them first; from the position `begin` on, which may be a time in ms."""

        def decode(reply: Reply) -> tuple[Event, ...]:
            return _entries(reply)[::-1]

        return Operation(("XREVRANGE", self.keys.events, "+", begin, "COUNT", count), decode)

    def events_after(self, cursor: str, *, count: int = 500) -> Operation[tuple[Event, ...]]:
        """Events behind the position `cursor` (``0`` = from the oldest), at most `count`."""
        return Operation(
            ("XRANGE", self.keys.events, f"({cursor}" if cursor != "0" else "-", "+", "COUNT", count), _entries
        )

    def wait_for_events(self, cursor: str, *, block_ms: int, count: int = 500) -> Operation[tuple[Event, ...]]:
        """Like `events_after`, waiting on the server for up to `block_ms`; needs a connection of its own."""
        return Operation(("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", self.keys.events, cursor), _stream)

    def cursors(self) -> Operation[dict[str, str]]:
        """How far each sink has read, by its name."""
        return Operation(("HGETALL", self.keys.cursors), pairs)

    def cursor(self, sink: str) -> Operation[str | None]:
        """How far a sink has read."""
        return Operation(("HGET", self.keys.cursors, sink), _maybe_text)

    def set_cursor(self, sink: str, position: str) -> Operation[str]:
        """Remember how far a sink has read; the position."""

        def decode(reply: Reply) -> str:
            int(reply)
            return position

        return Operation(("HSET", self.keys.cursors, sink, position), decode)


def _members(deliveries: Iterable[Delivery]) -> list[str]:
    return [part for delivery in deliveries for part in (delivery.member, delivery.token)]


def _flat(fields: Mapping[str, Argument]) -> list[Argument]:
    return [part for item in fields.items() for part in item]


def _kept(value: Any) -> bytes:
    """A plugin's value as it lies on the server, always written the same way; nothing for None."""
    return b"" if value is None else _SORTED.encode(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def load_library() -> Operation[str]:
    """Install the function library on the server (a no-op when it is there)."""
    return Operation(("FUNCTION", "LOAD", "REPLACE", library.source()), _text)


__all__ = ["SCHEMA", "TownOperations", "load_library"]
