"""``tt events``: filtered, followed, with the types that plugins have of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from tinytown_testing.shell import Shell, open_shell


@pytest.fixture(scope="module")
def busy() -> Iterator[Shell]:
    """A shell in a town where ada and bob have done some rounds; its kernel runs."""
    with open_shell() as tt:
        tt("init", "--name", "busy")
        tt("start", "--background")
        for agent in ("ada", "bob"):
            tt("spawn", agent, "--cli", "echo")
            for number in range(3):
                tt("assign", agent, f"task {number}")
        tt("wait", "ada", "bob")
        yield tt


def test_events_are_filtered_by_agent_task_type_and_time(busy: Shell) -> None:
    task = busy("task", "list", "--agent", "ada", "--json").json["tasks"][0]["id"]
    kinds = ("--type", "round_started", "--type", "round_ended")
    chosen = busy("events", *kinds, "--agent", "ada", "--limit", "1000", "--json").lines
    assert {event["type"] for event in chosen} == {"round_started", "round_ended"}
    assert {event["agent"] for event in chosen} == {"ada"}
    assert len(chosen) == 6
    assert [event["type"] for event in busy("events", *kinds, "--task", task, "--json").lines] == [
        "round_started",
        "round_ended",
    ]
    assert busy("events", "--type", "round_started,round_ended", "--agent", "ada", "--json").lines == chosen
    assert busy("events", *kinds, "--agent", "ada", "--limit", "2", "--json").lines == chosen[-2:]
    everything = busy("events", "--since", "1d", "--json").lines
    assert len(everything) > 20
    since = everything[7]["at"]
    assert busy("events", "--since", since, "--json").lines[-1] == everything[-1]
    assert min(event["at"] for event in busy("events", "--since", since, "--json").lines) == since
    assert busy("events", "--since", since, "--limit", "3", "--json").lines == everything[-3:]
    assert busy("events", "--since", "2999-01-01", "--json").out == ""


def test_followed_events_are_filtered_too(busy: Shell) -> None:
    words = ("events", "--follow", "--limit", "1", "--type", "task_added", "--since", "1d", "--json")
    with busy.start(*words) as following:
        assert following.stdout is not None
        following.stdout.readline()
        busy("send", "supervisor", "not wanted", "--info")
        task = busy("backlog", "add", "desired_state", "--tags", "nobody", "--json").json["task_id"]
        assert json.loads(following.stdout.readline())["task"] == task
        following.terminate()
    busy("backlog", "remove", task)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--type", "round_end"), "did you mean round_ended?"),
        (("--type", "xyz"), "round_ended, round_started"),
        (("--since", "10x"), "expected a time such as 90s"),
        (("--since", ""), "expected a time such as 90s"),
        (("--since", "-5m"), "expected a time such as 90s"),
        (("--since", "1900-01-01"), "expected a time such as 90s"),
        (("--since", "9" * 400 + "s"), "expected a time such as 90s"),
        (("--limit", "-1"), "-1"),
    ],
)
def test_an_invalid_event_filter_is_refused(busy: Shell, words: tuple[str, ...], message: str) -> None:
    assert message in busy("events", *words, code=2).err


def test_an_event_type_of_a_plugin_is_accepted_once_it_was_emitted(busy: Shell) -> None:
    program = (
        "import trio, pathlib; from tinytown.config import load_config; from tinytown.town import connect_town\n"
        "async def main():\n"
        "    root = pathlib.Path('.').resolve()\n"
        "    async with connect_town(root, load_config(root)) as town:\n"
        "        await town.run(town.operations.emit('parrot_flew', {'to': 'the roof'}))\n"
        "trio.run(main)"
    )
    assert busy("events", "--type", "parrot_flew", code=2)
    python = busy.argv()[0]
    subprocess.run([python, "-c", program], cwd=busy.directory, env=busy.variables, check=True, timeout=30)
    (event,) = busy("events", "--type", "parrot_flew", "--json").lines
    assert event["to"] == "the roof"
