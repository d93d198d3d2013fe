"""What the operations of a town answer: frozen values, as the server's replies are read. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from tinytown.model.agents import Agent, MailCounts
from tinytown.model.messages import Message
from tinytown.model.tasks import Task


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A message is in a mailbox; ``new`` is False when the same id was there before."""

    message_id: str
    to: str
    agent_id: str
    new: bool


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A leased message. ``message`` is None when the body cannot be decoded (``raw`` is kept). ``deliveries`` counts this one."""

    member: str
    token: str
    deliveries: int
    raw: bytes
    message: Message | None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim got. ``next_due_ms`` is the server time at which something falls due, or None; ``now_ms`` is the server's.

    ``held`` is why the agent may start nothing now: then nothing was leased, ``next_due_ms`` is when that ends by itself, and
    ``waiting`` whether there is something that it could begin.
    """

    now_ms: int
    next_due_ms: int | None
    held: str | None = None
    waiting: bool = False
    deliveries: tuple[Delivery, ...]


class MailboxEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it is in a mailbox: ``place`` is queued, leased or delayed. ``until``: when a delayed one is due (None: it
    waits for the next round), or a leased one's lease ends."""

    place: Literal["queued", "leased", "delayed"]
    deliveries: int
    until: str | None = None
    raw: bytes
    message: Message | None


class Inbox(msgspec.Struct, frozen=True, kw_only=True):
    """The mailbox of `agent` in the order of delivery."""

    agent: str
    messages: tuple[MailboxEntry, ...]


class Assigned(msgspec.Struct, frozen=True, kw_only=True):
    """A task and the id of the message that carries the order to its agent (None when nothing was sent)."""

    task: Task
    message_id: str | None


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a task may begin; if not, its order is outdated (``stale``) or its budget spent (``held``). No ``task``: gone."""

    stale: bool
    task: Task | None
    held: bool = False


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel that takes part in the town. ``id`` names one run of it, ``name`` the machine. How many ``agents`` it has and
    when its lease ends is known from `hosts` only. ``frozen`` counts the commands that it has frozen with the town; None while
    the town is not frozen. ``trouble`` is why it begins no rounds for now, ``loaded_from`` what its plugins come from."""

    id: str
    name: str = ""
    pid: int = 0
    lease_until: str | None = None
    machine: str = ""
    root: str = ""
    joined_at: str | None = None
    version: str = ""
    agents: int = 0
    capacity: int = 0
    backends: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    frozen: int | None = None
    trouble: str = ""
    loaded_from: str = ""


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a town is frozen, and why."""

    since: str
    reason: str


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """The agents that a host has taken over, and in how many seconds another may be taken (inf: not before a notification)."""

    agents: tuple[Agent, ...]
    due_s: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole town in one answer."""

    tasks: dict[str, int]
    backlog: int
    dead: int
    hosts: tuple[Host, ...]
    agents: tuple[Agent, ...]
    supervisor_mail: MailCounts
    schema: str
    frozen: Freeze | None = None
