"""`tt demo` as a person runs it: processes, a real repository, a real server."""

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
from tinytown.state import state_directory
from tinytown_cli.context import in_clone
from tinytown_server.server import EmbeddedServer

DEADLINE_S = 90.0
PROC = Path("/proc")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tinytown", "demo", *words]


@pytest.fixture(scope="module")
def short_dir() -> Iterator[Path]:
    """A directory with a short path, because a socket's path may not be long."""
    directory = Path(tempfile.mkdtemp(prefix="ttd", dir="/tmp")).resolve()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def environment(short_dir: Path) -> Iterator[dict[str, str]]:
    """The environment of a person whose settings must not affect the demo."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(short_dir / "state"))
        yield _environment(short_dir)


def _environment(short_dir: Path) -> dict[str, str]:
    home = short_dir / "home"
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
        "NOX_CURRENT_SESSION": "demo",  # whose PATH ends with it, as whoever reads the output has another one
    }


@dataclass
class Run:
    """A demo that has ended."""

    root: Path
    code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

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
    """No process of the town at `root`: none of an agent's round, no server, no reaper."""
    assert not EmbeddedServer(state_directory(root)).ping()
    if not PROC.is_dir():
        return
    mark = f"TINYTOWN_TOWN={root}\0".encode()
    places = (str(root), str(state_directory(root)))
    running = []
    for process in PROC.iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            cwd = os.readlink(process / "cwd")
            environ = (process / "environ").read_bytes()
            words = (process / "cmdline").read_bytes()
        except OSError:  # ended meanwhile, or another user's
            continue
        inside = cwd in places or cwd.startswith(tuple(f"{place}/" for place in places))
        if words and (inside or mark in environ or os.fsencode(root) in words):
            running.append(words)
    assert not running


def worktrees_of(root: Path) -> Path:
    state = state_directory(root)
    return state.with_name(f"{state.name}@worktrees")


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
def both(short_dir: Path, environment: dict[str, str]) -> tuple[Run, Run]:
    """Two demos at the same time: one in plain lines, in a directory with blanks and umlauts, and one in JSON."""
    first, second = short_dir / "zwei Wörter" / "demo", short_dir / "json"
    with (
        started(environment, "--dir", str(first)) as plain,
        started(environment, "--dir", str(second), "--json") as as_json,
    ):
        outputs = as_json.communicate(timeout=DEADLINE_S), plain.communicate(timeout=DEADLINE_S)
        return Run(first, plain.returncode, *outputs[1]), Run(second, as_json.returncode, *outputs[0])


@pytest.fixture
def plain(both: tuple[Run, Run]) -> Run:
    return both[0]


@pytest.fixture
def as_json(both: tuple[Run, Run]) -> Run:
    return both[1]


def test_its_last_command_works_in_a_shell_that_knows_no_tt(both: tuple[Run, Run], environment: dict[str, str]) -> None:
    line = next(line for line in both[0].stdout.splitlines() if line.endswith("tt status"))
    bare = {name: value for name, value in environment.items() if not name.startswith(("TINYTOWN_TOWN", "GIT_"))}
    bare["PATH"] = os.defpath
    try:
        shown = subprocess.run(["sh", "-c", line], env=bare, capture_output=True, text=True, timeout=60, check=False)
        if Path(sys.prefix, "bin", "activate").is_file():
            assert (shown.returncode, shown.stderr) == (0, "")
            assert "4 completed" in shown.stdout
    finally:
        EmbeddedServer(state_directory(both[0].root)).stop()


def test_it_succeeds_and_reports_the_result(plain: Run) -> None:
    assert (plain.code, plain.stderr) == (0, ""), plain.stdout
    assert "The demo succeeded in" in plain.stdout
    assert re.search(rf"cd '{plain.root}' && (\. \S+/activate && )?env -u REDIS_URL tt status\n", plain.stdout)
    assert "core       was rejected: in 'Now—or never, now!' it counts now—or" in plain.stdout
    assert re.search(r"^  [0-9a-f]{7,} Dashes of every kind separate words \(backend\)$", plain.stdout, re.MULTILINE)
    assert "\x1b" not in plain.stdout


def test_each_notable_event_is_a_line_with_its_time(plain: Run) -> None:
    lines = plain.stdout.partition("\nAgents\n")[0].splitlines()
    assert all(re.match(r" *\d+\.\d s  \S", line) for line in lines)
    for expected in (
        "designer starts task design: Design the word counter",
        "frontend asks designer: DESIGN.md does not define",
        "designer informs frontend: Alphabetical",
        "task core returns to backend: rejected: in 'Now—or never",
        "reviewer completes task review: approved: all tests and 3 texts of my own pass",
        "reviewer confirms to supervisor: approved",
    ):
        assert any(expected in line for line in lines), expected


def test_two_demos_at_once_do_not_disturb_each_other(both: tuple[Run, Run]) -> None:
    assert [run.code for run in both] == [0, 0], [run.stdout[-1000:] + run.stderr for run in both]
    subjects = [git(run.root, "log", "--format=%an %s") for run in both]
    assert sorted(subjects[0].splitlines()) == sorted(subjects[1].splitlines())


