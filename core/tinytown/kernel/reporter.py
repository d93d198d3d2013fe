"""What a session reports of its round while it works, forwarded at a bounded rate; and what it asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import trio

from tinytown.contracts import Activity, Diff, Plan, QuestionHandler, Said, ToolCall, Usage, WorkContext
from tinytown.errors import TinytownError
from tinytown.kernel.context import KernelContext
from tinytown.kernel.outcome_policy import read_usage
from tinytown.model.text import counted, shown

_FORWARD_EVERY_S = 0.5
_TAIL_BYTES = 16 * 1024
_ACTIVITIES_AT_ONCE = 50
_TEXT_CHARACTERS = 2000
_DATA_BYTES = 4000  # what an event can carry


class Reporter:
    """The `Report` of one round."""

    def __init__(self, context: KernelContext, work: WorkContext) -> None:
        self.tail = b""
        self.used: Usage | None = None
        self._context = context
        self._work = work
        self._line = self._forwarded = ""
        self._activities: dict[str, Activity] = {}

    def line(self, text: str) -> None:
        text = str(text)
        self.tail = (self.tail + text.encode("utf-8", "replace") + b"\n")[-_TAIL_BYTES:]
        if text.strip():
            self._line = shown(text, 200)

    def usage(self, usage: Usage) -> None:
        self.used = read_usage(usage) or self.used

    def activity(self, activity: Activity) -> None:
        """Keep it until it is forwarded, in place of an older one about the same thing."""
        with suppress(TypeError, ValueError):
            read: Activity = _decode(msgspec.json.encode(activity))
            about = f"{read.__struct_config__.tag} {getattr(read, 'id', '') or getattr(read, 'path', '')}"
            if about in self._activities or len(self._activities) < _ACTIVITIES_AT_ONCE:
                self._activities[about] = read

    async def ask(self, question: str, options: Sequence[str] = (), *, timeout_s: float = 600.0) -> str | None:
        """The answer of the first handler that has one."""

        async def answer_of(handler: QuestionHandler) -> str | None:
            answer = await handler.ask(self._work, question, tuple(options))
            return str(answer) if answer is not None and (answer in options or not options) else None

        with self._context.processes.clock.move_on_after(timeout_s):
            return await self._context.first_answer("question_handlers", answer_of)
        return None

    async def forward(self) -> None:
        """Make events of what was reported, until cancelled."""
        while True:
            await trio.sleep(_FORWARD_EVERY_S)
            if self._line != self._forwarded:
                self._forwarded = self._line
                await self._emit("agent_reported", {"text": self._line})
            await self.forward_activities()

    async def forward_activities(self) -> None:
        """Make events of the activities so far. The one that is being sent when this is cancelled may be lost."""
        while self._activities:
            activity = self._activities.pop(next(iter(self._activities)))
            data = msgspec.json.encode(_shortened(activity))
            members = {"kind": str(activity.__struct_config__.tag), "text": _in_one_line(activity)}
            members |= {"data": data.decode()} if len(data) <= _DATA_BYTES else {}
            await self._emit("agent_activity", members)

    async def _emit(self, type_: str, members: Mapping[str, str]) -> None:
        work, town = self._work, self._work.town
        about = {"agent": work.agent.name, "task": work.task.id if work.task else "", "round_id": work.round_id or ""}
        with suppress(TinytownError):
            await town.run(town.operations.emit(type_, {**about, **members}))


_decode: Any = msgspec.json.Decoder(Activity).decode


def _shortened(activity: Activity) -> Activity:
    """The activity with its long texts cut, so that most fit into an event."""
    texts = {name: value for name, value in msgspec.structs.asdict(activity).items() if isinstance(value, str)}
    cut = {name: value[:_TEXT_CHARACTERS] for name, value in texts.items() if len(value) > _TEXT_CHARACTERS}
    return msgspec.structs.replace(activity, **cut) if cut else activity


def _in_one_line(activity: Activity) -> str:
    match activity:
        case Said(text=text):
            line = text
        case ToolCall(title=title, status=status):
            line = title if status == "running" else f"{title}: {status}"
        case Plan(entries=entries):
            done = sum(entry.status == "completed" for entry in entries)
            line = f"plan: {done} of {counted(len(entries), 'step')} done"
        case Diff(path=path):
            line = f"changed {path}"
    return shown(line, 200)
