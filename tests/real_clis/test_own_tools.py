"""Real CLIs as agents of a whole town: kernel, server, mail, tasks and the town's own tools."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import tinytown
import tomlkit
import trio
from tinytown.redis.server import EmbeddedServer
from tinytown.testing.models import ModelServer

from tests.real_clis.clis import REAL_CLIS, RealCli, git

DEADLINE_S = 120.0
NEWS = {"to": "ben", "kind": "info", "text": "hello.txt is there"}

pytestmark = pytest.mark.real_clis


@pytest.fixture(params=REAL_CLIS, ids=lambda cli: cli.kind)
def cli(request: pytest.FixtureRequest) -> RealCli:
    found: RealCli = request.param
    return found


@pytest.fixture
def directory() -> Iterator[Path]:
    """A git repository with a short path: a socket's is limited."""
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as name:
        root = Path(name)
        git(root, "init", "-q")
        git(root, "config", "user.name", "Ada")
        git(root, "config", "user.email", "ada@example.org")
        yield root
        EmbeddedServer(root / ".tt").stop()


async def test_an_agent_works_with_the_towns_own_tools(
    cli: RealCli, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", cli.path())
    with trio.fail_after(DEADLINE_S), ModelServer() as server:
        for name, value in cli.environment(server.url).items():
            monkeypatch.setenv(name, value)
        settings = {"name": "real", "plugins": {cli.kind: dict(cli.settings(server.url))}}
        (directory / "tinytown.toml").write_text(tomlkit.dumps(settings))
        replies = [
            {"shell": "echo hi > hello.txt && git add hello.txt && git commit -qm hello"},
            {"mcp": {"server": "town", "tool": "send", "input": NEWS}},
            {"mcp": {"server": "town", "tool": "task_complete", "input": {"result": "by its own word"}}},
            {"text": "and this is only the end"},
        ]
        async with tinytown.open_town(directory) as town:
            ada = await town.spawn("ada", cli=cli.kind)
            ben = await town.spawn("ben", cli="echo")
            await ben.interrupt()
            await ben.wait_until(lambda agent: agent.state == "paused")  # so that he keeps his mail
            task = await ada.assign(f"say hello <stub>{msgspec.json.encode(replies).decode()}</stub>")
            done = await town.wait_for_task(task.id)
            mail = await ben.inbox()
            await ada.wait_for_idle()
    assert done.state == "completed"
    assert done.result == "by its own word"
    assert git(directory, "log", "--format=%s").split() == ["hello"]
    assert [(each.sender, each.text) for each in mail] == [("ada", NEWS["text"])]
