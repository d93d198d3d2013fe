"""Opens the receiver behind a channel, with its address and its key looked up, and sends to it in threads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio
from tinytown.state import town_id
from tinytown_cli.secrets import is_reference, look_up

from tinytown_notify.delivery import Undelivered
from tinytown_notify.news import News, merged
from tinytown_notify.queue import Item
from tinytown_notify.settings import Channel

if TYPE_CHECKING:
    from tinytown_notify.people import ApprisePerson
    from tinytown_notify.webhooks import Webhook

#: So many notifications for a person are sent in one.
_TOLD_AT_ONCE = 500
_GRACE_S = 1.0

_decode_news = msgspec.json.Decoder(News).decode


class Target:
    """A receiver that is open. `size`: how many items it takes at once."""

    def __init__(self, send: Callable[[Sequence[Item]], None], *, size: int, timeout_s: float) -> None:
        self.size = size
        self._send = send
        self._timeout_s = timeout_s
        self._limiter = trio.CapacityLimiter(1)
        self._attempt = trio.CancelScope()

    async def send(self, items: Sequence[Item]) -> None:
        """Hand over 1 to `size` items, oldest first, in a thread. Raises: Undelivered.

        Not cancelled: what is being sent should not be sent again because the kernel is ending, see `hurry`. An attempt that
        hangs is left to itself at its deadline; no other starts before it has ended.
        """
        await trio.lowlevel.checkpoint()
        with trio.CancelScope(shield=True, relative_deadline=self._timeout_s) as self._attempt:
            await trio.to_thread.run_sync(self._send, items, abandon_on_cancel=True, limiter=self._limiter)
            return
        raise Undelivered(f"no answer within {self._timeout_s:g} s")

    def hurry(self) -> None:
        """Leave the present attempt, and each that follows, a second."""
        self._timeout_s = min(self._timeout_s, _GRACE_S)
        self._attempt.deadline = min(self._attempt.deadline, trio.current_time() + _GRACE_S)


@asynccontextmanager
async def open_target(channel: Channel, root: Path, town: str) -> AsyncGenerator[Target]:
    """The receiver of `channel`. Raises: ConfigError if its address or its key is missing or makes no sense."""
    # In threads: the libraries take long to import.
    if channel.kind == "webhook":
        webhook = await trio.to_thread.run_sync(_webhook, channel, root)
        try:
            yield Target(webhook.send, size=channel.batch, timeout_s=channel.timeout_s)
        finally:
            webhook.close()
        return
    person = await trio.to_thread.run_sync(_person, channel, root)

    def tell(items: Sequence[Item]) -> None:
        person.send(merged([_decode_news(item.content) for item in items], town))

    yield Target(tell, size=_TOLD_AT_ONCE, timeout_s=channel.timeout_s)


def _webhook(channel: Channel, root: Path) -> Webhook:
    from tinytown_notify.webhooks import Webhook, signing_key

    return Webhook(
        look_up(channel.address, root),
        key=signing_key(look_up(channel.secret, root)) if channel.secret else None,
        origin=town_id(root),
        timeout_s=channel.timeout_s,
        size=channel.batch,
    )


def _person(channel: Channel, root: Path) -> ApprisePerson:
    from tinytown_notify.people import ApprisePerson

    return ApprisePerson(look_up(channel.address, root), literal=not is_reference(channel.address))
