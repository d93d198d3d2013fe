"""``tt events``: the events of the town, past and present."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from tinytown.errors import UsageError
from tinytown.model.events import (
    EVENT_TYPES,
    Event,
    event_fields,
)
from tinytown.model.text import shown

from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.event_text import describe
from tinytown_cli.framework import TownCommand
from tinytown_cli.occasions import URGENT_OCCASIONS, occasion_of
from tinytown_cli.params import AGENT, EVENT_TYPE, MOMENT, TASK, Moment, split_list
from tinytown_cli.serializers import event_shape
from tinytown_cli.suggestions import did_you_mean

if TYPE_CHECKING:
    from tinytown.plugin import Plugins

#: A filtered search reads this many times more events at each step further back.
_STRIDE = 20
#: Types of events under the names of the previous release.
_OLD_TYPES = {"agent_wanted": "agent_desired_state_changed"}
#: More events than a town may keep.
_ALL = 10_000_000


@click.command(
    cls=TownCommand,
    examples=[
        "tt events",
        "tt events --limit 100 --agent worker",
        "tt events --since 10m --type round_ended --type message_dead",
        "tt events --follow --type task_state_changed --json",
        "tt events --follow --notify",
    ],
)
@click.option(
    "-n", "--limit", "-c", "--count", "limit", type=click.IntRange(0, 100_000),
    help="The number of events.  [default: 20; with --since all]",
)  # fmt: skip
@click.option(
    "--since", type=MOMENT, metavar="TIME", help="Only events since 90s, 10m, 2h, 3d ago, or since a time in RFC 3339."
)
@click.option("-f", "--follow", is_flag=True, help="Then print new events as they occur, until Ctrl-C.")
@click.option(
    "--notify",
    is_flag=True,
    help="With --follow, ring the bell of the terminal when a person is needed: a question, a failed task, an agent in "
    "error, a spent budget.",
)
@click.option("--agent", type=AGENT, metavar="AGENT", help="Only events of this agent.")
@click.option("--task", type=TASK, metavar="TASK", help="Only events of this task.")
@click.option(
    "--type",
    "types",
    multiple=True,
    type=EVENT_TYPE,
    metavar="TYPE,..",
    help="Only events of this type, such as round_ended.",
)
@pass_cli_context
def events(
    context: CliContext,
    limit: int | None,
    since: Moment | None,
    follow: bool,
    notify: bool,
    agent: str | None,
    task: str | None,
    types: tuple[str, ...],
) -> None:
    """Print the events of the town, the oldest first; with --json one JSON object per line."""
    if notify and not follow:
        raise UsageError("expected --notify with --follow, got it alone", hint="tt events --follow --notify")
    if limit is None:
        limit = 20 if since is None else _ALL
    with context.open_town() as town:
        types = tuple(_current_type(context, type_) for type_ in split_list(types))
        plugin_text = _plugin_text(town)
        fits = _filter(town, agent, task, _check_types(town, types))
        begin = "-" if since is None else str(since.ms(town.now_ms()))
        cursor = town.cursor() if follow else ""
        for event in _newest(town, limit, fits or _any, begin=begin, unfiltered=fits is None):
            _print(context, event, plugin_text)
            cursor = event.id if _position(event.id) > _position(cursor) else cursor
        if follow:
            for batch in town.follow(cursor):
                for event in batch:
                    if (fits or _any)(event):
                        _print(context, event, plugin_text)
                        if notify and occasion_of(event) in URGENT_OCCASIONS:
                            context.ring()


def _any(_event: Event) -> bool:
    return True


def _newest(
    town: TownClient, count: int, fits: Callable[[Event], bool], *, begin: str, unfiltered: bool
) -> tuple[Event, ...]:
    """The newest `count` events from `begin` on that fit. Older events are read only if the newest do not suffice."""
    if count == 0:
        return ()
    read = min(count, _ALL) if unfiltered else min(count * _STRIDE, _ALL)
    while True:
        some = town.run(town.operations.latest_events(read, begin=begin))
        fitting = tuple(event for event in some if fits(event))
        if len(fitting) >= count or len(some) < read:
            return fitting[-count:]
        read *= _STRIDE


def _check_types(town: TownClient, types: tuple[str, ...]) -> tuple[str, ...]:
    """The types, each built in or present in the town, as those of plugins. Raises: UsageError for any other."""
    if others := set(types) - set(EVENT_TYPES):
        present = {event.type for event in town.run(town.operations.latest_events(_ALL))}
        for type_ in sorted(others - present):
            known = sorted(present | set(EVENT_TYPES))
            raise UsageError(
                f"expected a type of event, got {shown(type_)!r}",
                hint=did_you_mean(type_, known, f"one of {', '.join(known)}", most=1),
            )
    return types


def _filter(
    town: TownClient, agent: str | None, task: str | None, types: tuple[str, ...]
) -> Callable[[Event], bool] | None:
    """Whether an event is selected; None if all are."""
    selected: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    if agent is not None:
        selected.append((("agent", "sender", "recipient"), (town.run(town.operations.agent(agent)).name,)))
    if task is not None:
        selected.append((("task",), (town.run(town.operations.task(task)).id,)))
    if types:
        selected.append((("type",), types))

    def fits(event: Event) -> bool:
        fields: dict[str, Any] = event_fields(event)
        return all(any(fields.get(member) in values for member in members) for members, values in selected)

    return fits if selected else None


def _position(stream_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in stream_id.split("-")) if stream_id else ()


def _print(context: CliContext, event: Event, plugin_text: Callable[[Event], str | None]) -> None:
    clock = datetime.fromisoformat(event.at).astimezone()
    text = "" if context.json else describe(event, plugin_text)
    context.emit(event_shape(event), f"{clock:%H:%M:%S}  {text}")


def _plugin_text(town: TownClient) -> Callable[[Event], str | None]:
    """What describes the events of plugins. The plugins are imported at the first such event."""

    @functools.cache
    def plugins() -> Plugins:
        from tinytown_cli.plugin_commands import load_town_plugins  # late: most events are not of plugins

        return load_town_plugins(town.root, town.config, strict=False)

    return lambda event: plugins().first_answer("tinytown_event_text", {"event": event}, str, "a text")


def _current_type(context: CliContext, type_: str) -> str:
    """The type of events that an outdated name means, with a warning."""
    if type_ not in _OLD_TYPES:
        return type_
    context.warn(f"warning: the type {type_} is now {_OLD_TYPES[type_]}; the old name is removed in the next release")
    return _OLD_TYPES[type_]
