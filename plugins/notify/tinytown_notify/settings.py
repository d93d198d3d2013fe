"""``[plugins.notify]``: who is notified of what, where, and when. Checked when it is read; secrets are looked up when used."""

from __future__ import annotations

import difflib
import string
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
from tinytown.config import Seconds
from tinytown.model.events import EVENT_TYPES
from tinytown.model.messages import Priority
from tinytown_cli.occasions import OCCASIONS, URGENT_OCCASIONS
from tinytown_cli.secrets import is_reference

from tinytown_notify.schedule import Schedule, read_quiet_hours, read_time

#: Beside the occasions of single events: no task is open any more.
TOWN_DONE = "town_done"
DEFAULT_EVENTS = (*sorted(URGENT_OCCASIONS), TOWN_DONE)
#: What a template may name.
FIELDS = ("agent", "at", "event", "message", "priority", "reason", "task", "text", "title", "town")

Name = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Texts = tuple[str, ...]


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events: by occasion or type, agent, task and priority. Each is a list of patterns (``rita*``); empty is any."""

    events: Texts = ()
    agents: Texts = ()
    tasks: Texts = ()
    priorities: tuple[Priority, ...] = ()


class Rule(Filter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[plugins.notify.rules]]``: notifications for a person. What is left out is as in ``[plugins.notify]``."""

    name: Name | None = None
    events: Texts = DEFAULT_EVENTS
    urls: str | Texts = ()
    quiet: str | None = None
    digest: Texts | None = None
    at_most_every_s: Seconds | None = None
    title: str = ""
    body: str = ""

    def __post_init__(self) -> None:
        _check_events(self.events)
        _check_addresses(_listed(self.urls))
        for template in (self.title, self.body):
            _check_template(template)
        read_quiet_hours(self.quiet or "")
        for moment in self.digest or ():
            read_time(moment)


class Webhook(Filter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[plugins.notify.webhooks]]``: events as JSON to a URL, one a request, or with `batch` up to so many in an array."""

    url: str
    name: Name | None = None
    events: Texts = ("*",)
    secret: str = ""
    batch: Annotated[int, msgspec.Meta(ge=1, le=500)] = 1
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0

    def __post_init__(self) -> None:
        _check_events(self.events)
        _check_addresses([self.url])
        if not is_reference(self.url) and urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError(
                "expected an address that begins with http:// or https://, or env:NAME or file:PATH as url"
            )
        if self.secret and not is_reference(self.secret):
            raise ValueError("expected env:NAME or file:PATH as secret: secrets do not belong into this file")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.notify]``. With `urls` and no rules, `DEFAULT_EVENTS` are sent there.

    URLs are Apprise's, or ``env:NAME`` or ``file:PATH`` for where one is. `quiet` is a time of the day (``22:00-07:00``) after
    which what has come is sent in one notification; `digest` names the times at which that is done instead of at once. Moments
    are of `timezone`, by default the machine's. What cannot be delivered within `give_up_after_s` becomes a dead letter; a
    channel holds at most `queued` notifications and `dead_letters`.
    """

    urls: str | Texts = ()
    quiet: str = ""
    digest: Texts = ()
    at_most_every_s: Seconds = 0.0
    timezone: str = ""
    give_up_after_s: Annotated[float, msgspec.Meta(ge=1, le=1_000_000_000_000)] = 86_400.0
    queued: Annotated[int, msgspec.Meta(ge=500, le=1_000_000)] = 10_000
    dead_letters: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    rules: tuple[Rule, ...] = ()
    webhooks: tuple[Webhook, ...] = ()

    def __post_init__(self) -> None:
        _check_addresses(_listed(self.urls))
        read_quiet_hours(self.quiet)
        for moment in self.digest:
            read_time(moment)
        if self.timezone:
            _zone(self.timezone)
        names = [channel.name for channel in self.channels()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected a name of its own for each channel, {twice[0]!r} is used twice")
        if homeless := next((rule for rule in self.rules if not rule.urls and not self.urls), None):
            raise ValueError(f"expected urls here or in each rule, {homeless.name or 'a rule'} has none")

    def channels(self) -> tuple[Channel, ...]:
        """Every way out: one for each URL of each rule, and one for each webhook."""
        rules = self.rules or ((Rule(name="default"),) if self.urls else ())
        found: list[Channel] = []
        for number, rule in enumerate(rules, 1):
            urls = _listed(rule.urls) or _listed(self.urls)
            name = rule.name or f"rule-{number}"
            found += [
                Channel(
                    name=name if len(urls) == 1 else f"{name}-{place}",
                    kind="person",
                    address=url,
                    filter=rule,
                    schedule=self._schedule(rule),
                    title=rule.title,
                    body=rule.body,
                )
                for place, url in enumerate(urls, 1)
            ]
        for number, hook in enumerate(self.webhooks, 1):
            found.append(
                Channel(
                    name=hook.name or f"webhook-{number}",
                    kind="webhook",
                    address=hook.url,
                    filter=hook,
                    schedule=Schedule(),
                    secret=hook.secret,
                    batch=hook.batch,
                    timeout_s=hook.timeout_s,
                )
            )
        return tuple(found)

    def _schedule(self, rule: Rule) -> Schedule:
        digest = self.digest if rule.digest is None else rule.digest
        return Schedule(
            quiet=read_quiet_hours(self.quiet if rule.quiet is None else rule.quiet),
            digest=tuple(sorted(read_time(moment) for moment in digest)),
            at_most_every_s=self.at_most_every_s if rule.at_most_every_s is None else rule.at_most_every_s,
            zone=_zone(self.timezone) if self.timezone else None,
        )


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One way out: to a person by Apprise, or to a webhook. `address` may say where the address is."""

    name: str
    kind: Literal["person", "webhook"]
    address: str
    filter: Filter
    schedule: Schedule
    title: str = ""
    body: str = ""
    secret: str = ""
    batch: int = 1
    timeout_s: float = 30.0


def _listed(urls: str | Texts) -> Sequence[str]:
    return [urls] if isinstance(urls, str) else urls


def _check_addresses(urls: Iterable[str]) -> None:
    for url in urls:
        if is_reference(url):
            continue
        parts = urlsplit(url)
        if not parts.scheme or "://" not in url:
            raise ValueError("expected an address such as ntfy://host/topic, or env:NAME or file:PATH for where it is")
        if parts.password:
            raise ValueError(
                f"the {parts.scheme}:// address has a password: put it into a variable or a file, and write env:NAME or "
                "file:PATH here"
            )


def _check_events(events: Iterable[str]) -> None:
    """Raises: ValueError for a word that looks like a misspelt one; plugins have types of events of their own."""
    known = [*OCCASIONS, TOWN_DONE, *EVENT_TYPES]
    for event in events:
        if event not in known and (near := difflib.get_close_matches(event, known, n=1, cutoff=0.8)):
            raise ValueError(f"expected an occasion or a type of event, got {event!r}; did you mean {near[0]!r}?")


def _check_template(template: str) -> None:
    for _, field, format_spec, conversion in string.Formatter().parse(template):
        if field is not None and (field not in FIELDS or format_spec or conversion):
            raise ValueError(f"expected one of {', '.join(FIELDS)} in braces, got {field!r}")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"expected a time zone such as Europe/Berlin, got {name!r}") from error
