"""Where a town lies, and that accidents in its project leave it its work. With real git and real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tinytown_server.server import EmbeddedServer
from tinytown_testing.shell import Shell


@pytest.fixture
def living(tt: Shell) -> Iterator[Shell]:
    """A shell in a town in a git repository, where commands may start a kernel in the background."""
    del tt.variables["TINYTOWN_NO_KERNEL"]
    (tt.directory / "README.md").write_text("a project\n")
    git(tt.directory, "init", "-q")
    git(tt.directory, "add", ".")
    git(tt.directory, "commit", "-qm", "begin")
    tt("init", "--name", "living")
    yield tt
    tt("stop", "--timeout", "5")


def git(root: Path, *words: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.invalid")
    subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)


def contents(tt: Shell, cwd: Path | None = None) -> Any:
    """The tasks, the mail and the agents of a town."""
    return [
        tt("task", "list", "--json", cwd=cwd).json["tasks"],
        tt("inbox", "--json", cwd=cwd).json["messages"],
        [agent["name"] for agent in tt("list", "--json", cwd=cwd).json["agents"]],
    ]


def fill(tt: Shell) -> Any:
    tt("spawn", "ada", "--cli", "shell", "--no-start")
    tt("backlog", "add", "a poem", "--tags", "poetry")
    tt("send", "supervisor", "hello", "--info")
    return contents(tt)


@pytest.mark.parametrize("server", ["running", "killed"])
@pytest.mark.parametrize("accident", [("clean", "-fdx"), ("stash", "--all")], ids=lambda words: words[0])
def test_git_in_the_project_of_a_running_town_takes_no_work(
    living: Shell, accident: tuple[str, ...], server: str
) -> None:
    before = fill(living)
    living("start", "--background")
    settings = (living.directory / "tinytown.toml").read_text()
    state = living.state()
    git(living.directory, *accident)
    assert sorted(os.listdir(living.directory)) == [".git", "README.md"]
    if server == "killed":
        os.kill(EmbeddedServer(state).pid() or 0, signal.SIGKILL)
    assert "tinytown.toml was deleted and is restored; commit it" in living("list").err
    assert (living.directory / "tinytown.toml").read_text() == settings
    assert living("list").err == ""
    assert contents(living) == before
    task = living("assign", "ada", "echo done", "--json").json["task_id"]
    living("wait", "ada", "--timeout", "30")
    assert living("task", "show", task, "--json").json["state"] == "completed"


def test_everything_has_a_place_outside_of_the_project(tt: Shell) -> None:
    tt("init", "--name", "here")
    assert os.listdir(tt.directory) == ["tinytown.toml"]
    places = tt.json("where")
    assert places["project"] == str(tt.directory)
    assert places["id"].startswith("here-")
    assert Path(places["state"]) == tt.state()
    assert places["server"] == f"unix://{places['state']}/redis.sock"
    assert f"state      {tt.state()}" in tt("where").out
    tt("stop")
    assert tt.json("where") == places
    assert EmbeddedServer(tt.state()).pid() is None


def test_a_moved_project_finds_its_town(tt: Shell) -> None:
    tt("init", "--name", "here")
    before = fill(tt)
    tt("stop")
    moved = tt.directory.with_name("moved")
    tt.directory.rename(moved)
    assert contents(tt, moved) == before


def test_a_copied_project_is_refused_until_it_has_an_id_of_its_own(tt: Shell) -> None:
    tt("init", "--name", "here")
    before = fill(tt)
    copy = tt.directory.with_name("copy")
    shutil.copytree(tt.directory, copy)
    for words in (("list",), ("stop",), ("where",), ("uninstall", "--force"), ("start", "--background")):
        error = tt(*words, "--json", cwd=copy, code=4).error
        assert error["code"] == "town_copied"
        assert str(tt.directory) in error["message"]
    settings = (copy / "tinytown.toml").read_text()
    (copy / "tinytown.toml").write_text(settings.replace('\nid = "here-', '\nid = "copy-'))
    assert contents(tt, copy) == [[], [], []]
    assert contents(tt) == before


def test_a_linked_worktree_in_a_deep_path_uses_the_town_of_its_project(living: Shell) -> None:
    before = fill(living)
    git(living.directory, "add", ".")
    git(living.directory, "commit", "-qm", "a town")
    deep = living.directory.with_name("deep" * 30) / "linked"
    git(living.directory, "worktree", "add", "-q", str(deep))
    assert living.json("where", cwd=deep)["project"] == str(living.directory)
    assert contents(living, deep) == before


def test_a_town_in_a_deep_path_works(tt: Shell) -> None:
    deep = tt.directory / ("deep" * 30)
    deep.mkdir()
    tt("init", "--name", "deep", cwd=deep, env={"XDG_STATE_HOME": str(deep / "state")})
    tt("spawn", "ada", "--cli", "shell", cwd=deep, env={"XDG_STATE_HOME": str(deep / "state")})
    assert tt("stop", "--json", cwd=deep, env={"XDG_STATE_HOME": str(deep / "state")}).json["server"]["stopped"]


def test_an_uninstalled_town_leaves_nothing_but_its_project(tt: Shell) -> None:
    tt("init", "--name", "here")
    fill(tt)
    state = tt.state()
    assert tt("uninstall", "--json", code=4).error["code"] == "needs_force"
    assert state.is_dir()
    assert tt("uninstall", "--force", "--json").json["uninstalled"]
    assert os.listdir(state.parent) == []
    assert os.listdir(tt.directory) == ["tinytown.toml"]
    assert tt.json("towns")["towns"] == []
    assert contents(tt) == [[], [], []]


def test_an_id_that_is_added_later_takes_the_state_along(tt: Shell) -> None:
    (tt.directory / "tinytown.toml").write_text('name = "here"\n')
    before = fill(tt)
    old = tt.state()
    (tt.directory / "tinytown.toml").write_text('name = "here"\nid = "here-1"\n')
    assert f"has moved from {old}" in tt("list").err
    assert contents(tt) == before
    assert sorted(path.name for path in old.parent.iterdir()) == ["here-1", "here-1@lock", "here-1@record.json"]


# -- towns of a former release, with their state in the project ----------------------------------------------


@pytest.fixture
def former(tt: Shell) -> Iterator[Shell]:
    """A shell in a town as release 0.1 left it: its settings have no id, its state lies in ``.tt``."""
    settings = tt.directory / "tinytown.toml"
    settings.write_text('name = "here"\n[state]\ndirectory = ".tt"\nsnapshots = 0\n')
    fill(tt)
    yield tt
    del tt.variables["TINYTOWN_NO_KERNEL"]
    tt("stop", "--timeout", "5")


def become_former(tt: Shell) -> None:
    (tt.directory / "tinytown.toml").write_text('name = "here"\n')
    shutil.rmtree(Path(tt.variables["XDG_STATE_HOME"]))


@pytest.mark.parametrize("server", ["running", "stopped"])
def test_a_former_town_is_carried_over_once_and_says_so(former: Shell, server: str) -> None:
    before = contents(former)
    if server == "stopped":
        former("stop")
    become_former(former)
    assert f"has moved from {former.directory}/.tt to {former.state()}" in former("list").err
    assert os.listdir(former.directory) == ["tinytown.toml"]
    assert former("list").err == ""
    assert contents(former) == before


def test_concurrent_commands_carry_a_town_over_once(former: Shell) -> None:
    before = contents(former)
    become_former(former)
    asking = [former.start("list") for _ in range(3)]
    errors = [process.communicate(timeout=60)[1] for process in asking]
    assert [process.returncode for process in asking] == [0, 0, 0], errors
    assert sum("has moved from" in error for error in errors) == 1
    assert contents(former) == before


def test_a_former_town_stays_where_it_is_while_its_kernel_runs(former: Shell) -> None:
    with former.start() as kernel:
        assert kernel.stderr is not None
        assert "is running" in kernel.stderr.readline()
        become_former(former)
        error = former("list", "--json", code=4).error
        assert error["code"] == "kernel_running"
        assert f"kill {kernel.pid}" in error["hint"]
        kernel.terminate()
        kernel.communicate(timeout=20)
    assert "has moved from" in former("list").err


def test_a_former_state_that_is_a_link_is_refused(former: Shell) -> None:
    former("stop")
    become_former(former)
    target = former.directory.with_name("target")
    (former.directory / ".tt").rename(target)
    (former.directory / ".tt").symlink_to(target)
    assert former("list", "--json", code=4).error["code"] == "foreign_directory"
    (former.directory / ".tt").unlink()
