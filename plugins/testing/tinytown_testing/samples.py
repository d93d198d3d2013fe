"""Events and tasks to hand to objects under test: one of every kind, and texts as strangers write them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from tinytown.model.agents import Agent
from tinytown.model.events import EVENT_TYPES, Event, KnownEvent, read_event
from tinytown.model.ids import new_id
from tinytown.model.messages import PRIORITIES
from tinytown.model.tasks import Task

#: Texts that may be in a task, a report or a reason.
HOSTILE_TEXTS: Mapping[str, str] = {
    "quotes and backslashes": 'it\'s "quoted", `ticked` and \\ slashed, 100 % {of} ${it} <b>&amp;</b>',
    "several lines": "first line\n\n  third, indented\n\tfourth, with a tab\n- fifth, a list\n# sixth, a heading",
    "what delimits other formats": "a,b;c|d\te: f = [g] --- +++ ``` \"\"\" ''' %% <!-- --> ]]>",
    "characters of all planes": "\u00e9 \u4e2d\u6587 \u05e2\u05d1\u05e8\u05d9\u05ea \U0001f3d8\ufe0f e\u0301 \u200b",
    "blanks at its ends": "  two before, one after, and an empty line \n",
    "lines that end with CRLF": "first\r\nsecond\r\n\r\nthird\rfourth",
    "a number": "0123",
    "a word that means something": "null",
    "a long text": "long " * 20_000 + "end",
}

_BEGAN_MS = 1_769_851_800_000
_MEMBERS = {
    **dict.fromkeys(("agent", "sender", "recipient", "parent"), "ada"),
    **dict.fromkeys(("task", "run", "message"), "0f9c3a52-5f3e-4c8e-9d4b-0b8f2f6f2a11"),
    **dict.fromkeys(("old", "state", "desired_state"), "running"),
    **dict.fromkeys(("reason", "text", "title", "category", "priority"), "some words"),
    **dict.fromkeys(("cli", "role", "new", "outcome", "host", "plugin"), "word"),
    "duration_ms": "1234",
}


def _full(kind: Any) -> Mapping[str, str]:
    """The members of an event as the stream has them: the usual ones, and whatever else the type cannot do without."""
    needed = {
        each.name: "1234" if each.type in (int, float) else "word"
        for each in msgspec.structs.fields(kind)
        if each.required
    }
    del needed["id"], needed["at"]
    return {**needed, **_MEMBERS, "type": kind.__struct_config__.tag}


_FULL: Mapping[str, Mapping[str, str]] = {kind.__struct_config__.tag: _full(kind) for kind in KnownEvent.__args__}


def sample_events(count: int, *, after: int = 0) -> tuple[Event, ...]:
    """Events of all types in turn, oldest first; their ids continue from those of an earlier call that made `after`."""
    return tuple(
        read_event(_stream_id(number), _FULL[EVENT_TYPES[number % len(EVENT_TYPES)]])
        for number in range(after, after + count)
    )


def unusual_events(*, after: int = 0) -> tuple[Event, ...]:
    """Events with nothing but what they must have, of types nobody knows, and with texts as strangers write them."""
    kinds: tuple[Any, ...] = KnownEvent.__args__
    odd: list[Event] = []
    for kind in kinds:
        needed = [each.name for each in msgspec.structs.fields(kind) if each.required]
        odd.append(kind(**dict.fromkeys(needed, "x") | _stream_position(after + len(odd))))
    for fields in ({"type": "from_the_future", "anything": "at all"}, {}):
        odd.append(read_event(_stream_id(after + len(odd)), fields))
    for text in (*HOSTILE_TEXTS.values(), "\x00\x07\x1b[31m\r\x7f\u2028"):
        odd.append(read_event(_stream_id(after + len(odd)), {"type": "agent_reported", "agent": "ada", "text": text}))
    return tuple(odd)


def sample_tasks() -> tuple[Task, ...]:
    """Tasks in a small plan: one of each priority, with titles, tags, roles, needs and a parent."""
    first = Task(id=new_id(), description="Design the API", title="Design")
    tasks = [first]
    for priority in PRIORITIES:
        tasks.append(
            Task(
                id=new_id(),
                description=f"Work of {priority} priority",
                title=f"{priority} work",
                priority=priority,
                tags=(priority, "api", "Zone"),
                role="backend",
                needs=(tasks[-1].id,),
                parent=first.id,
                state="blocked",
            )
        )
    return tuple(tasks)


def equal_tasks() -> tuple[Task, ...]:
    """Two tasks that differ in their id alone, and one that differs in its title: three pieces of work."""
    twins = [Task(id=new_id(), description="Do it again", title=title) for title in ("Again", "Again", "Once more")]
    return tuple(twins)


def unusual_tasks() -> tuple[Task, ...]:
    """One task for each hostile text."""
    return tuple(Task(id=new_id(), description=text) for text in HOSTILE_TEXTS.values())


def unusual_rounds(agent: Agent) -> tuple[tuple[Agent, Task | None], ...]:
    """Agents and tasks that a workspace may be asked about: no task, tasks with any text, agents without anything."""
    bare = Agent(id=new_id(), name="0", cli="x")
    titled = Task(id=new_id(), description="../../x", title="../../etc/x; rm -rf \n \U0001f3d8 " + "x" * 500)
    return ((agent, None), (bare, None), (agent, titled), *((bare, task) for task in unusual_tasks()))


def _stream_id(number: int) -> str:
    return f"{_BEGAN_MS + number // 12}-{number % 12}"  # of two digits, too: as text they are in another order


def _stream_position(number: int) -> dict[str, str]:
    return {"id": _stream_id(number), "at": "2026-01-31T09:30:00.125Z"}
