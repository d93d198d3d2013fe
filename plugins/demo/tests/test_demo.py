"""`tt demo` as a person runs it: a process, real agents' processes, a real repository, a real server."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tinytown_server.server import EmbeddedServer

DEADLINE_S = 90.0
PROC = Path("/proc")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tinytown", "demo", *words]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory with a short path, because a socket's path may not be long."""
    directory = Path(tempfile.mkdtemp(prefix="ttd", dir="/tmp")).resolve()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def environment(place: Path) -> dict[str, str]:
    """That of a person whose own settings would spoil the demo if they counted."""
    home = place / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\nname = Somebody Else\n[commit]\ngpgsign = true\n[gpg]\nprogram = /nonexistent\n"
        "[core]\nhooksPath = /nonexistent\nautocrlf = true\n[init]\ndefaultBranch = elsewhere\n"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TINYTOWN_", "GIT_"))}
    return inherited | {
        "HOME": str(home),
        "TINYTOWN_HOME": str(home / ".tt"),
        "REDIS_URL": "redis://nobody.invalid:1/0",
        "TINYTOWN_TOWN": "/nonexistent",
        "GIT_DIR": "/nonexistent",
        "GIT_INDEX_FILE": "/nonexistent",
    }


@dataclass
class Run:
    """A demo that has ended."""

    root: Path
    code: int
    output: str
    complaint: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def report(self) -> dict[str, Any]:
        return self.lines[-1]

    def events(self, type_: str, **members: str) -> list[dict[str, Any]]:
        return [
            event
            for event in self.lines
            if event["type"] == type_ and all(event.get(name) == value for name, value in members.items())
        ]


def run(root: Path, environment: dict[str, str], *words: str, cwd: Path | None = None) -> Run:
    done = subprocess.run(
        command(*words),
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
        check=False,
    )
    return Run(root, done.returncode, done.stdout, done.stderr)


def git(root: Path, *words: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", *words], cwd=root, env=clean, capture_output=True, encoding="utf-8", check=True, timeout=DEADLINE_S
    ).stdout


def assert_nothing_runs(root: Path) -> None:
    """No process of the town at `root`: none of an agent's round, no server, no keeper."""
    assert not EmbeddedServer(root / ".tt").ping()
    if not PROC.is_dir():
        return
    mark = f"TINYTOWN_TOWN={root}\0".encode()
    found = []
    for process in PROC.iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            cwd = os.readlink(process / "cwd")
            environ = (process / "environ").read_bytes()
            words = (process / "cmdline").read_bytes()
        except OSError:  # ended while we looked, or another user's
            continue
        inside = cwd == str(root) or cwd.startswith(f"{root}/")
        if words and (inside or mark in environ or os.fsencode(root) in words):
            found.append(words)
    assert not found


