"""How the channels are, for ``tt status --deep`` and ``tt doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinytown.model.text import counted, shown
from tinytown_cli.client import TownClient
from tinytown_cli.contracts import Finding, HealthCheck, SectionContent, StatusSection
from tinytown_cli.secrets import is_reference

from tinytown_notify import queue
from tinytown_notify.queue import ChannelStatus
from tinytown_notify.settings import Settings


def read_channels(town: TownClient, settings: Settings) -> tuple[ChannelStatus, ...]:
    """How each configured channel is; others that still have something to deliver come last."""
    known = {status.name: status for status in town.run(queue.statuses(town.operations.keys))}
    names = [channel.name for channel in settings.channels()]
    former = [status for name, status in known.items() if name not in names and (status.queued or status.dead)]
    return (*(known.get(name) or ChannelStatus(name=name) for name in names), *former)


def address_shown(address: str) -> str:
    """An address without what may be a secret in it."""
    return address if is_reference(address) else f"{address.partition('://')[0]}://..."


class ChannelsSection(StatusSection):
    """The channels of ``[plugins.notify]``."""

    name = "notify"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def read(self, town: TownClient) -> SectionContent | None:
        """A line for each channel; None without any."""
        channels = read_channels(town, self._settings)
        return SectionContent("Notifications", [_line(channel) for channel in channels], channels) if channels else None


def _line(channel: ChannelStatus) -> str:
    parts = [f"{channel.delivered:,} delivered", f"{channel.queued:,} queued"]
    if channel.dead:
        parts.append(counted(channel.dead, "dead letter"))
    if channel.dropped:
        parts.append(f"{channel.dropped:,} dropped")
    if channel.failure:
        parts.append(f"failing since {channel.failing_since}: {shown(channel.failure, 200)}")
    return f"{channel.name}: {', '.join(parts)}"


class ChannelsCheck(HealthCheck):
    """Whether notifications arrive."""

    name = "notify"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check(self, town: TownClient) -> Sequence[Finding]:
        """What keeps channels from delivering."""
        channels = read_channels(town, self._settings)
        if not channels:
            found = "installed, but no address is configured"
            return [
                Finding("notify", "note", found, 'set urls in [plugins.notify], such as urls = "ntfy://ntfy.sh/TOPIC"')
            ]
        findings = [finding for channel in channels for finding in _findings(channel)]
        return findings or [Finding("notify", "ok", f"{counted(len(channels), 'channel')}, no problems")]


def _findings(channel: ChannelStatus) -> Iterator[Finding]:
    if channel.failure:
        found = f"channel {channel.name} has failed since {channel.failing_since}: {shown(channel.failure, 300)}"
        yield Finding("notify", "problem", found, f"fix it and try: tt notify test {channel.name}")
    if channel.dead:
        found = f"channel {channel.name} has {counted(channel.dead, 'dead letter')}"
        yield Finding("notify", "note", found, f"tt notify dead, then tt notify redeliver all --channel {channel.name}")
    if channel.dropped:
        found = (
            f"channel {channel.name} has dropped {counted(channel.dropped, 'dead letter')}: it keeps a bounded number"
        )
        yield Finding("notify", "note", found, f"tt notify drop all --channel {channel.name} counts from 0 again")
