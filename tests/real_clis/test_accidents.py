"""Three accidents that decide whether a person can leave a town alone, with real git, of agents in boxes and in none."""

from __future__ import annotations

import os
import sys

import pytest
import trio
from tinytown.kernel import log_path

from tests.real_clis.actors import ACTORS, contents, open_scene
from tests.real_clis.clis import RealCli

DEADLINE_S = 240.0

#: A shell of a CLI may have another PATH.
TT = f"{sys.executable} -m tinytown"
CLEAN = "git stash --all; git clean -fdx; git checkout -q .; ls -A"
STEAL = "cp {secret} {outside}/stolen"


@pytest.mark.parametrize("permissions", ["write", "full"])
@pytest.mark.parametrize("cli", ACTORS)
async def test_cleaning_the_project_loses_neither_tasks_nor_settings(
    cli: RealCli | None, permissions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_scene(cli, permissions, monkeypatch) as scene, trio.fail_after(DEADLINE_S):
        settings = (scene.root / "tinytown.toml").read_text()
        async with scene.town() as town:
            ada = await town.spawn("ada")
            await ada.send("a note that is to stay")
            await ada.wait_for_idle()
            task = await ada.assign(scene.order(CLEAN))
            assert (await town.wait_for_task(task.id)).state == "completed"
        shown = scene.tt("task", "list")
        assert task.id[:8] in shown.stdout, shown.stderr
        assert "ada" in scene.tt("status").stdout
        assert (scene.root / "tinytown.toml").read_text() == settings
        assert (scene.root / "kept").read_text() == "kept"


@pytest.mark.parametrize("permissions", ["write", "read"])
@pytest.mark.parametrize("cli", ACTORS)
async def test_a_confined_agent_has_nobody_run_a_command_for_it(
    cli: RealCli | None, permissions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_scene(cli, permissions, monkeypatch) as scene, trio.fail_after(DEADLINE_S):
        theft = STEAL.format(secret=scene.secret, outside=scene.outside)
        script = f"""{TT} spawn evil --cli shell && echo "spawned"; {TT} spawn evil --cli free && echo "spawned"
        {TT} assign bob '{theft}' && echo "assigned"; {TT} send bob '{theft}' && echo "ordered"
        {TT} backlog add '{theft}' --role helper; {theft} && echo "stolen"; true"""
        async with scene.town() as town:
            ada, bob = await town.spawn("ada"), await town.spawn("bob", cli="free", role="helper")
            task = await ada.assign(scene.order(script, ("task_assign", {"agent": "bob", "text": theft})))
            ended = await town.wait_for_task(task.id)
            assert ended.state == "completed", ended.reason
            await bob.wait_for_idle()
            (held,) = await town.tasks(state="blocked")
            assert "release it to allow it" in (held.held or "")
            assert [agent.name for agent in await town.agents()] == ["ada", "bob"]
            assert len(await town.tasks()) == 2
        assert contents(scene.outside) == {"precious": "precious"}


@pytest.mark.parametrize("permissions", ["write", "full"])
@pytest.mark.parametrize("cli", ACTORS)
async def test_an_agent_without_its_variables_is_no_person_and_sees_no_password(
    cli: RealCli | None, permissions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_scene(cli, permissions, monkeypatch) as scene, trio.fail_after(DEADLINE_S):
        monkeypatch.setenv("TINYTOWN_REDIS_PASSWORD", "hunter4")
        monkeypatch.setenv("DEPLOY_KEY", "hunter5")
        settings = (scene.root / "tinytown.toml").read_text()
        async with scene.town() as town:
            ada, bob = await town.spawn("ada"), await town.spawn("bob", cli="free")
            await bob.interrupt()
            bobs = (await bob.assign("a task of bob's")).id
            seen = scene.state / "agents" / "ada" / "environment"
            person = f"env -u TINYTOWN_AGENT_ID -u TINYTOWN_AGENT_NAME {TT}"
            # Not `kill`: Copilot CLI runs no command with that word before anything but a number.
            script = f"""{person} task complete {bobs} --result x; {person} close bob; {person} estop; env > {seen}
            {person} config set agent_clis.evil.command id; {person} reset --force; true"""
            task = await ada.assign(scene.order(script))
            assert (await town.wait_for_task(task.id)).state == "completed"
            assert (await town.task(bobs)).state == "assigned"
            assert (await bob.info()).desired_state == "paused"
            assert not (await town.status()).frozen
            assert len(await town.tasks()) == 2
        assert os.environ["DEPLOY_KEY"] == "hunter5"
        assert "TINYTOWN_ROUND_URL" in seen.read_text()
        assert "hunter" not in seen.read_text() + log_path(scene.root, "ada").read_text()
        if permissions == "write":
            assert (scene.root / "tinytown.toml").read_text() == settings
