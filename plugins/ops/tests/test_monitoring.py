"""Looking at what was done and what is being done: history, logs, status."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import IO, Any

import pytest
from tinytown_testing.shell import Shell, open_shell

#: Colours, a title, a bell, a line that overwrites itself, and a character that turns text around.
DIRTY = r"printf '\033[31mred\033[0m\n\033]0;title\007ring\007\nhalf\rwhole\nevil\342\200\256txt\nlast line'"


@pytest.fixture(scope="module")
def busy() -> Iterator[Shell]:
    """A shell in a town where ada and bob have done some rounds; its kernel runs."""
    with open_shell() as tt:
        tt("init", "--name", "busy")
        tt("start", "--background")
        tt("spawn", "ada", "--cli", "shell")
        tt("spawn", "bob", "--cli", "echo")
        for text in ("echo first", DIRTY, "seq 3; exit 3"):
            tt("assign", "ada", text)
        tt("assign", "bob", "repeat this")
        tt("wait", "ada", "bob")
        yield tt


def rounds(tt: Shell, *words: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = tt("history", *words, "--json").json["rounds"]
    return listed


class Following:
    """A command that runs until it is interrupted."""

    def __init__(self, tt: Shell, *words: str) -> None:
        self._process = tt.start(*words)

    def line(self) -> str:
        """The next line. The deadline of the test ends the wait."""
        output: IO[str] = self._process.stdout  # type: ignore[assignment]
        return output.readline()

    def until(self, text: str) -> str:
        while text not in (line := self.line()):
            assert line, "it ended"
        return line

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self.close()

    def close(self) -> int:
        _, err = self._process.communicate(timeout=20)
        assert "Traceback" not in err
        return self._process.returncode


def test_history_lists_rounds_the_latest_last(busy: Shell) -> None:
    listed = rounds(busy, "ada")
    assert [row["outcome"] for row in listed] == ["finished", "finished", "failed"]
    assert listed[0]["text"] == "first"
    assert "exit status 3" in listed[2]["reason"]
    assert {record["agent"] for record in rounds(busy)} == {"ada", "bob"}
    assert rounds(busy, "--limit", "1") == rounds(busy)[-1:]
    assert rounds(busy, "--task", listed[1]["task"][:13]) == [listed[1]]
    shown = busy("history").out.splitlines()
    assert shown[0].split() == ["ENDED", "AGENT", "ROUND", "TASK", "OUTCOME", "DURATION", "TOKENS", "COST", "RESULT"]
    assert len(shown) == 5
    assert "exit status 3" in busy("history", "ada").out.splitlines()[-1]


def test_history_shows_one_round_in_full(busy: Shell) -> None:
    first = rounds(busy, "ada")[0]
    answer = busy("history", "--round", first["run"][:13], "--json").json
    assert answer["rounds"] == [first]
    assert "echo first" in answer["transcript"]["prompt"]
    assert answer["transcript"]["tail"] == "first"
    text = busy("history", "ada", "--round", "3").out
    assert first["run"] in text
    assert "# You are ada" in text
    assert "last output:\nfirst\n" in text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nobody",), 3, "no agent called"),
        (("--task", "nonesuch"), 3, "no task"),
        (("--round", "1"), 2, "expected an agent with the number 1"),
        (("ada", "--round", "99"), 3, "ada has 3 rounds on record, not 99"),
        (("--round", "zzz"), 3, "no round 'zzz'"),
        (("--round", '","run":"'), 3, "no round"),
        (("--round", ""), 3, "no round"),
        (("--limit", "0"), 2, "0"),
    ],
)
def test_history_reports_unknown_agents_tasks_and_rounds(
    busy: Shell, words: tuple[str, ...], code: int, message: str
) -> None:
    assert message in busy("history", *words, code=code).err


def test_logs_are_escaped_for_a_terminal_and_unchanged_with_raw(busy: Shell) -> None:
    lines = busy("logs", "ada", "--round", "2").out.splitlines()
    assert lines[1:-1] == ["red", "ring\\x07", "whole", "evil\\u202etxt", "last line"]
    raw = busy("logs", "ada", "--round", "2", "--raw").out
    assert "\033[31mred\033[0m\n" in raw
    assert "half\rwhole\n" in raw
    as_json = busy("logs", "ada", "--round", "2", "--json").lines
    assert as_json[1]["line"] == "\033[31mred\033[0m"


def test_the_last_lines_of_a_long_log_are_shown(busy: Shell) -> None:
    everything = busy("logs", "ada").out.splitlines()
    assert sum(line.startswith("--- round ") for line in everything) == 6
    assert busy("logs", "ada", "--lines", "3").out.splitlines() == everything[-3:]
    assert busy("logs", "ada", "--lines", "0").out == ""
    assert busy("logs", "ada", "--lines", "100000").out.splitlines() == everything
    assert busy("logs", "bob").out.splitlines()[1] == "echo: repeat this"
    assert busy("logs", "ADA", "--lines", "1").out.splitlines() == everything[-1:]
    assert busy("logs", "kernel").code == 0


@pytest.mark.parametrize("name", ["nobody", "../../home", "/etc/passwd", "redis", "ada.log", "x" * 300, "\x1b[2J"])
def test_only_logs_of_agents_are_shown(busy: Shell, name: str) -> None:
    assert busy("logs", name, code=3).err.startswith("error: no agent called")


def test_a_log_is_followed_across_rotation_until_ctrl_c(busy: Shell) -> None:
    log = busy.state() / "logs" / "ada.log"
    before = log.read_bytes()
    following = Following(busy, "logs", "ada", "--follow", "--lines", "1")
    assert following.line().startswith("--- round ")
    with open(log, "ab") as file:
        file.write(b"one\n")
    assert following.line() == "one\n"
    with open(log, "ab") as file:
        file.write(b"just before\n")
    log.rename(log.with_name("ada.log.1"))
    log.write_bytes(b"just after\n")
    assert following.line() == "just before\n"
    assert following.line() == "just after\n"
    log.write_bytes(b"shorter\n")  # cut off in place
    assert following.line() == "shorter\n"
    assert following.interrupt() == 130
    log.with_name("ada.log.1").unlink()
    log.write_bytes(before)


def test_a_round_in_progress_is_followed_to_its_end(busy: Shell) -> None:
    fifo = busy.directory / "fifo"
    os.mkfifo(fifo)
    busy("spawn", "cleo", "--cli", "shell")
    busy("assign", "cleo", f"echo begun; cat {fifo}")
    following = Following(busy, "logs", "cleo", "--follow")
    following.until("begun")
    run = next(event for event in busy("events", "--type", "round_started", "--agent", "cleo", "--json").lines)["run"]
    assert busy("history", "--round", run, "--json").json["rounds"][0]["outcome"] == "running"
    one = Following(busy, "logs", "cleo", "--round", run, "--follow")
    one.until("begun")
    fifo.write_text("and done\n")
    assert one.until("and done")
    assert "ends" in one.line()
    assert one.close() == 0
    assert "ends" in following.until("ends")
    assert following.interrupt() == 130


def test_an_agent_without_output_has_an_empty_log(busy: Shell) -> None:
    busy("spawn", "dora", "--cli", "shell")
    result = busy("logs", "dora")
    assert result.out == ""
    assert "has no output yet" in result.err


def test_deep_status_shows_the_latest_round_and_the_blockers_of_each_agent(busy: Shell) -> None:
    busy("spawn", "emil", "--cli", "shell")
    busy("interrupt", "emil")
    busy("wait", "emil", "--for", "paused")
    task = busy("assign", "emil", "true", "--title", "for later", "--json").json["task_id"]
    status = busy("status", "--deep", "--tasks", "--json").json
    ada = status["deep"]["agents"]["ada"]
    assert ada["last_round"]["run"] == rounds(busy, "ada")[-1]["run"]
    assert (ada["activity"], ada["doing"], ada["why"]) == ("no work assigned", "no work assigned", [])
    assert 0 < ada["lease_left_s"] <= 10
    assert [reason["code"] for reason in status["deep"]["agents"]["emil"]["why"]] == ["agent_paused"]
    assert [reason["code"] for reason in status["why"][task]] == ["agent_paused"]
    server = status["deep"]["server"]
    assert (server["persistence"], server["sync"], server["ok"]) == ("append-only file", "every second", True)
    assert server["memory_bytes"] > 100_000
    (host,) = status["deep"]["hosts"]
    assert host["agents"] >= 2
    shown = busy("status", "--deep", "--tasks").out
    assert "emil is paused for" in shown
    assert "append-only file" in shown
    assert "latest events of ada:" in shown
    assert [
        line for line in shown.splitlines() if task[:8] in line and "for later" in line and "emil is paused" in line
    ]
    busy("task", "cancel", task)