def test_json_is_events_and_then_one_report(as_json: Run) -> None:
    assert (as_json.code, as_json.stderr) == (0, "")
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


def test_the_design_is_first_and_its_two_parts_run_at_the_same_time(as_json: Run) -> None:
    order = [(event["type"], event.get("task"), event.get("new")) for event in as_json.lines]
    designed = order.index(("task_state_changed", "design", "completed"))
    begun = {task: order.index(("task_state_changed", task, "running")) for task in ("core", "command", "review")}
    done = {task: order.index(("task_state_changed", task, "completed")) for task in ("core", "command", "review")}
    assert designed < min(begun["core"], begun["command"])
    assert max(begun["core"], begun["command"]) < min(done["core"], done["command"])
    assert max(done["core"], done["command"]) < begun["review"]


def test_the_review_rejects_once_and_approves_after_the_fix(as_json: Run) -> None:
    core = [event["new"] for event in as_json.events("task_state_changed", task="core")]
    review = [event["new"] for event in as_json.events("task_state_changed", task="review")]
    once = ["assigned", "running", "verifying", "completed"]
    assert core == ["blocked", *once, *once]
    assert review == ["blocked", "assigned", "running", "blocked", *once]
    (rejection,) = as_json.report["rejections"]
    assert rejection["task"] == "core"
    assert rejection["reason"].startswith("rejected: in 'Now—or never, now!' it counts now—or")
    (review_task,) = [task for task in as_json.report["tasks"] if task["id"] == "review"]
    assert review_task["result"].startswith("approved")


