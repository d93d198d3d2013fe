"""Looking at what was done and what is being done: history, logs, events."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from tinytown_testing.shell import Shell, stop_towns

#: Colours, a title, a bell, a line that overwrites itself, and a character that turns text around.
DIRTY = r"printf '\033[31mred\033[0m\n\033]0;title\007ring\007\nhalf\rwhole\nevil\342\200\256txt\nlast line'"


@pytest.fixture(scope="module")
def busy() -> Iterator[Shell]:
    """A shell in a town where ada and bob have done some rounds; its kernel goes on."""
    directory = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    (directory / "home").mkdir()
    (directory / "here").mkdir()
    tt = Shell(directory / "here", directory / "home")
    tt("init", "--name", "busy")
    tt("start", "--background")
    tt("spawn", "ada", "--cli", "shell")
    tt("spawn", "bob", "--cli", "echo")
    for text in ("echo first", DIRTY, "seq 3; exit 3"):
        tt("assign", "ada", text)
    tt("assign", "bob", "repeat this")
    tt("wait", "ada", "bob")
    yield tt
    tt("stop", "--timeout", "5")
    stop_towns(directory)
    shutil.rmtree(directory)


def rounds(tt: Shell, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tt("history", *words, "--json").json["rounds"]
    return found


class Following:
    """A command that goes on until it is interrupted."""

    def __init__(self, tt: Shell, *words: str) -> None:
        self._process = subprocess.Popen(
            tt.argv(*words), cwd=tt.directory, env=tt.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def line(self) -> str:
        """The next line. The deadline of the test ends the wait."""
        output: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        return output.readline().decode()

    def until(self, text: str) -> str:
        while text not in (line := self.line()):
            assert line, "it ended"
        return line

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self.close()

    def close(self) -> int:
        _, err = self._process.communicate(timeout=20)
        assert "Traceback" not in err.decode()
        return self._process.returncode


def test_history_tells_of_rounds_the_latest_last(busy: Shell) -> None:
    told = rounds(busy, "ada")
    assert [each["outcome"] for each in told] == ["finished", "finished", "failed"]
    assert told[0]["text"] == "first"
    assert "exit status 3" in told[2]["reason"]
    assert {each["agent"] for each in rounds(busy)} == {"ada", "bob"}
    assert rounds(busy, "--limit", "1") == rounds(busy)[-1:]
    assert rounds(busy, "--task", told[1]["task"][:13]) == [told[1]]
    shown = busy("history").out.splitlines()
    assert shown[0].split() == ["ENDED", "AGENT", "ROUND", "TASK", "OUTCOME", "DURATION", "TOKENS", "COST", "RESULT"]
    assert len(shown) == 5
    assert "exit status 3" in busy("history", "ada").out.splitlines()[-1]


def test_history_shows_one_round_in_full(busy: Shell) -> None:
    first = rounds(busy, "ada")[0]
    told = busy("history", "--round", first["run"][:13], "--json").json
    assert told["rounds"] == [first]
    assert "echo first" in told["transcript"]["prompt"]
    assert told["transcript"]["tail"] == "first"
    text = busy("history", "ada", "--round", "3").out
    assert first["run"] in text
    assert "# You are ada" in text
    assert "last output:\nfirst\n" in text


@pytest.mark.parametrize(
    ("words", "code", "says"),
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
def test_what_history_cannot_find_it_says(busy: Shell, words: tuple[str, ...], code: int, says: str) -> None:
    assert says in busy("history", *words, code=code).err


def test_logs_are_made_harmless_for_a_terminal_and_left_alone_with_raw(busy: Shell) -> None:
    said = busy("logs", "ada", "--round", "2").out.splitlines()
    assert said[1:-1] == ["red", "ring\\x07", "whole", "evil\\x202etxt", "last line"]
    raw = busy("logs", "ada", "--round", "2", "--raw").out
    assert "\033[31mred\033[0m\n" in raw
    assert "half\rwhole\n" in raw
    as_json = busy("logs", "ada", "--round", "2", "--json").lines
    assert as_json[1]["line"] == "\033[31mred\033[0m"


def test_the_last_lines_of_a_log_are_shown_however_many_there_are(busy: Shell) -> None:
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


def test_a_log_is_followed_over_its_rotation_until_control_c(busy: Shell) -> None:
    log = busy.directory / ".tt" / "logs" / "ada.log"
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
    run = next(each for each in busy("events", "--type", "round_started", "--agent", "cleo", "--json").lines)["run"]
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
    told = busy("logs", "dora")
    assert told.out == ""
    assert "has no output yet" in told.err


def test_events_are_chosen_by_agent_task_type_and_time(busy: Shell) -> None:
    task = rounds(busy, "ada")[0]["task"]
    kinds = ("--type", "round_started", "--type", "round_ended")
    told = busy("events", *kinds, "--agent", "ada", "--limit", "1000", "--json").lines
    assert {each["type"] for each in told} == {"round_started", "round_ended"}
    assert {each["agent"] for each in told} == {"ada"}
    assert len(told) == 6
    assert [each["type"] for each in busy("events", *kinds, "--task", task, "--json").lines] == [
        "round_started",
        "round_ended",
    ]
    assert busy("events", "--type", "round_started,round_ended", "--agent", "ada", "--json").lines == told
    assert busy("events", *kinds, "--agent", "ada", "--limit", "2", "--json").lines == told[-2:]
    everything = busy("events", "--since", "1d", "--json").lines
    assert len(everything) > 20
    since = everything[7]["at"]
    assert busy("events", "--since", since, "--json").lines[-1] == everything[-1]
    assert min(each["at"] for each in busy("events", "--since", since, "--json").lines) == since
    assert busy("events", "--since", since, "--limit", "3", "--json").lines == everything[-3:]
    assert busy("events", "--since", "2999-01-01", "--json").out == ""


def test_events_that_are_followed_are_chosen_too(busy: Shell) -> None:
    following = Following(busy, "events", "--follow", "--limit", "1", "--type", "task_added", "--since", "1d", "--json")
    following.line()
    busy("send", "supervisor", "not wanted", "--info")
    task = busy("backlog", "add", "desired_state", "--json").json["task_id"]
    assert json.loads(following.line())["task"] == task
    assert following.interrupt() == 130
    busy("backlog", "remove", task)


@pytest.mark.parametrize(
    ("words", "says"),
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
def test_a_choice_of_events_that_cannot_be_is_refused(busy: Shell, words: tuple[str, ...], says: str) -> None:
    assert says in busy("events", *words, code=2).err


def test_a_type_that_only_a_plugin_knows_may_be_chosen_once_it_was_told(busy: Shell) -> None:
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
    (told,) = busy("events", "--type", "parrot_flew", "--json").lines
    assert told["to"] == "the roof"


def test_a_deep_look_tells_of_every_agents_latest_round_and_what_it_waits_for(busy: Shell) -> None:
    busy("spawn", "emil", "--cli", "shell")
    busy("interrupt", "emil")
    busy("wait", "emil", "--for", "paused")
    task = busy("assign", "emil", "true", "--title", "for later", "--json").json["task_id"]
    told = busy("status", "--deep", "--tasks", "--json").json
    ada = told["deep"]["agents"]["ada"]
    assert ada["last_round"]["run"] == rounds(busy, "ada")[-1]["run"]
    assert (ada["activity"], ada["doing"], ada["why"]) == ("no work assigned", "no work assigned", [])
    assert 0 < ada["lease_left_s"] <= 10
    assert [each["code"] for each in told["deep"]["agents"]["emil"]["why"]] == ["agent_paused"]
    assert [each["code"] for each in told["why"][task]] == ["agent_paused"]
    server = told["deep"]["server"]
    assert (server["persistence"], server["sync"], server["ok"]) == ("append-only file", "every second", True)
    assert server["memory_bytes"] > 100_000
    (host,) = told["deep"]["hosts"]
    assert host["agents"] >= 2
    shown = busy("status", "--deep", "--tasks").out
    assert "emil is paused for" in shown
    assert "append-only file" in shown
    assert "latest events of ada:" in shown
    assert [
        line for line in shown.splitlines() if task[:8] in line and "for later" in line and "emil is paused" in line
    ]
    busy("task", "cancel", task)
