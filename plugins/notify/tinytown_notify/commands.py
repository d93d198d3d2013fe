"""``tt notify``: which channels there are, whether they work, and what could not be delivered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from tinytown.config import CONFIG_FILE, Config, convert_settings, load_config
from tinytown.errors import NotFound, Refused, TinytownError
from tinytown.identity import inside_a_round
from tinytown.model.text import shown
from tinytown.model.time import now_rfc3339
from tinytown_cli.public import CliContext, TownClient, TownCommand, TownGroup, counted, pass_cli_context, table

from tinytown_notify import queue
from tinytown_notify.settings import Channel, Settings
from tinytown_notify.views import address_shown, read_channels

if TYPE_CHECKING:
    from tinytown_notify.queue import DeadItem, Item

_ALL = 100_000
_PREVIEW = 60


@click.group(cls=TownGroup, examples=["tt notify list", "tt notify test", "tt notify redeliver all"])
def notify() -> None:
    """Test notifications, and deliver again what failed."""


_channel_option = click.option("--channel", metavar="CHANNEL", help="Only this channel; see tt notify list.")


@notify.command("list", cls=TownCommand, examples=["tt notify list", "tt notify list --json"])
@pass_cli_context
def list_channels(context: CliContext) -> None:
    """List the channels: where they lead, what they send, and how they are."""
    with context.open_town() as town:
        settings = _settings(town.config, town.root)
        channels = {channel.name: channel for channel in settings.channels()}
        shapes = [_channel_shape(channels.get(status.name), status) for status in read_channels(town, settings)]
    rows = [
        (
            shape["name"],
            shape["address"],
            ",".join(shape["events"]),
            *(f"{shape[count]:,}" for count in ("delivered", "queued", "dead")),
            shape["failure"] or "",
        )
        for shape in shapes
    ]
    headings = ("channel", "address", "events", "delivered", "queued", "dead", "failure")
    nothing = ["no channel is configured: set urls in [plugins.notify]"]
    context.emit({"channels": shapes}, table(headings, rows, spare=("events",)) if rows else nothing)


def _channel_shape(channel: Channel | None, status: queue.ChannelStatus) -> dict[str, Any]:
    about = {
        "kind": channel and channel.kind,
        "address": address_shown(channel.address) if channel else "no longer configured",
        "events": channel.filter.events if channel else (),
    }
    return {"name": status.name, **about, **msgspec.to_builtins(status)}


@notify.command(cls=TownCommand, examples=["tt notify test", "tt notify test phone"])
@click.argument("channel", required=False)
@pass_cli_context
def test(context: CliContext, channel: str | None) -> None:
    """Send a test notification to CHANNEL (default: to each) from here, at once, whatever the hour.

    Variables and files with addresses are read here; those of a running kernel may be others.
    """
    import trio

    if inside_a_round():
        raise Refused(
            "tt notify test does not run in an agent's round", hint="write to the supervisor: tt send supervisor"
        )
    root = context.town_root()
    config = load_config(root)
    settings = _settings(config, root)
    channels = [_named(settings, channel)] if channel else settings.channels()
    if not channels:
        raise NotFound(
            "no channel is configured", hint='set urls in [plugins.notify], such as urls = "ntfy://ntfy.sh/TOPIC"'
        )
    failures = trio.run(_try_all, channels, root, config.name)
    results = [{"channel": each.name, "ok": not failures[each.name], "error": failures[each.name]} for each in channels]
    lines = [f"{name}: {f'failed: {failure}' if failure else 'sent'}" for name, failure in failures.items()]
    if failed := [name for name, failure in failures.items() if failure]:
        context.defer_error(
            TinytownError(f"{counted(len(failed), 'channel')} of {len(channels)} failed", hint="see above")
        )
    context.emit({"results": results}, lines)


async def _try_all(channels: Sequence[Channel], root: Path, town: str) -> dict[str, str | None]:
    """Channel -> why it cannot be reached, or None."""
    import trio

    failures: dict[str, str | None] = {}

    async def attempt(channel: Channel) -> None:
        failures[channel.name] = await _try(channel, root, town)

    async with trio.open_nursery() as nursery:
        for channel in channels:
            nursery.start_soon(attempt, channel)
    return {channel.name: failures[channel.name] for channel in channels}


async def _try(channel: Channel, root: Path, town: str) -> str | None:
    from tinytown_notify.delivery import Undelivered
    from tinytown_notify.targets import open_target

    try:
        async with open_target(channel, root, town) as target:
            await target.send([_test_item(channel, town)])
    except Undelivered as error:
        return error.reason
    except TinytownError as error:
        return str(error)
    return None


def _test_item(channel: Channel, town: str) -> Item:
    from tinytown_notify.news import News

    id_ = f"{time.time_ns() // 1_000_000}-0"
    reported: Any = News(title=f"{town}: a test", body=f"The channel {channel.name} of the town {town} works.")
    if channel.kind == "webhook":
        reported = {"type": "notify_test", "at": now_rfc3339(), "id": id_, "channel": channel.name}
    return queue.Item(id_, msgspec.json.encode(reported))


@notify.command(cls=TownCommand, examples=["tt notify dead", "tt notify dead --channel phone --json"])
@_channel_option
@click.option("--limit", type=click.IntRange(1, _ALL), default=100, show_default=True, help="The maximum per channel.")
@pass_cli_context
def dead(context: CliContext, channel: str | None, limit: int) -> None:
    """List the dead letters: what was refused, or could not be delivered for too long."""
    with context.open_town() as town:
        names = _channel_names(town, channel)
        found = town.run_all([queue.dead_letters(town.operations.keys, name, limit=limit) for name in names])
    letters: list[DeadItem] = [letter for letters in found for letter in letters]
    rows = [(letter.id, letter.channel, letter.at, shown(letter.reason, _PREVIEW)) for letter in letters]
    context.emit({"dead": letters}, table(("id", "channel", "at", "reason"), rows) if rows else ["no dead letters"])


@notify.command(
    cls=TownCommand, examples=["tt notify redeliver 1769851860000-0", "tt notify redeliver all --channel phone"]
)
@click.argument("letter")
@_channel_option
@pass_cli_context
def redeliver(context: CliContext, letter: str, channel: str | None) -> None:
    """Have the kernel deliver LETTER, or all, again, before what has happened since. Receivers see the same id."""
    _change(context, letter, channel, queue.redeliver, "redelivered", "queued again")


@notify.command(cls=TownCommand, examples=["tt notify drop 1769851860000-0", "tt notify drop all"])
@click.argument("letter")
@_channel_option
@pass_cli_context
def drop(context: CliContext, letter: str, channel: str | None) -> None:
    """Delete LETTER, or all dead letters."""
    _change(context, letter, channel, queue.drop, "dropped", "deleted")


def _change(context: CliContext, letter: str, channel: str | None, change: Any, member: str, done: str) -> None:
    """Do something to a dead letter of the channels that have it. Raises: NotFound if none has."""
    changed: list[dict[str, str]] = []
    missing: NotFound | None = None
    with context.open_town() as town:
        for name in _channel_names(town, channel):
            try:
                ids = town.run(change(town.operations.keys, name, letter))
            except NotFound as error:
                missing = error
                continue
            changed += [{"channel": name, "id": id_} for id_ in ids]
    if missing and not changed:
        raise NotFound(f"no dead letter {shown(letter)!r}", hint="tt notify dead shows them")
    context.emit(
        {member: changed}, [f"{each['channel']}: {each['id']} {done}" for each in changed] or ["no dead letters"]
    )


def _channel_names(town: TownClient, channel: str | None) -> list[str]:
    names = [status.name for status in read_channels(town, _settings(town.config, town.root))]
    if channel is None:
        return names
    if channel not in names:
        raise _unknown(channel, names)
    return [channel]


def _named(settings: Settings, name: str) -> Channel:
    channels = {channel.name: channel for channel in settings.channels()}
    if name not in channels:
        raise _unknown(name, list(channels))
    return channels[name]


def _unknown(channel: str, names: Sequence[str]) -> NotFound:
    return NotFound(f"no channel {shown(channel)!r}", hint=f"channels are: {', '.join(names) or 'none'}")


def _settings(config: Config, root: Path) -> Settings:
    """The plugin's settings, as its hooks get them. Raises: ConfigError."""
    return convert_settings(Settings, config.plugins.get("notify", {}), root / CONFIG_FILE, "plugins.notify")
