"""Agents in their boxes who try to get out, in whole towns: with each profile, of the kind ``shell`` and of each real CLI."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import trio

from tests.real_clis import attempts
from tests.real_clis.actors import ACTORS, bystander, contents, git, listening, open_scene
from tests.real_clis.clis import RealCli

DEADLINE_S = 240.0

COMMANDS = (
    ["estop"],
    ["spawn", "evil", "--cli", "shell"],
    ["kill", "bob"],
    ["remove", "bob", "--force"],
    ["task", "complete", "{bobs}", "--result", "x"],
    ["assign", "bob", "cp secret /outside"],
    ["backlog", "assign-all", "bob"],
    ["config", "set", "default_cli", "echo"],
    ["config", "set", "default_cli", "echo", "--user"],
)


@pytest.mark.parametrize("workspace", ["shared", "worktree"])
@pytest.mark.parametrize("permissions", ["write", "read"])
@pytest.mark.parametrize("cli", ACTORS)
async def test_no_attempt_succeeds(
    cli: RealCli | None, permissions: str, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        open_scene(cli, permissions, monkeypatch, workspace) as scene,
        listening(scene.base / "service.sock") as service,
        bystander("hunter3") as process,
        trio.fail_after(DEADLINE_S),
    ):
        script, aims = scene.root / "attempts.py", scene.root / "aims.json"
        shutil.copy(str(attempts.__file__), script)
        git_before = contents(scene.root / ".git" / "hooks"), (scene.root / ".git" / "config").read_text()
        settings = (scene.root / "tinytown.toml").read_text()
        async with scene.town() as town:
            ada, bob = await town.spawn("ada"), await town.spawn("bob", cli="free")
            await bob.interrupt()
            bobs = (await bob.assign("a task of bob's")).id
            aims.write_text(
                json.dumps(
                    {
                        "agent": "ada",
                        "root": str(scene.root),
                        "outside": str(scene.outside),
                        "secret": str(scene.secret),
                        "state": str(scene.state),
                        "state_home": str(scene.base / "state"),
                        "server": str(scene.state / "redis.sock"),
                        "service": str(service),
                        "password": "hunter3",
                        "bystander": process.pid,
                        "results": str(results := scene.state / "agents" / "ada" / "results"),
                        "commands": [[word.format(bobs=bobs) for word in words] for words in COMMANDS],
                    }
                )
            )
            assert (scene.state / "redis.sock").is_socket()
            task = await ada.assign(scene.order(f"{sys.executable} {script} {aims}"))
            ended = await town.wait_for_task(task.id)
            assert ended.state == "completed", ended.reason
            found = json.loads(results.read_text())
            assert found["succeeded"] == []
            assert found["attempts"] > 45
            assert (await town.task(bobs)).state == "assigned"
            assert {agent.name: agent.desired_state for agent in await town.agents()} == {
                "ada": "running",
                "bob": "paused",
            }
            assert not (await town.status()).frozen
        assert process.poll() is None
        for words in (
            ["pack-refs", "--all"],
            ["fetch", "-q", "."],
            ["commit", "-q", "--allow-empty", "-m", "by a person"],
        ):
            git(scene.root, *words)
        assert contents(scene.outside) == {"precious": "precious"}
        assert (contents(scene.root / ".git" / "hooks"), (scene.root / ".git" / "config").read_text()) == git_before
        assert (scene.root / "tinytown.toml").read_text() == settings
        assert not (scene.base / ".config").exists() or "echo" not in str(contents(scene.base / ".config"))
