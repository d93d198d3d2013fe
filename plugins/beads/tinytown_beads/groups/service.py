"""Notices that a group is completed, reopened or stuck, each sent once.

Runs in every kernel of the town without coordination: the record is compared and set, the event is emitted in the same step,
and a notice has an id derived from the occasion. What a crash interrupts is completed by the next pass: the record
counts the notices that were sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from tinytown.contracts import Service
from tinytown.errors import LimitReached, NotFound, Refused, UsageError
from tinytown.model.events import PluginDataChanged, TaskStateChanged
from tinytown.model.messages import Informational
from tinytown.model.tasks import FINISHED, Task
from tinytown.model.text import counted
from tinytown.town import Town

from tinytown_beads.groups.progress import GONE, Progress, evaluate, progress_of
from tinytown_beads.groups.record import PLUGIN, PREFIX, Group, as_value, groups_in


async def group_changes(town: Town) -> AsyncGenerator[tuple[Group, TaskStateChanged | None]]:
    """Every group once, then each group whose record or member changes, with the member's event."""
    latest = await town.run(town.operations.latest_events(1))
    data = await town.run(town.operations.plugin_data(PLUGIN))
    groups = {group.name: group for group in groups_in(data)}
    for group in list(groups.values()):
        yield group, None
    async with aclosing(town.events(latest[-1].id if latest else "0")) as events:
        async for event in events:
            if isinstance(event, TaskStateChanged):
                for group in [candidate for candidate in groups.values() if event.task in candidate.tasks]:
                    yield group, event
            elif isinstance(event, PluginDataChanged) and event.plugin == PLUGIN and event.field.startswith(PREFIX):
                groups.pop(event.field.removeprefix(PREFIX), None)
                value = await town.run(town.operations.plugin_field(PLUGIN, event.field))
                for group in groups_in({event.field: value}):
                    groups[group.name] = group
                    yield group, None


class GroupReconciler(Service):
    """The service ``groups``. Without groups it reads events and does nothing else."""

    name = "groups"
    scope = "town"

    async def run(self, town: Town) -> None:
        """Reconcile every group once, then after each change of a member, until cancelled."""
        # Group -> member -> its state. Asking for all members whenever one moves would make long chains expensive.
        known: dict[str, dict[str, str]] = {}
        async with aclosing(group_changes(town)) as groups:
            async for group, event in groups:
                states = known.get(group.name, {})
                if set(states) == set(group.tasks) and states:
                    if event is None and group.notified >= group.completions:
                        continue  # its record alone has changed, most often by our own hand
                    if event is not None and not _matters(group, states, event):
                        continue
                    if event is not None and not _decides(group, states):
                        await _note(town, group.name, event)
                        continue
                known[group.name] = await self._look(town, group.name)

    async def _look(self, town: Town, name: str) -> dict[str, str]:
        """Bring the record of a group in line with its members, and send the notices that are due.

        Returns the states of its members; empty for a group that is closed or deleted.
        """
        while True:
            value = await town.run(town.operations.plugin_field(PLUGIN, PREFIX + name))
            group = next(iter(groups_in({PREFIX + name: value})), None)
            if group is None or group.state == "closed":
                return {}
            progress = progress_of(group, [await _task(town, id_) for id_ in group.tasks])
            updated = evaluate(progress)
            event = None
            if updated.state != group.state:
                happened = "group_completed" if updated.state == "completed" else "group_reopened"
                event = (happened, {"group": name, "owner": group.owner, "tasks": str(len(group.tasks))})
            elif group.notified < group.completions:
                await _notify(town, group, f"{group.completions}", _completed_text(group))
                updated = msgspec.structs.replace(updated, notified=group.completions)
            elif progress.stuck and group.stuck != progress.failing:
                await _notify(town, group, ".".join(("stuck", *progress.failing)), _stuck_text(progress))
                updated = msgspec.structs.replace(updated, stuck=progress.failing)
            if updated == group:
                return progress.states
            # A change made in between is handled by the next pass of this loop.
            await town.run(
                town.operations.set_plugin_field(PLUGIN, PREFIX + name, as_value(updated), expected=value, event=event)
            )


def _matters(group: Group, states: dict[str, str], event: TaskStateChanged) -> bool:
    """Whether a member's transition changes the record; it is noted in `states`."""
    before, states[event.task] = states[event.task], event.new
    return before in FINISHED or event.new in FINISHED


def _decides(group: Group, states: dict[str, str]) -> bool:
    """Whether the group may now be completed, reopened or stuck, so that it has to be evaluated as a whole."""
    present = set(states.values())
    return group.state != "open" or present == {"completed"} or bool(present & {"failed", "cancelled", GONE})


async def _note(town: Town, name: str, event: TaskStateChanged) -> None:
    """Record how one member ended, or that it was reopened."""
    written = False
    while not written:
        value = await town.run(town.operations.plugin_field(PLUGIN, PREFIX + name))
        group = next(iter(groups_in({PREFIX + name: value})), None)
        if group is None or event.task not in group.tasks:
            return
        ended = {id_: state for id_, state in group.ended.items() if id_ != event.task}
        if event.new in FINISHED:
            ended[event.task] = event.new
        noted = as_value(msgspec.structs.replace(group, ended=ended))
        written = await town.run(town.operations.set_plugin_field(PLUGIN, PREFIX + name, noted, expected=value))


async def _task(town: Town, id_: str) -> Task | None:
    try:
        task = await town.task(id_)
    except (NotFound, UsageError):
        return None
    return task if task.id == id_ else None  # not one whose id only begins so


async def _notify(town: Town, group: Group, occasion: str, text: str) -> None:
    """Send a notice to all recipients. A repeated notice of the same occasion is the same message."""
    for person in group.recipients:
        words = "\n".join((group.name, group.created_at, occasion, person))
        message_id = f"group-{hashlib.sha256(words.encode()).hexdigest()[:24]}"
        for recipient in (person, "supervisor"):
            try:
                await town.send(recipient, Informational(summary=text), message_id=message_id)
            except LimitReached:
                break  # a full mailbox: the recipient is there, and gets no further copy
            except (NotFound, Refused):
                continue  # an agent that is gone or stopped: then the supervisor is notified
            break


def _completed_text(group: Group) -> str:
    tasks = counted(len(group.tasks), "task")
    return f"group {group.name} is completed: {len(group.tasks)} of {tasks} (tt group status {group.name})"


def _stuck_text(progress: Progress) -> str:
    failures = [f"{id_} is {progress.states[id_]}" for id_ in progress.failing[:20]]
    words = ", ".join(failures) + (" and more" if len(progress.failing) > 20 else "")
    return (
        f"group {progress.group.name} is stuck: {words}. Reopen these tasks (tt task reopen ID), or "
        f"remove them (tt group remove {progress.group.name} ID)"
    )
