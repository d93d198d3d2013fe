"""``tt notify`` as a person types it, ``tt status`` and ``tt doctor`` about channels, and the promises of the kit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tinytown_testing import Receiver, check_plugin
from tinytown_testing.shell import Shell, open_shell

pytestmark = pytest.mark.usefixtures("deadline")

DEADLINE_S = 60.0


@pytest.fixture
def town(receiver: Receiver) -> Iterator[Shell]:
    """A town with a channel `phone` and a webhook `hook` that refuses what is about bob; its kernel runs."""
    receiver.behave = lambda request: 422 if request.json.get("agent") == "bob" else 204
    with open_shell() as tt:
        tt("init", "--name", "shop")
        with (tt.directory / "tinytown.toml").open("a") as file:
            file.write(
                f"""
                [[plugins.notify.rules]]
                name = "phone"
                urls = "json://127.0.0.1:{receiver.port}/phone"
                [[plugins.notify.webhooks]]
                name = "hook"
                url = "{receiver.url}/hook"
                events = ["agent_spawned"]
                """
            )
        tt("start", "--background")
        yield tt


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def channel(tt: Shell, name: str) -> dict[str, Any]:
    channels: list[dict[str, Any]] = tt("notify", "list", "--json").json["channels"]
    return next(each for each in channels if each["name"] == name)


def test_channels_are_listed_tested_and_repaired(town: Shell, receiver: Receiver) -> None:
    assert channel(town, "phone")["address"] == "json://..."
    assert town("notify", "test", "--json").json["results"] == [
        {"channel": "phone", "ok": True, "error": None},
        {"channel": "hook", "ok": True, "error": None},
    ]
    assert {request.path for request in receiver.taken} == {"/phone", "/hook"}
    town("spawn", "ada", "--cli", "echo")
    town("spawn", "bob", "--cli", "echo")
    wait_for(lambda: channel(town, "hook")["dead"] == 1)
    assert channel(town, "hook")["delivered"] == 1
    (letter,) = town("notify", "dead", "--json").json["dead"]
    assert (letter["channel"], letter["reason"], letter["content"]["agent"]) == (
        "hook",
        "it answered 422 Unprocessable Entity",
        "bob",
    )
    assert "notify  not delivered: 1; see: tt notify dead" in town("status").out
    assert "1 dead letter" in town("status", "--deep").out
    assert town("status", "--deep", "--json").json["notify"][1]["dead"] == 1
    findings = town("doctor", "--no-task", "--json").json["findings"]
    assert [each["found"] for each in findings if each["check"] == "notify"] == ["channel hook has 1 dead letter"]
    receiver.behave = lambda _: 204
    assert town("notify", "redeliver", "all", "--json").json == {
        "redelivered": [{"channel": "hook", "id": letter["id"]}]
    }
    wait_for(lambda: channel(town, "hook")["delivered"] == 2)
    assert "no dead letters" in town("notify", "dead").out
    assert "not delivered" not in town("status").out
    assert receiver.taken[-1].json["agent"] == "bob"


def test_a_channel_that_fails_is_a_problem_and_a_letter_can_be_dropped(town: Shell, receiver: Receiver) -> None:
    town("spawn", "bob", "--cli", "echo")
    wait_for(lambda: channel(town, "hook")["dead"] == 1)
    letter = town("notify", "dead", "--json").json["dead"][0]["id"]
    assert town("notify", "drop", letter, "--json").json == {"dropped": [{"channel": "hook", "id": letter}]}
    assert town("status", "--json").json["notices"] == []
    receiver.behave = lambda _: 503
    failed = town("notify", "test", "phone", "--json", code=1)
    assert failed.json["results"][0]["ok"] is False
    town("spawn", "cyd", "--cli", "echo")
    wait_for(lambda: channel(town, "hook")["failure"] is not None)
    answer = town("doctor", "--no-task", "--json", code=1).json
    (finding,) = [each for each in answer["findings"] if each["check"] == "notify"]
    assert finding["level"] == "problem"
    assert "503" in finding["found"]
    assert finding["fix"] == "fix it and try: tt notify test hook"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("test", "nobody"), 3, "no channel 'nobody'; channels are: phone"),
        (("dead", "--channel", "nobody"), 3, "no channel 'nobody'"),
        (("redeliver", "17"), 3, "no dead letter '17'"),
        (("redeliver", "x"), 2, "expected the id of a dead letter or 'all', got 'x'"),
        (("drop", ""), 2, "expected the id of a dead letter"),
    ],
)
def test_bad_input_is_explained(configured: Shell, words: tuple[str, ...], code: int, message: str) -> None:
    assert message in configured("notify", *words, code=code).err


@pytest.fixture(scope="module")
def configured() -> Iterator[Shell]:
    """A town with one channel, and no kernel."""
    with open_shell() as tt:
        tt("init", "--name", "calm")
        with (tt.directory / "tinytown.toml").open("a") as file:
            file.write('\n[[plugins.notify.rules]]\nname = "phone"\nurls = "env:NOWHERE"\n')
        yield tt


def test_nothing_to_do_is_said(configured: Shell) -> None:
    assert configured("notify", "dead").out == "no dead letters\n"
    assert configured("notify", "drop", "all", "--json").json == {"dropped": []}
    row = configured("notify", "list").out.splitlines()[1].split()
    assert row[:2] == ["phone", "env:NOWHERE"]
    failed = configured("notify", "test", code=1)
    assert "the variable NOWHERE is not set" in failed.out


def test_an_unconfigured_plugin_says_what_to_set(tt: Shell) -> None:
    tt("init", "--name", "bare")
    assert "set urls in [plugins.notify]" in tt("notify", "list").out
    assert "no channel is configured" in tt("notify", "test", code=3).err
    findings = tt("doctor", "--no-task", "--json").json["findings"]
    assert [each["level"] for each in findings if each["check"] == "notify"] == ["note"]


async def test_the_plugin_keeps_the_promises_of_the_kit(receiver: Receiver) -> None:
    toml = f'name = "t"\n[[plugins.notify.webhooks]]\nurl = "{receiver.url}"\n'
    reports = await check_plugin("notify", toml=toml)
    for report in reports:
        report.raise_if_broken()
    assert receiver.taken
    assert {report.subject.split()[0] for report in reports} >= {"plugin", "service", "command", "health", "status"}
