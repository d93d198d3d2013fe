"""Consuming a mailbox under a lease: a letter is removed when it was handled, and comes back when its reader fails or dies.

Knows claims, leases and replies. Does not know what a letter is about.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType

import trio
from tinytown.concurrency import open_background
from tinytown.errors import StaleLease, TinytownError
from tinytown.model.ids import new_id
from tinytown.model.messages import Body, Informational, Message, TaskAssign
from tinytown.model.results import Batch, Delivery, Sent
from tinytown.town import Town
from tinytown_cli.replies import answer_id, answered_by

from tinytown_api.asking import Asked, hand_over

_CLOSE_BOUND_S = 5.0
_LONGEST_WAIT_S = 5.0


class Letter:
    """A message that this mailbox has leased, until `ack` or `nack`; neither may be called twice.

    As a context manager it is acknowledged at the end of the block, and given back if the block raises. An error counts as a
    failed delivery, a cancellation does not; delivered too often (``limits.max_deliveries``), it becomes a dead letter.
    """

    def __init__(self, mailbox: Mailbox, delivery: Delivery, message: Message) -> None:
        self._mailbox = mailbox
        #: The lease, and what it is about.
        self.delivery = delivery
        self.message = message

    def __repr__(self) -> str:
        return f"<Letter {self.message.id} from {self.message.sender}>"

    @property
    def text(self) -> str:
        """What the message says."""
        return self.message.text

    @property
    def sender(self) -> str:
        """The name of who sent it."""
        return self.message.sender

    @property
    def deliveries(self) -> int:
        """How often the message was delivered, this time included."""
        return self.delivery.deliveries

    async def ack(self) -> None:
        """Remove the message: it was handled. Raises: StaleLease if the lease was lost and another reader may have it."""
        await self._mailbox.settle(self)

    async def nack(self, reason: str, *, delay_s: float = 0.0, counts: bool = True) -> None:
        """Give the message back to its old place, after `delay_s` seconds; `counts` says whether this was a failed delivery.

        Raises: StaleLease if the lease was lost.
        """
        await self._mailbox.give_back(self, reason=reason, delay_s=delay_s, counts=counts)

    async def reply(self, message: str | Body) -> Sent:
        """Answer the sender, who sees which message this answers. Plain text is information and starts no round by itself."""
        return await self._mailbox.reply(self.message, message)

    async def __aenter__(self) -> Letter:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._mailbox.holds(self):
            return  # settled inside the block
        if error is None:
            await self.ack()
            return
        # The error of the block matters more than what giving the message back may say.
        with trio.CancelScope(shield=True, relative_deadline=_CLOSE_BOUND_S), suppress(TinytownError):
            await self.nack(str(error) or type(error).__name__, counts=isinstance(error, Exception))


class Mailbox:
    """The mailbox of one agent, or of the supervisor, as one consumer sees it; see `Town.open_mailbox`.

    Several consumers may share a mailbox: each message goes to one of them. Made by `open_mailbox`.
    """

    def __init__(self, town: Town, name: str, agent_id: str, lease_s: float, asked: Asked) -> None:
        self.town = town
        #: The name and id of whose mailbox it is.
        self.name, self.agent_id = name, agent_id
        self._lease_ms = int(lease_s * 1000)
        self._asked = asked
        self._held: dict[Letter, None] = {}
        self._token, self._interrupted = new_id(), False
        self._claiming = trio.Lock()

    async def receive(self) -> Letter:
        """The next message, waiting for one: by priority, then in the order of sending. Cancelling it loses nothing."""
        while True:
            position = self.town.position.value
            letters, due_s = await self._claim(1)
            if letters:
                return letters[0]
            with trio.move_on_after(due_s):
                await self.town.wait_for_change(position)

    async def try_receive(self) -> Letter | None:
        """The next message; None if there is none now."""
        letters, _ = await self._claim(1)
        return letters[0] if letters else None

    async def drain(self, limit: int = 1_000) -> tuple[Letter, ...]:
        """All messages that are there now, at most `limit`, each to be settled by itself. Cancelled, it gives them back."""
        drained: list[Letter] = []
        try:
            while len(drained) < limit:
                letters, _ = await self._claim(limit - len(drained))
                if not letters:
                    break
                drained += letters
        except BaseException:
            if drained:
                with trio.CancelScope(shield=True, relative_deadline=_CLOSE_BOUND_S), suppress(TinytownError):
                    await self.give_back(*drained, reason="its reader was interrupted", counts=False)
            raise
        return tuple(drained)

    async def reply(self, message: Message, answer: str | Body) -> Sent:
        """Answer a message in the name of this mailbox; see `Letter.reply`."""
        body = Informational(summary=answer) if isinstance(answer, str) else answer
        sender = self.name
        if first := answer_id(message.id):
            sent = await self.town.send(
                message.sender, body, sender=sender, message_id=first, correlation_id=message.id
            )
            if sent.new:
                return sent
        return await self.town.send(message.sender, body, sender=sender, correlation_id=message.id)

    def holds(self, letter: Letter) -> bool:
        """Whether a letter is not settled yet."""
        return letter in self._held

    async def settle(self, *letters: Letter) -> None:
        """Remove these messages, which were handled, in one step; the order of a task that is still to be done goes back instead.

        Cancelled, it may be called again; what is not removed when the mailbox is closed goes back.
        Raises: StaleLease naming those whose lease was lost.
        """
        self._check_held(letters)
        flags = await self.town.run(self.town.operations.ack(self.agent_id, [each.delivery for each in letters]))
        self._forget(letter for letter, removed in zip(letters, flags, strict=True) if removed)
        self._forget_lost(letters)

    async def give_back(
        self, *letters: Letter, reason: str = "returned", delay_s: float = 0.0, counts: bool = True
    ) -> None:
        """Give these messages back in one step; see `Letter.nack`."""
        self._check_held(letters)
        deliveries, delay_ms = [each.delivery for each in letters], int(delay_s * 1000)
        giving = self.town.operations.nack(self.agent_id, deliveries, delay_ms=delay_ms, counts=counts, reason=reason)
        fates = await self.town.run(giving)
        self._forget(letter for letter, fate in zip(letters, fates, strict=True) if fate != "stale")
        self._forget_lost(letters)

    def _check_held(self, letters: Sequence[Letter]) -> None:
        if settled := [letter for letter in letters if letter not in self._held]:
            raise StaleLease(f"{settled[0]!r} was settled before", messages=[each.message.id for each in settled])

    def _forget(self, letters: Iterable[Letter]) -> None:
        for letter in letters:
            self._held.pop(letter, None)

    def _forget_lost(self, letters: Sequence[Letter]) -> None:
        """Raises: StaleLease for those still held; but an order goes with its task: settling that has withdrawn it."""
        lost = [letter for letter in letters if letter in self._held]
        self._forget(lost)
        if stale := [letter for letter in lost if not isinstance(letter.message.body, TaskAssign)]:
            raise StaleLease(
                f"the lease on {', '.join(map(repr, stale))} was lost: the message may be delivered again",
                messages=[letter.message.id for letter in stale],
            )

    async def _claim(self, count: int) -> tuple[list[Letter], float]:
        """Up to `count` letters (fewer where orders are among them), and in how many seconds to look again at the latest."""
        async with self._claiming:
            while True:
                batch = await self._lease(count)
                letters = self._sort(batch.deliveries)
                taken = {letter.delivery.member for letter in letters}
                if others := [each for each in batch.deliveries if each.member not in taken]:
                    await self._put_aside(others)
                if letters or not batch.deliveries:
                    break
        due_ms = None if batch.next_due_ms is None else max(0, batch.next_due_ms - batch.now_ms)
        return letters, _LONGEST_WAIT_S if due_ms is None else min(_LONGEST_WAIT_S, due_ms / 1000)

    async def _lease(self, count: int) -> Batch:
        claiming = self.town.operations.claim(self.agent_id, token=self._token, count=count, lease_ms=self._lease_ms)
        self._interrupted = True
        batch = await self.town.run(claiming)
        # Only now: the same token again gets what a lost answer, or a cancellation, has kept from us.
        self._interrupted, self._token = False, new_id()
        return batch

    def _sort(self, deliveries: Sequence[Delivery]) -> list[Letter]:
        """Those that are for the reader; answers that are waited for are handed over."""
        letters: list[Letter] = []
        for delivery in deliveries:
            message = delivery.message
            if message is not None and not hand_over(self._asked, answered_by(message.id), message):
                letters.append(Letter(self, delivery, message))
        self._held |= dict.fromkeys(letters)
        return letters

    async def _put_aside(self, deliveries: Sequence[Delivery]) -> None:
        """Remove what was handed over; what cannot be decoded becomes a dead letter."""
        operations = self.town.operations
        with trio.CancelScope(shield=True, relative_deadline=_CLOSE_BOUND_S):
            if handed := [each for each in deliveries if each.message is not None]:
                await self.town.run(operations.ack(self.agent_id, handed))
            if unreadable := [each for each in deliveries if each.message is None]:
                await self.town.run(operations.dead_letter(self.agent_id, unreadable, reason="it cannot be decoded"))

    async def keep_leases(self) -> None:
        """Renew the leases of what is not settled, until cancelled. Run by `open_mailbox`."""
        while True:
            await trio.sleep(self._lease_ms / 3000)
            if held := tuple(self._held):
                deliveries = [letter.delivery for letter in held]
                with suppress(TinytownError):  # a lost lease is reported where the letter is settled
                    await self.town.run(self.town.operations.renew(self.agent_id, deliveries, lease_ms=self._lease_ms))

    async def close(self) -> None:
        """Give back what was not settled, uncounted. Called once, by `open_mailbox`."""
        left = [letter.delivery for letter in self._held]
        self._held.clear()
        with suppress(TinytownError):
            if self._interrupted:  # what it may have leased
                left += (await self._lease(1)).deliveries
            if left:
                returning = self.town.operations.nack(self.agent_id, left, counts=False, reason="its reader ended")
                await self.town.run(returning)


@asynccontextmanager
async def open_mailbox(
    town: Town, name: str, agent_id: str, *, lease_s: float, asked: Asked
) -> AsyncGenerator[Mailbox]:
    """A consumer of a mailbox, whose leases are renewed while the block lasts; what it has not settled then goes back."""
    mailbox = Mailbox(town, name, agent_id, lease_s, asked)
    async with open_background() as nursery:
        nursery.start_soon(mailbox.keep_leases)
        try:
            yield mailbox
        finally:
            with trio.CancelScope(shield=True, relative_deadline=_CLOSE_BOUND_S):
                await mailbox.close()