@contextmanager
def started(environment: dict[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    """A demo that runs, in plain lines or JSON; one that still runs at the end of the block is killed."""
    with subprocess.Popen(
        command(*words), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def both(place: Path, environment: dict[str, str]) -> tuple[Run, Run]:
    """Two demos at the same time: one in plain lines, in a directory with blanks and umlauts, and one in JSON."""
    first, second = place / "zwei Wörter" / "demo", place / "json"
    with (
        started(environment, "--dir", str(first)) as plain,
        started(environment, "--dir", str(second), "--json") as as_json,
    ):
        told = as_json.communicate(timeout=DEADLINE_S), plain.communicate(timeout=DEADLINE_S)
        return Run(first, plain.returncode, *told[1]), Run(second, as_json.returncode, *told[0])


@pytest.fixture
def plain(both: tuple[Run, Run]) -> Run:
    return both[0]


@pytest.fixture
def as_json(both: tuple[Run, Run]) -> Run:
    return both[1]


def test_it_succeeds_and_says_what_came_of_it(plain: Run) -> None:
    assert (plain.code, plain.complaint) == (0, ""), plain.output
    assert "The demo succeeded in" in plain.output
    assert f"cd '{plain.root}' && env -u REDIS_URL tt status" in plain.output
    assert "core       was sent back: rejected: in 'Now—or never, now!' it finds now—or" in plain.output
    assert re.search(r"^  [0-9a-f]{7,} Dashes of every kind separate words \(backend\)$", plain.output, re.MULTILINE)
    assert "\x1b" not in plain.output


def test_each_notable_event_is_a_line_with_its_time(plain: Run) -> None:
    story = plain.output.partition("\nWhat each agent did")[0].splitlines()
    assert all(re.match(r" *\d+\.\d s  \S", line) for line in story)
    for told in (
        "designer begins with task design: Design the word counter",
        "frontend asks designer: DESIGN.md leaves open",
        "designer tells frontend: Alphabetically",
        "task core goes back to backend: rejected: in 'Now—or never",
        "reviewer completes task review: approved: all tests pass",
        "reviewer confirms to supervisor: approved",
    ):
        assert any(told in line for line in story), told


def test_two_demos_at_once_do_not_disturb_each_other(both: tuple[Run, Run]) -> None:
    assert [run.code for run in both] == [0, 0], [run.output[-1000:] + run.complaint for run in both]
    subjects = [git(run.root, "log", "--format=%an %s") for run in both]
    assert sorted(subjects[0].splitlines()) == sorted(subjects[1].splitlines())


def test_json_is_events_and_then_one_report(as_json: Run) -> None:
    assert (as_json.code, as_json.complaint) == (0, "")
    assert all({"type", "at"} <= event.keys() for event in as_json.lines)
    assert [event["type"] == "demo_report" for event in as_json.lines].count(True) == 1
    report = as_json.report
    assert report.keys() == {
        "type", "at", "succeeded", "problems", "directory", "town", "duration_s", "agents", "tasks", "rejections",
        "commits", "uncommitted", "tests", "tool",
    }  # fmt: skip
    assert (report["succeeded"], report["problems"], report["uncommitted"]) == (True, [], [])
    assert report["directory"] == str(as_json.root)
    assert [(agent["name"], agent["tasks_completed"]) for agent in report["agents"]] == [
        ("designer", 1), ("backend", 1), ("frontend", 1), ("reviewer", 1)
    ]  # fmt: skip
    assert [(task["id"], task["state"]) for task in report["tasks"]] == [
        (id_, "completed") for id_ in ("design", "core", "command", "review")
    ]
    assert report["tests"]["passed"]
    assert report["tool"]["passed"]


def test_the_design_comes_first_and_its_two_parts_are_made_at_the_same_time(as_json: Run) -> None:
    order = [(event["type"], event.get("task"), event.get("new")) for event in as_json.lines]
    designed = order.index(("task_state_changed", "design", "completed"))
    begun = {task: order.index(("task_state_changed", task, "running")) for task in ("core", "command", "review")}
    done = {task: order.index(("task_state_changed", task, "completed")) for task in ("core", "command", "review")}
    assert designed < min(begun["core"], begun["command"])
    assert max(begun["core"], begun["command"]) < min(done["core"], done["command"])
    assert max(done["core"], done["command"]) < begun["review"]


def test_the_review_rejects_once_and_approves_after_the_correction(as_json: Run) -> None:
    core = [event["new"] for event in as_json.events("task_state_changed", task="core")]
    review = [event["new"] for event in as_json.events("task_state_changed", task="review")]
    assert core == ["blocked", "assigned", "running", "completed", "assigned", "running", "completed"]
    assert review == ["blocked", "assigned", "running", "blocked", "assigned", "running", "completed"]
    (rejection,) = as_json.report["rejections"]
    assert rejection["task"] == "core"
    assert rejection["reason"].startswith("rejected: in 'Now—or never, now!' it finds now—or")
    (review_task,) = [task for task in as_json.report["tasks"] if task["id"] == "review"]
    assert review_task["result"].startswith("approved")


def test_the_agents_talk_to_each_other(as_json: Run) -> None:
    said = {(event["sender"], event["category"], event["recipient"]) for event in as_json.events("message_sent")}
    assert said == {
        ("designer", "informational", "backend"),
        ("designer", "informational", "frontend"),
        ("frontend", "query", "designer"),
        ("reviewer", "confirmation", "supervisor"),
    }
    answers = as_json.events("message_sent", sender="designer", recipient="frontend")
    assert len(answers) == 2


def test_every_round_finished(as_json: Run) -> None:
    assert {event["outcome"] for event in as_json.events("round_ended")} == {"finished"}


def test_each_agent_commits_its_own_work_under_its_own_name(plain: Run) -> None:
    log = git(plain.root, "log", "--reverse", "--format=%an <%ae> %s").splitlines()
    assert log[0] == "tt demo <demo@tinytown.invalid> An empty project and its town"
    assert log[1] == "designer <designer@tinytown.invalid> Design the word counter"
    assert sorted(log[2:4]) == [
        "backend <backend@tinytown.invalid> Count the words of a text",
        "frontend <frontend@tinytown.invalid> Offer the word counter as a command",
    ]
    assert log[4:] == ["backend <backend@tinytown.invalid> Dashes of every kind separate words"]
    assert git(plain.root, "status", "--porcelain") == ""
    assert git(plain.root, "branch", "--show-current") == "main\n"
    touched = git(plain.root, "log", "--author=backend", "--format=", "--name-only").split()
    assert set(touched) == {"wordcount/__init__.py", "wordcount/core.py", "tests/test_core.py"}


def test_the_first_version_really_had_the_defect_that_was_found(plain: Run) -> None:
    def words_at(revision: str) -> str:
        source = git(plain.root, "show", f"{revision}:wordcount/core.py")
        return subprocess.run(
            [sys.executable, "-c", f"{source}\nprint(dict(count_words('Now\\u2014or')))"],
            capture_output=True, encoding="utf-8", check=True, timeout=DEADLINE_S,
        ).stdout  # fmt: skip

    first = git(plain.root, "log", "--format=%h", "--", "wordcount/core.py").split()[-1]
    assert words_at(first) == "{'now—or': 1}\n"
    assert words_at("HEAD") == "{'now': 1, 'or': 1}\n"


def test_the_tool_counts_words_and_its_tests_pass(plain: Run) -> None:
    def python(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-B", *words], cwd=plain.root, input=text, capture_output=True, encoding="utf-8",
            timeout=DEADLINE_S, check=False,
        )  # fmt: skip

    assert python("-m", "wordcount", text="Tea—tea! Don't don't; ÉCLAIR éclair naïve").stdout == (
        "2  don't\n2  tea\n2  éclair\n1  naïve\n"
    )
    assert python("-m", "wordcount", "--top", "1", "DESIGN.md").stdout.endswith("  the\n")
    missing = python("-m", "wordcount", "no-such-file")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    suite = python("-m", "unittest", "discover", "-s", "tests")
    assert suite.returncode == 0
    assert "Ran 9 tests" in suite.stderr


def test_nothing_is_left_running(both: tuple[Run, Run]) -> None:
    for each in both:
        assert_nothing_runs(each.root)


def test_nothing_that_exists_is_overwritten(place: Path, environment: dict[str, str]) -> None:
    mine = place / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    refused = run(mine, environment, "--dir", str(mine))
    assert refused.code == 4
    assert (
        refused.complaint
        == f"error: expected a new or empty directory for the demo, got {mine}; choose another with --dir\n"
    )
    assert run(mine, environment, "--dir", str(mine / "thesis.txt")).code == 4
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_without_dir_each_demo_has_a_new_directory_below_this_one(place: Path, environment: dict[str, str]) -> None:
    here = place / "here"
    (here / "tinytown-demo").mkdir(parents=True)
    done = run(here / "tinytown-demo-2", environment, "--cli", "echo", cwd=here)
    assert done.code == 0, done.complaint
    assert "these agents have written no code" in done.output
    assert git(here / "tinytown-demo-2", "log", "--format=%an") == "tt demo\n"
    assert not any((here / "tinytown-demo").iterdir())
    assert_nothing_runs(done.root)


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_nothing_running(
    place: Path, environment: dict[str, str], signal_: signal.Signals
) -> None:
    root = place / signal_.name
    with started(environment, "--dir", str(root)) as process:
        assert process.stdout is not None
        assert any("begins with task core" in line for line in process.stdout)
        process.send_signal(signal_)
        _, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (130, "")
    assert_nothing_runs(root)


def test_a_kind_that_is_not_installed_is_answered_with_those_that_are(environment: dict[str, str], place: Path) -> None:
    unknown = run(place / "none", environment, "--dir", str(place / "none"), "--cli", "oracle")
    assert unknown.code == 3
    assert "no kind of agent called 'oracle'; here are: " in unknown.complaint
    assert "echo" in unknown.complaint
    prose = run(place / "none", environment, "--dir", str(place / "none"), "--cli", "shell", "--json")
    assert prose.code == 2
    assert json.loads(prose.complaint)["error"]["code"] == "usage"
    assert not (place / "none").exists()


def test_without_the_shell_plugin_it_says_what_to_install(environment: dict[str, str], place: Path) -> None:
    absent = run(place / "none", environment | {"TINYTOWN_BLOCK": "shell"}, "--dir", str(place / "none"))
    assert absent.code == 1
    assert absent.complaint.endswith("pip install tinytown-shell\n")
    assert not (place / "none").exists()


def test_a_path_too_long_for_the_server_leaves_nothing_behind(environment: dict[str, str], place: Path) -> None:
    root = place / ("long" * 30)
    refused = run(root, environment, "--dir", str(root), "--json")
    assert refused.code == 5
    assert json.loads(refused.complaint)["error"]["code"] == "socket_path_too_long"
    assert not root.exists()


@pytest.fixture
def kinds(environment: dict[str, str]) -> Iterator[None]:
    """Two kinds of agents in the person's own settings: one that fails, and one that never ends."""
    settings = Path(environment["TINYTOWN_HOME"]) / "config.toml"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('[agent_clis.broken]\ncommand = "false"\n[agent_clis.slow]\ncommand = "sleep 600"\n')
    yield
    settings.unlink()


@pytest.mark.usefixtures("kinds")
def test_agents_that_fail_make_it_fail_and_say_why(environment: dict[str, str], place: Path) -> None:
    done = run(place / "broken", environment, "--dir", str(place / "broken"), "--cli", "broken", "--json")
    assert done.code == 1
    assert done.report["succeeded"] is False
    assert "task design is failed: exit status 1" in done.report["problems"]
    assert [task["state"] for task in done.report["tasks"]] == ["failed", "blocked", "blocked", "blocked"]
    assert_nothing_runs(done.root)


@pytest.mark.usefixtures("kinds")
def test_a_demo_that_does_not_end_is_ended(environment: dict[str, str], place: Path) -> None:
    began = time.monotonic()
    done = run(place / "slow", environment, "--dir", str(place / "slow"), "--cli", "slow", "--timeout", "2")
    assert done.code == 1
    assert "  the time was over\n" in done.output
    assert time.monotonic() - began < 30
    assert_nothing_runs(done.root)


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("no_colour", [False, True])
def test_a_terminal_gets_a_picture_that_is_redrawn(environment: dict[str, str], place: Path, no_colour: bool) -> None:
    root = place / f"terminal-{no_colour}"
    terminal = environment | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    terminal = {name: value for name, value in terminal.items() if name not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    if no_colour:
        terminal["NO_COLOR"] = "1"
    ours, theirs = pty.openpty()
    shown = bytearray()
    with subprocess.Popen(
        command("--dir", str(root), "--cli", "slow", "--timeout", "1"),
        env=terminal,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        try:
            while True:
                try:
                    shown += os.read(ours, 65536)
                except OSError:  # Linux says so when the other side is gone
                    break
            assert process.wait(timeout=20) == 1
        finally:
            process.kill()
            os.close(ours)
    text = shown.decode()
    assert "tt demo" in text
    assert "latest line" in text
    assert re.search(r"\x1b\[\d+F", text), "drawn over what was there"
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor is there again"
    assert text.rindex("\x1b[?7h") > text.rindex("latest line")
    assert bool(re.search(r"\x1b\[[0-9;]*3\d[0-9;]*m", text)) is not no_colour
    assert_nothing_runs(root)
