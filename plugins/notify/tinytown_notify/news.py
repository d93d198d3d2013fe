"""From events to notifications: which events a channel wants, what they are about, and the words for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec
from tinytown.errors import NotFound
from tinytown.model.events import Event, MessageSent, TaskAdded, TaskStateChanged, event_fields
from tinytown.model.ids import SUPERVISOR
from tinytown.model.tasks import FINISHED, Task
from tinytown.model.text import escape_control
from tinytown.town import Town
from tinytown_cli import administration
from tinytown_cli.doctor_agent import is_doctors
from tinytown_cli.event_text import describe
from tinytown_cli.occasions import occasion_of
from tinytown_cli.serializers import event_shape

from tinytown_notify.queue import Item
from tinytown_notify.settings import FIELDS, TOWN_DONE, Channel

_CHARACTERS = 1500
#: So many are shown in full where one notification is for several.
_MERGED = 20

#: Occasion -> title and body of its notification, with members of `FIELDS` in braces, and how to answer.
_TEMPLATES = {
    "question": ("{town}: {agent} asks", "{text}{answer}"),
    "approval": ("{town}: {agent} wants something", "{text}{answer}"),
    "mail": ("{town}: mail from {agent}", "{text}"),
    "task_failed": ("{town}: a task failed", "{title}: {reason}\n\nsee: tt task show {task}"),
    "task_completed": ("{town}: a task is completed", "{title}"),
    "agent_error": ("{town}: {agent} is in error", "{reason}\n\nfix it, then: tt resume {agent}"),
    TOWN_DONE: ("{town}: all work is done", "{text}"),
}
_TEMPLATE = ("{town}: {event}", "{text}")


class News(msgspec.Struct, frozen=True, kw_only=True):
    """A notification for a person."""

    title: str
    body: str


class NewsReader:
    """Picks out of the town's events what one channel sends."""

    def __init__(self, town: Town, channel: Channel) -> None:
        self._town = town
        self._channel = channel
        self._all_done = False  # and reported

    async def read(self, events: Sequence[Event]) -> list[Item]:
        """What is to be sent of those `events` that the channel wants: JSON of `News`, or of the event for a webhook."""
        items: list[Item] = []
        for event in events:
            if is_doctors(event):
                continue
            named = [occasion for occasion in (occasion_of(event), await self._town_done(event)) if occasion]
            wanted = [occasion for occasion in named or [event.type] if self._wants(event, occasion)]
            if not wanted:
                continue
            task = await self._task(event)
            if not self._fits(event, task):
                continue
            is_hook = self._channel.kind == "webhook"
            content = event_shape(event) if is_hook else await self._news(event, wanted, task)
            items.append(Item(event.id, msgspec.json.encode(content)))
        return items

    def _wants(self, event: Event, occasion: str) -> bool:
        return any(fnmatchcase(name, each) for each in self._channel.filter.events for name in (occasion, event.type))

    def _fits(self, event: Event, task: Task | None) -> bool:
        """Whether agent, task and priority are among those that the channel is about."""
        wanted, members = self._channel.filter, event_fields(event)
        priority = members.get("priority") or (task.priority if task else None)
        headline = task.headline if task else None
        return (
            _fits(wanted.agents, (members.get("agent"), members.get("sender")))
            and _fits(wanted.tasks, (members.get("task"), members.get("title"), headline))
            and (not wanted.priorities or priority in wanted.priorities)
        )

    async def _task(self, event: Event) -> Task | None:
        """The task that the event is about, if that matters; None also when it is gone."""
        wanted, task = self._channel.filter, event_fields(event).get("task")
        if not task or not (wanted.tasks or wanted.priorities):
            return None
        try:
            return await self._town.run(self._town.operations.task(task))
        except NotFound:
            return None

    async def _town_done(self, event: Event) -> str | None:
        """The occasion that no task is open any more, once after the last one has finished."""
        if isinstance(event, TaskAdded) or (isinstance(event, TaskStateChanged) and event.new not in FINISHED):
            self._all_done = False
        elif isinstance(event, TaskStateChanged) and not self._all_done and self._wants(event, TOWN_DONE):
            counts = (await self._town.run(self._town.operations.status(agents=False))).tasks
            self._all_done = not any(count for state, count in counts.items() if state not in FINISHED)
            return TOWN_DONE if self._all_done else None
        return None

    async def _news(self, event: Event, occasions: Sequence[str], task: Task | None) -> News:
        """One notification for all `occasions` that the event is."""
        titles: list[str] = []
        bodies: list[str] = []
        for occasion in occasions:
            fields = await self._fields(event, occasion, task)
            title, body = _TEMPLATES.get(occasion, _TEMPLATE)
            titles.append((self._channel.title or title).format_map(fields))
            bodies.append((self._channel.body or body).format_map(fields))
        return News(title=titles[0], body="\n\n".join(bodies))

    async def _fields(self, event: Event, occasion: str, task: Task | None) -> Mapping[str, str]:
        """What the templates name, safe for a screen."""
        members = {name: str(value) for name, value in event_fields(event).items() if value is not None}
        about = {
            **dict.fromkeys((*FIELDS, "answer"), ""),
            "agent": members.get("agent") or members.get("sender", "nobody"),
            "event": occasion.replace("_", " "),
            "reason": members.get("reason", "no reason given"),
            "title": members.get("title") or (task.headline if task else members.get("task", "")[:8]),
            "text": members.get("text") or describe(event),
            "town": self._town.name,
        }
        for name in ("at", "message", "priority", "task"):
            about[name] = members.get(name, "")
        if occasion == TOWN_DONE:
            counts = (await self._town.run(self._town.operations.status(agents=False))).tasks
            finished = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
            about["text"] = f"no task is open: {finished}"
        elif isinstance(event, MessageSent):
            about["text"] = await self._message_text(event)
            if "tt answer" not in about["text"]:  # which a question in the middle of a round says itself
                about["answer"] = f'\n\nanswer with: tt send {event.sender} "..." --reply-to {event.message}'
        return {name: escape_control(text)[:_CHARACTERS] for name, text in about.items()}

    async def _message_text(self, event: MessageSent) -> str:
        find = administration.find_message(self._town.operations, event.recipient or SUPERVISOR, event.message)
        try:
            box = await self._town.run(find)
        except NotFound:
            box = None
        texts = [entry.message.text for entry in (box.messages if box else ()) if entry.message]
        return texts[0] if texts else "the message is no longer in the mailbox"


def merged(news: Sequence[News], town: str) -> News:
    """One notification for several."""
    if len(news) == 1:
        return news[0]
    prefix = f"{town}: "
    parts = [f"{each.title.removeprefix(prefix)}\n{each.body}" for each in news[:_MERGED]]
    if len(news) > _MERGED:
        parts.append(f"and {len(news) - _MERGED} more; see: tt events")
    return News(title=f"{prefix}{len(news)} notifications", body="\n\n".join(parts))


def _fits(patterns: Iterable[str], texts: Iterable[str | None]) -> bool:
    """Whether one of the texts matches one of the patterns, or there are none."""
    patterns = tuple(patterns)
    return not patterns or any(fnmatchcase(text, each) for text in texts if text for each in patterns)
