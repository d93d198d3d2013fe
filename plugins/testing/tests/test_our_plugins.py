"""Our own plugins pass the kit that a stranger's are held to, in every situation that they can get into."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from tinytown.config import AgentCli
from tinytown_echo import EchoBackend, Settings as EchoSettings
from tinytown_journal import Journal, Settings as JournalSettings
from tinytown_server.server import EmbeddedServer
from tinytown_shell.backends import CommandBackend, ScriptBackend
from tinytown_testing import (
    BackendScenarios,
    BrokenPromise,
    Scenario,
    SinkScenarios,
    check_agent_backend,
    check_server_provider,
    check_status_sink,
)

DEADLINE_S = 60.0

STUBBORN = "trap '' TERM INT; echo ready; while :; do sleep 1; done"


def command(*words: str, prompt_in_file: bool = False) -> Callable[[], CommandBackend]:
    cli = AgentCli(command=words, prompt="file" if prompt_in_file else "stdin")
    return lambda: CommandBackend("cat", words, cli)


async def test_echo() -> None:
    scenarios = BackendScenarios(
        answer=lambda word: Scenario(task=word),
        work=Scenario(make=lambda: EchoBackend(EchoSettings(delay_s=60))),
        silent=Scenario(make=lambda: EchoBackend(EchoSettings(delay_s=60))),
        mail="an echo repeats its task alone",
        **dict.fromkeys(
            ("stubborn", "killed", "missing_tool", "output", "late_output", "rate_limit", "login_error", "failing"),
            "an echo has no tool",
        ),
    )
    with trio.fail_after(DEADLINE_S):
        report = await check_agent_backend(lambda: EchoBackend(EchoSettings()), scenarios=scenarios)
    report.raise_if_broken()
    assert {result.detail for result in report.not_applicable} == {
        "an echo has no tool",
        "an echo repeats its task alone",
    }


async def test_shell_runs_the_text_of_a_task() -> None:
    scenarios = BackendScenarios(
        answer=lambda word: Scenario(task=f"echo {word}"),
        work=Scenario(task="sleep 60"),
        stubborn=Scenario(task=STUBBORN, marker="ready"),
        killed=Scenario(task="echo last words >&2; kill -9 $$", marker="last words"),
        missing_tool=Scenario(environment={"PATH": "/nonexistent"}),
        output=lambda path: Scenario(task=f"cat {path}"),
        late_output=Scenario(task="(sleep 0.3; echo too late) & echo done", marker="too late"),
        rate_limit="a script has no account",
        login_error="a script has no account",
        silent=Scenario(task="sleep 60"),
        failing=Scenario(task="exit 1"),
        mail="it runs the text of its task alone",
    )
    with trio.fail_after(DEADLINE_S):
        report = await check_agent_backend(ScriptBackend, scenarios=scenarios)
    report.raise_if_broken()
    assert [result.promise.id for result in report.not_applicable] == ["B19", "B20", "B28"]


async def test_shell_hands_a_prompt_to_a_configured_command() -> None:
    def script(text: str, marker: str = "") -> Scenario:
        return Scenario(make=command("sh", "-c", text), marker=marker)

    scenarios = BackendScenarios(
        answer=lambda word: Scenario(task=word),
        work=Scenario(make=command("sleep", "60")),
        stubborn=script(STUBBORN, "ready"),
        killed=script("echo last words >&2; kill -9 $$", "last words"),
        missing_tool=Scenario(make=command("no-such-tool")),
        output=lambda path: Scenario(make=command("cat", str(path))),
        late_output=script("(sleep 0.3; echo too late) & echo done", "too late"),
        rate_limit="a command has no account",
        login_error="a command has no account",
        silent=Scenario(make=command("sleep", "60")),
        failing=script("exit 1"),
    )
    with trio.fail_after(DEADLINE_S):
        report = await check_agent_backend(command("cat"), scenarios=scenarios)
    report.raise_if_broken()
    assert [result.promise.id for result in report.not_applicable] == ["B19", "B20"]


async def test_shell_hands_over_a_prompt_in_a_file() -> None:
    scenarios = BackendScenarios(answer=lambda word: Scenario(task=word))
    with trio.fail_after(DEADLINE_S):
        report = await check_agent_backend(command("cat", prompt_in_file=True), scenarios=scenarios)
    report.raise_if_broken()


async def test_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"

    def received() -> list[str]:
        return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]

    @contextmanager
    def unavailable() -> Iterator[None]:
        aside = path.rename(path.with_suffix(".aside"))
        path.mkdir()
        yield
        path.rmdir()
        aside.rename(path)

    with trio.fail_after(DEADLINE_S):
        report = await check_status_sink(
            lambda: Journal(path, JournalSettings()),
            scenarios=SinkScenarios(received=received, unavailable=unavailable),
        )
    report.raise_if_broken()
    assert report.not_applicable == ()


async def test_a_journal_without_a_place_is_caught(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with trio.fail_after(DEADLINE_S):
        report = await check_status_sink(lambda: Journal(tmp_path / "file" / "journal", JournalSettings()))
    with pytest.raises(BrokenPromise) as caught:
        report.raise_if_broken()
    assert caught.value.results[0].promise.id == "S3"


async def test_the_embedded_server() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_server_provider(EmbeddedServer)
    report.raise_if_broken()
    assert report.not_applicable == ()