def test_the_agents_talk_to_each_other(as_json: Run) -> None:
    sent = {(event["sender"], event["category"], event["recipient"]) for event in as_json.events("message_sent")}
    assert sent == {
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
    log = git(plain.root, "log", "--reverse", "--no-merges", "--topo-order", "--format=%an <%ae> %s").splitlines()
    assert log[0] == "tt demo <demo@tinytown.invalid> An empty project and its town"
    assert log[1] == "designer <designer@tinytown.invalid> Design the word counter"
    assert sorted(log[2:]) == [
        "backend <backend@tinytown.invalid> Count the words of a text",
        "backend <backend@tinytown.invalid> Dashes of every kind separate words",
        "frontend <frontend@tinytown.invalid> Add the command line of the word counter",
    ]
    assert git(plain.root, "status", "--porcelain") == ""
    assert git(plain.root, "branch", "--show-current") == "main\n"
    touched = git(plain.root, "log", "--author=backend", "--format=", "--name-only").split()
    assert set(touched) == {"wordcount/__init__.py", "wordcount/core.py", "tests/test_core.py"}


def test_each_task_is_merged_by_the_queue_and_no_worktree_is_left(plain: Run, as_json: Run) -> None:
    merges = git(plain.root, "log", "--merges", "--first-parent", "--format=%s").splitlines()
    assert sorted(merges) == [
        "Merge Add the command line", "Merge Count the words", "Merge Count the words", "Merge Design the word counter",
    ]  # fmt: skip
    assert sorted(event["task"] for event in as_json.events("git_merged")) == ["command", "core", "core", "design"]
    assert "the queue merges the work of frontend on task command into main" in plain.stdout
    for run_ in (plain, as_json):
        assert git(run_.root, "worktree", "list", "--porcelain").count("worktree ") == 1
        assert git(run_.root, "branch", "--format=%(refname:short)").split() == ["main"]
        assert not list(worktrees_of(run_.root).glob("*/*"))


def test_in_a_shared_directory_the_agents_take_turns_to_commit(short_dir: Path, environment: dict[str, str]) -> None:
    done = run(short_dir / "shared", environment, "--dir", str(short_dir / "shared"), "--workspace", "shared", "--json")
    assert (done.code, done.report["problems"]) == (0, [])
    assert not done.events("git_merged")
    assert git(done.root, "log", "--merges", "--format=%s") == ""
    assert len(git(done.root, "log", "--format=%s").splitlines()) == 5
    assert not worktrees_of(done.root).exists()
    assert_nothing_runs(done.root)


def test_a_queue_needs_worktrees_and_worktrees_need_their_plugin(environment: dict[str, str], short_dir: Path) -> None:
    none = ("--dir", str(short_dir / "none"))
    both = run(short_dir / "none", environment, *none, "--workspace", "shared", "--merge", "queue")
    assert (both.code, "expected --merge with --workspace worktree" in both.stderr) == (2, True)
    absent = run(short_dir / "none", environment | {"TINYTOWN_BLOCK": "git"}, *none, "--merge", "queue")
    assert absent.code == 3
    assert absent.stderr.endswith(f"{in_clone('pip install tinytown-git')}\n")
    assert not (short_dir / "none").exists()


def test_the_first_version_has_the_defect_that_the_review_finds(plain: Run) -> None:
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
    for run_ in both:
        assert_nothing_runs(run_.root)


def test_existing_files_are_not_overwritten(short_dir: Path, environment: dict[str, str]) -> None:
    mine = short_dir / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    done = run(mine, environment, "--dir", str(mine))
    assert done.code == 4
    assert (
        done.stderr == f"error: expected a new or empty directory for the demo, got {mine}; choose another with --dir\n"
    )
    assert run(mine, environment, "--dir", str(mine / "thesis.txt")).code == 4
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_without_dir_a_demo_makes_a_new_directory_below_the_current_one(
    short_dir: Path, environment: dict[str, str]
) -> None:
    here = short_dir / "here"
    (here / "tinytown-demo").mkdir(parents=True)
    done = run(here / "tinytown-demo-2", environment, "--cli", "echo", cwd=here)
    assert done.code == 0, done.stderr
    assert "these agents wrote no code" in done.stdout
    assert git(here / "tinytown-demo-2", "log", "--format=%an") == "tt demo\n"
    assert not any((here / "tinytown-demo").iterdir())
    assert_nothing_runs(done.root)


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_running(short_dir: Path, environment: dict[str, str], signal_: signal.Signals) -> None:
    root = short_dir / signal_.name
    with started(environment, "--dir", str(root)) as process:
        assert process.stdout is not None
        assert any("starts task core" in line for line in process.stdout)
        process.send_signal(signal_)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (130, "")
    assert_nothing_runs(root)


def test_an_unknown_kind_is_answered_with_the_available_ones(environment: dict[str, str], short_dir: Path) -> None:
    unknown = run(short_dir / "none", environment, "--dir", str(short_dir / "none"), "--cli", "oracle")
    assert unknown.code == 3
    assert "unknown kind of agent 'oracle'; available kinds: " in unknown.stderr
    assert "echo" in unknown.stderr
    prose = run(short_dir / "none", environment, "--dir", str(short_dir / "none"), "--cli", "shell", "--json")
    assert prose.code == 2
    assert json.loads(prose.stderr)["error"]["code"] == "usage"
    assert not (short_dir / "none").exists()


def test_without_the_shell_plugin_the_error_names_what_to_install(environment: dict[str, str], short_dir: Path) -> None:
    absent = run(short_dir / "none", environment | {"TINYTOWN_BLOCK": "shell"}, "--dir", str(short_dir / "none"))
    assert absent.code == 1
    assert absent.stderr.endswith(f"{in_clone('pip install tinytown-shell')}\n")
    assert not (short_dir / "none").exists()


@pytest.fixture
def kinds(environment: dict[str, str]) -> Iterator[None]:
    """Two kinds of agents in the person's own settings: one that fails, and one that never ends."""
    settings = Path(environment["TINYTOWN_HOME"]) / "config.toml"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('[agent_clis.broken]\ncommand = "false"\n[agent_clis.slow]\ncommand = "sleep 600"\n')
    yield
    settings.unlink()


@pytest.mark.usefixtures("kinds")
def test_failing_agents_make_the_demo_fail_with_their_reason(environment: dict[str, str], short_dir: Path) -> None:
    done = run(short_dir / "broken", environment, "--dir", str(short_dir / "broken"), "--cli", "broken", "--json")
    assert done.code == 1
    assert done.report["succeeded"] is False
    assert "task design is failed: exit status 1" in done.report["problems"]
    assert [task["state"] for task in done.report["tasks"]] == ["failed", "blocked", "blocked", "blocked"]
    assert_nothing_runs(done.root)


@pytest.mark.usefixtures("kinds")
def test_a_demo_ends_at_its_timeout(environment: dict[str, str], short_dir: Path) -> None:
    start_s = time.monotonic()
    done = run(short_dir / "slow", environment, "--dir", str(short_dir / "slow"), "--cli", "slow", "--timeout", "2")
    assert done.code == 1
    assert "  timed out\n" in done.stdout
    assert time.monotonic() - start_s < 30
    assert_nothing_runs(done.root)


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("no_colour", [False, True])
def test_a_terminal_shows_a_view_that_is_redrawn(environment: dict[str, str], short_dir: Path, no_colour: bool) -> None:
    root = short_dir / f"terminal-{no_colour}"
    terminal = environment | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    terminal = {name: value for name, value in terminal.items() if name not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    if no_colour:
        terminal["NO_COLOR"] = "1"
    terminal_end, process_end = pty.openpty()
    shown = bytearray()
    with subprocess.Popen(
        command("--dir", str(root), "--cli", "slow", "--timeout", "1"),
        env=terminal,
        stdin=process_end,
        stdout=process_end,
        stderr=process_end,
    ) as process:
        os.close(process_end)
        try:
            while True:
                try:
                    shown += os.read(terminal_end, 65536)
                except OSError:  # Linux reports the end of the other side as an error
                    break
            assert process.wait(timeout=20) == 1
        finally:
            process.kill()
            os.close(terminal_end)
    text = shown.decode()
    assert "tt demo" in text
    assert "latest line" in text
    assert re.search(r"\x1b\[\d+F", text), "drawn over the last one"
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor is shown again"
    assert text.rindex("\x1b[?7h") > text.rindex("latest line")
    assert bool(re.search(r"\x1b\[[0-9;]*3\d[0-9;]*m", text)) is not no_colour
    assert_nothing_runs(root)
