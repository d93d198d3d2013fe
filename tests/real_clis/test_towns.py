"""Whole towns with agents of real CLIs: a kernel, a server and a repository, from the assignment to what is in git."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tinytown
import tomlkit
import trio
from tinytown.config import load_config
from tinytown.kernel import log_path
from tinytown.model.messages import Informational
from tinytown.plugin import load_plugins
from tinytown.state import state_directory
from tinytown.town import Town
from tinytown_cli.session_forks import fork_table
from tinytown_server.server import EmbeddedServer
from tinytown_testing.models import ModelServer, Script

from tests.real_clis.clis import REAL_CLIS, RealCli, git
from tests.real_clis.processes import started_processes, until

DEADLINE_S = 240.0

pytestmark = pytest.mark.real_clis

#: How a model that has no shell changes a file: aider takes this out of its answer.
EDIT = "done\n\nhello.txt\n```\n<<<<<<< SEARCH\n=======\nhi\n>>>>>>> REPLACE\n```\n"
COMMIT = {"when": {"system": "commit message"}, "text": "Add hello.txt"}


@dataclass(frozen=True, slots=True)
class Site:
    """A directory with a git repository and a town in it, for one CLI and a model server."""

    cli: RealCli
    server: ModelServer
    root: Path

    @asynccontextmanager
    async def town(self) -> AsyncGenerator[Town]:
        async with tinytown.open_town(self.root) as town:
            yield town

    def order(self, text: str, *replies: dict[str, Any]) -> str:
        """A task whose model answers with `replies`, one a turn; one that is offered no tools has one turn."""
        if self.cli.has_shell:
            return f"{text} <stub>{msgspec.json.encode(replies).decode()}</stub>"
        rules = [rule for rule in self.server.script.rules if rule != COMMIT]
        self.server.script = Script([COMMIT, {"when": {"prompt": text}, **replies[-1]}, *rules])
        return text


@pytest.fixture(params=REAL_CLIS, ids=lambda cli: cli.kind)
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    cli: RealCli = request.param
    path = cli.path()
    base = Path(tempfile.mkdtemp(prefix="tt-real-", dir="/tmp")).resolve()  # short: the path of a socket is
    root = base / "town"
    root.mkdir()
    with ModelServer() as server:
        variables = {"PATH": path, "HOME": str(base), "TMPDIR": str(base), "XDG_STATE_HOME": str(base / "state")}
        variables |= cli.environment(server.url)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        tables = {"name": "real", "default_cli": cli.kind, "plugins": _plugins(cli, cli.settings(server.url))}
        (root / "tinytown.toml").write_text(tomlkit.dumps(tables))
        (root / ".gitignore").write_text(".aider*\n")
        git(root, "init", "-q", "-b", "main")
        git(root, "config", "user.name", "Ada")
        git(root, "config", "user.email", "ada@example.org")
        git(root, "add", "-A")
        git(root, "commit", "-qm", "begin")
        try:
            yield Site(cli, server, root)
        finally:
            EmbeddedServer(state_directory(root)).stop()
            shutil.rmtree(base, ignore_errors=True)


def _plugins(cli: RealCli, settings: Mapping[str, Any]) -> dict[str, Any]:
    """``[plugins]``: agents work in the repository itself."""
    return {"git": {"workspace": "shared"}, **cli.tables(settings)}


async def test_a_task_ends_as_a_commit_in_the_repository(site: Site) -> None:
    change = {"shell": "echo hi > hello.txt && git add hello.txt && git commit -qm 'Add hello.txt'"}
    with trio.fail_after(DEADLINE_S):
        async with site.town() as town:
            ada = await town.spawn("ada")
            order = site.order("Write hello.txt", change, {"text": "done" if site.cli.has_shell else EDIT})
            task = await town.wait_for_task((await ada.assign(order)).id)
    assert (task.state, (task.result or "").strip()[:4]) == ("completed", "done"), task.reason
    assert (site.root / "hello.txt").read_text() == "hi\n"
    assert git(site.root, "log", "--format=%s").splitlines() == ["Add hello.txt", "begin"]
    assert git(site.root, "status", "--porcelain") == ""


@pytest.fixture
def boxed(site: Site) -> Site:
    """The same town, whose agents may write and are held to that by a box."""
    sandboxes = load_plugins(load_config(site.root), site.root).sandboxes
    if problem := next((sandbox.problem() for sandbox in sandboxes), "tinytown-sandbox is not installed"):
        pytest.skip(problem)
    path = site.root / "tinytown.toml"
    tables = tomlkit.parse(path.read_text()).unwrap()
    settings = {**site.cli.settings(site.server.url), "permissions": "write"}
    path.write_text(tomlkit.dumps({**tables, "permissions": "write", "plugins": _plugins(site.cli, settings)}))
    git(site.root, "commit", "-qam", "settings")
    return site


async def test_in_a_box_it_commits_and_gets_nowhere_else(boxed: Site) -> None:
    outside = Path.home() / "outside"
    secret = Path.home() / ".ssh" / "id"
    secret.parent.mkdir()
    secret.write_text("hunter2")
    attempts = f"echo evil > {outside}; cat {secret}; echo evil >> tinytown.toml; "
    commit = "echo hi > hello.txt && git add hello.txt && git commit -qm 'Add hello.txt'"
    with trio.fail_after(DEADLINE_S):
        async with boxed.town() as town:
            ada = await town.spawn("ada")
            end = {"text": "done" if boxed.cli.has_shell else EDIT}
            order = boxed.order("Write hello.txt", {"shell": attempts + commit}, end)
            task = await town.wait_for_task((await ada.assign(order)).id)
    assert (task.state, (task.result or "").strip()[:4]) == ("completed", "done"), task.reason
    assert git(boxed.root, "log", "--format=%s").splitlines()[0] == "Add hello.txt"
    assert not outside.exists()
    assert "evil" not in (boxed.root / "tinytown.toml").read_text()
    assert "hunter2" not in log_path(boxed.root, "ada").read_text()


async def test_with_the_towns_tools_it_writes_to_another_agent_and_completes_its_task(site: Site) -> None:
    if not site.cli.has_shell:
        pytest.skip("its models have no tools at all")
    with trio.fail_after(DEADLINE_S):
        async with site.town() as town:
            ada, ben = await town.spawn("ada"), await town.spawn("ben")
            await ben.interrupt()  # his mail stays where it can be seen
            order = site.order(
                "Tell ben",
                {
                    "mcp": {
                        "server": "town",
                        "tool": "send",
                        "input": {"to": "ben", "text": "the build is green", "kind": "info"},
                    }
                },
                {"mcp": {"server": "town", "tool": "task_complete", "input": {"result": "ben knows"}}},
                {"text": "that was it"},
            )
            task = await town.wait_for_task((await ada.assign(order)).id)
            mail = await ben.town.inbox("ben")
    assert (task.state, task.result) == ("completed", "ben knows"), task.reason
    assert [(message.sender, message.text) for message in mail] == [("ada", "the build is green")]


async def test_the_next_task_goes_on_in_the_session_of_the_one_before(site: Site) -> None:
    with trio.fail_after(DEADLINE_S):
        async with site.town() as town:
            ada = await town.spawn("ada")
            first = await town.wait_for_task((await ada.assign(site.order("Remember teal", {"text": "one"}))).id)
            second = await town.wait_for_task((await ada.assign(site.order("And now", {"text": "two"}))).id)
    assert [(first.state, first.result), (second.state, second.result)] == [("completed", "one"), ("completed", "two")]
    assert "Remember teal" in str(site.server.model_requests[-1]["body"])


@pytest.fixture(params=["shared", "worktree", "boxed"])
def forking(request: pytest.FixtureRequest, site: Site) -> Site:
    """A town whose agents fork sessions: all in one directory, each task in its own worktree, or each in a box."""
    if not site.cli.forks_sessions:
        pytest.skip("it cannot fork sessions")
    if request.param == "boxed":
        boxed_site: Site = request.getfixturevalue("boxed")
        return boxed_site
    path = site.root / "tinytown.toml"
    tables = tomlkit.parse(path.read_text()).unwrap()
    tables["plugins"]["git"]["workspace"] = request.param
    path.write_text(tomlkit.dumps(tables))
    git(site.root, "commit", "-qam", "settings", "--allow-empty")
    return site


async def test_tasks_start_from_a_copy_of_another_agents_session(forking: Site) -> None:
    site, secret = forking, "Remember the colour teal"
    with trio.fail_after(DEADLINE_S):
        async with site.town() as town:
            ada, ben = await town.spawn("ada"), await town.spawn("ben")
            designed = await town.wait_for_task((await ada.assign(site.order(secret, {"text": "noted"}))).id)
            assert designed.state == "completed", designed.reason
            await ada.wait_for_idle()
            table = fork_table(await ada.info())
            for number in range(2):
                work = {"shell": f"pwd > {number}.txt && git add . && git commit -qm {number}"}
                order = site.order(f"Build {number}", work, {"text": "built"})
                built = await town.wait_for_task((await ben.assign(order, meta=table)).id)
                assert (built.state, built.result) == ("completed", "built"), built.reason
                assert secret in str(site.server.model_requests[-1]["body"])
                assert f"Build {1 - number}" not in str(site.server.model_requests[-1]["body"])
            assert (await ada.info()).session_id == table["fork"]["session_id"] != (await ben.info()).session_id


async def test_a_kill_in_the_middle_of_a_round_loses_neither_its_task_nor_urgent_mail(site: Site) -> None:
    if not site.cli.has_shell:
        pytest.skip("its models run nothing that could be waited for")
    begun, go_on = site.root / "begun", site.root / "go-on"
    wait = {"shell": f"echo x >> {begun.name}; until [ -e {go_on.name} ]; do sleep 0.1; done"}
    with trio.fail_after(DEADLINE_S):
        async with site.town() as town:
            ada = await town.spawn("ada")
            task = await ada.assign(site.order("Wait", wait, {"text": "waited"}))
            await until(begun.exists)
            await ada.send(Informational(summary="the port is 8321"), priority="urgent")
            for pid in started_processes(site.root):
                os.kill(pid, signal.SIGKILL)
            await until(lambda: begun.read_text().count("x") > 1)  # the second attempt
            go_on.touch()
            done = await town.wait_for_task(task.id)
            await ada.wait_for_idle()
            left = (await ada.info()).mail.total
    assert (done.state, done.result, done.attempts) == ("completed", "waited", 2)
    assert left == 0
    assert "the port is 8321" in str([request["body"] for request in site.server.model_requests])


async def test_two_agents_of_one_kind_work_at_once(site: Site) -> None:
    with trio.fail_after(DEADLINE_S):
        async with site.town() as town:
            tasks = []
            for name in ("ada", "ben"):
                agent = await town.spawn(name)
                change = {"shell": f"echo {name} > {name}.txt"}
                tasks.append(await agent.assign(site.order(f"Write {name}.txt", change, {"text": f"I am {name}"})))
            done = [await town.wait_for_task(task.id) for task in tasks]
    assert [(task.state, task.result) for task in done] == [("completed", "I am ada"), ("completed", "I am ben")]
    if site.cli.has_shell:
        assert [(site.root / f"{name}.txt").read_text().strip() for name in ("ada", "ben")] == ["ada", "ben"]
