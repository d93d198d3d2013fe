"""What the settings mean: channels and their names, times of the day, where secrets are; and what is wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tinytown.config import convert_settings
from tinytown.errors import ConfigError
from tinytown_notify.delivery import retry_delay_s
from tinytown_notify.schedule import Schedule, read_quiet_hours, read_time
from tinytown_notify.settings import DEFAULT_EVENTS, Settings
from tinytown_notify.webhooks import signing_key

BERLIN = ZoneInfo("Europe/Berlin")


def settings(**table: Any) -> Settings:
    return convert_settings(Settings, table, Path("tinytown.toml"), "plugins.notify")


def test_without_settings_there_is_no_channel() -> None:
    assert settings().channels() == ()


def test_one_line_is_a_channel_for_what_needs_a_person() -> None:
    (channel,) = settings(urls="ntfy://host/topic").channels()
    assert (channel.name, channel.kind, channel.address) == ("default", "person", "ntfy://host/topic")
    assert channel.filter.events == DEFAULT_EVENTS
    assert set(DEFAULT_EVENTS) == {"question", "approval", "task_failed", "agent_error", "budget_spent", "town_done"}


def test_rules_take_what_they_leave_out_from_the_table() -> None:
    table = settings(
        urls=["a://b", "c://d"],
        quiet="22:00-07:00",
        at_most_every_s=60,
        rules=[{"name": "all"}, {"urls": "e://f", "quiet": "", "digest": ["18:00", "8:05"], "at_most_every_s": 0}],
        webhooks=[{"url": "https://example.org/x", "batch": 7}, {"url": "env:HOOK", "name": "hook"}],
    )
    first, second, third, *hooks = table.channels()
    assert [channel.name for channel in (first, second, third)] == ["all-1", "all-2", "rule-2"]
    assert first.schedule == second.schedule == Schedule(quiet=read_quiet_hours("22:00-07:00"), at_most_every_s=60)
    assert third.schedule == Schedule(digest=(read_time("08:05"), read_time("18:00")))
    assert [(hook.name, hook.kind, hook.batch) for hook in hooks] == [
        ("webhook-1", "webhook", 7),
        ("hook", "webhook", 1),
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"url": "x"}, "url"),
        ({"urls": "no address"}, "expected an address such as ntfy://host/topic"),
        ({"urls": "json://ann:secret@host"}, "has a password"),
        ({"urls": "a://b", "rules": [{"events": ["qestion"]}]}, "did you mean 'question'"),
        ({"urls": "a://b", "rules": [{"priorities": ["asap"]}]}, r"rules\[0\].priorities"),
        ({"urls": "a://b", "rules": [{"body": "{nobody}"}]}, "expected one of agent, at"),
        ({"urls": "a://b", "rules": [{"body": "{text.__class__}"}]}, "expected one of agent, at"),
        ({"urls": "a://b", "rules": [{"body": "{"}]}, "rules"),
        ({"urls": "a://b", "rules": [{"name": "one two"}]}, "name"),
        ({"urls": "a://b", "rules": [{"name": "x"}, {"name": "x"}]}, "'x' is used twice"),
        ({"rules": [{}]}, "expected urls here or in each rule"),
        ({"quiet": "22-7"}, "expected a time such as 07:30"),
        ({"quiet": "22:00"}, "expected hours such as 22:00-07:00"),
        ({"quiet": "07:00-07:00"}, "expected quiet hours that end"),
        ({"digest": ["24:00"]}, "expected a time such as 07:30"),
        ({"timezone": "Middle/Earth"}, "expected a time zone"),
        ({"webhooks": [{"url": "ftp://host"}]}, "expected an address that begins with http"),
        ({"webhooks": [{"url": "https://host", "secret": "whsec_c2VjcmV0"}]}, "secrets do not belong into this file"),
        ({"webhooks": [{"url": "https://host", "batch": 0}]}, "batch"),
    ],
)
def test_what_makes_no_sense_is_named_without_its_secret(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        settings(**table)
    assert "plugins.notify" in str(caught.value)
    assert "ann:secret" not in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("quiet", "now", "due"),
    [
        ("22:00-07:00", "2026-03-01 21:59:59", "2026-03-01 21:59:59"),
        ("22:00-07:00", "2026-03-01 22:00", "2026-03-02 07:00"),
        ("22:00-07:00", "2026-03-02 06:59", "2026-03-02 07:00"),
        ("22:00-07:00", "2026-03-02 07:00", "2026-03-02 07:00"),
        ("22:00-07:00", "2026-03-28 23:00", "2026-03-29 07:00"),  # an hour less: summer time begins
        ("12:00-13:00", "2026-03-01 12:30", "2026-03-01 13:00"),
        ("12:00-13:00", "2026-03-01 13:30", "2026-03-01 13:30"),
    ],
)
def test_nothing_is_due_in_quiet_hours(quiet: str, now: str, due: str) -> None:
    schedule = Schedule(quiet=read_quiet_hours(quiet), zone=BERLIN)
    assert schedule.due_at(oldest=at(now), last=0, now=at(now)) == at(due)


@pytest.mark.parametrize(
    ("oldest", "now", "due"),
    [
        ("2026-03-01 07:59", "2026-03-01 07:59", "2026-03-01 08:00"),
        ("2026-03-01 08:00", "2026-03-01 08:00", "2026-03-01 18:00"),
        ("2026-03-01 19:00", "2026-03-01 20:00", "2026-03-02 08:00"),
        ("2026-03-01 19:00", "2026-03-02 09:00", "2026-03-02 09:00"),  # the kernel was away at 8
    ],
)
def test_a_digest_comes_at_its_times(oldest: str, now: str, due: str) -> None:
    schedule = Schedule(digest=(read_time("08:00"), read_time("18:00")), zone=BERLIN)
    assert schedule.due_at(oldest=at(oldest), last=0, now=at(now)) == at(due)


def test_the_last_notification_holds_the_next_one_back_and_quiet_hours_come_on_top() -> None:
    schedule = Schedule(at_most_every_s=3600, quiet=read_quiet_hours("22:00-07:00"), zone=BERLIN)
    now = at("2026-03-01 12:10")
    assert schedule.due_at(oldest=now, last=at("2026-03-01 12:00"), now=now) == at("2026-03-01 13:00")
    late = at("2026-03-01 21:40")
    assert schedule.due_at(oldest=late, last=at("2026-03-01 21:30"), now=late) == at("2026-03-02 07:00")


def test_a_clock_that_was_set_back_holds_no_notification_back_for_longer() -> None:
    now, ahead = at("2026-03-01 12:10"), at("2026-03-01 19:10")
    assert Schedule(at_most_every_s=3600, zone=BERLIN).due_at(oldest=ahead, last=ahead, now=now) == now + 3600
    digest = Schedule(digest=(read_time("18:00"),), zone=BERLIN)
    assert digest.due_at(oldest=ahead, last=ahead, now=now) == at("2026-03-01 18:00")


def test_without_a_zone_times_are_the_machines() -> None:
    now = datetime.now(UTC).timestamp()
    local = datetime.fromtimestamp(now)
    due = Schedule(digest=(read_time("09:00"),)).due_at(oldest=now, last=0, now=now)
    assert datetime.fromtimestamp(due).strftime("%H:%M") == "09:00"
    assert due > now
    assert local < datetime.fromtimestamp(due)


def test_a_broken_key_is_refused_without_being_shown() -> None:
    assert signing_key("any text") == b"any text"
    with pytest.raises(ConfigError, match="expected base64 behind whsec_") as caught:
        signing_key("whsec_!!!!")
    assert "!!!!" not in str(caught.value)


def test_delays_grow_with_some_chance_in_them() -> None:
    delays = [[retry_delay_s(attempt) for _ in range(50)] for attempt in (1, 4, 30)]
    assert 0.5 <= min(delays[0]) < max(delays[0]) <= 1.0
    assert 4.0 <= min(delays[1]) < max(delays[1]) <= 8.0
    assert 150 <= min(delays[2]) < max(delays[2]) <= 300
    assert retry_delay_s(1, asked_s=77) == 77
