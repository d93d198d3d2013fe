"""A town whose agents run in boxes: from the settings to what is left after a round."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from tinytown_testing.towns import TownDirectory

from .conftest import processes_with

pytestmark = pytest.mark.usefixtures("deadline")

HONEST = "echo done > inside; cat inside"


async def test_an_agent_may_write_in_its_workspace_and_nowhere_else(
    bubblewrap: None, town_dir: TownDirectory, home: Path
) -> None:
    town_dir.configure('permissions = "write"\ndefault_cli = "shell"\n')
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        inside = await ada.assign(HONEST)
        outside = await ada.assign(f"echo evil > {home}/evil")
        assert (await town.wait_for_task(inside.id)).state == "completed"
        failed = await town.wait_for_task(outside.id)
        assert failed.state == "failed"
        assert "Read-only file system" in failed.reason
    assert (town_dir.root / "inside").read_text() == "done\n"
    assert not (home / "evil").exists()


async def test_a_kind_of_the_settings_has_permissions_of_its_own(
    bubblewrap: None, town_dir: TownDirectory, home: Path
) -> None:
    script = f"cat >/dev/null; echo x > {home}/$TINYTOWN_AGENT_NAME; echo x > inside"
    tables = [
        f"[agent_clis.{kind}]\ncommand = ['sh', '-c', '{script}']\npermissions = '{kind}'\n"
        for kind in ("read", "write", "full")
    ]
    town_dir.configure('permissions = "read"\n' + "".join(tables))
    left = {}
    async with town_dir.open() as town:
        for kind in ("read", "write", "full"):
            agent = await town.spawn(f"a-{kind}", cli=kind)
            task = await agent.assign("do it")
            await town.wait_for_task(task.id)
            left[kind] = (town_dir.root / "inside").exists(), (home / f"a-{kind}").exists()
            (town_dir.root / "inside").unlink(missing_ok=True)
    assert left == {"read": (False, False), "write": (True, False), "full": (True, True)}


async def test_from_a_box_the_town_is_reached_as_the_agent(bubblewrap: None, town_dir: TownDirectory) -> None:
    town_dir.configure('permissions = "write"\ndefault_cli = "shell"\n[plugins.sandbox]\nnetwork = "off"\n')
    async with town_dir.open() as town:
        ada, _ = await town.spawn("ada"), await town.spawn("bob")
        await ada.send("a note for you")
        task = await ada.assign('tt inbox && tt send bob "hello from the box" && tt task list')
        ended = await town.wait_for_task(task.id)
        assert ended.state == "completed", ended.reason
        assert "hello from the box" in [message.text for message in await town.inbox("bob")]


async def test_the_state_of_the_town_is_out_of_sight(bubblewrap: None, town_dir: TownDirectory) -> None:
    town_dir.configure('permissions = "write"\ndefault_cli = "shell"\n')
    state = town_dir.server.directory
    script = f"find {state} -type f; ls {state}/agents; echo evil > {state}/evil || true; echo evil > tinytown.toml"
    async with town_dir.open() as town:
        ada, bob = await town.spawn("ada"), await town.spawn("bob")
        await bob.assign("true")
        await bob.wait_for_idle()
        task = await ada.assign(f"{script} || echo settings stay")
        ended = await town.wait_for_task(task.id)
        assert ended.result is not None
        assert ended.result.splitlines() == ["ada", "settings stay"]
    assert not (state / "evil").exists()
    assert "evil" not in (town_dir.root / "tinytown.toml").read_text()


async def test_nothing_of_a_round_survives_it_or_its_kernel(bubblewrap: None, town_dir: TownDirectory) -> None:
    town_dir.configure('permissions = "write"\ndefault_cli = "shell"\n')
    hidden = "setsid sh -c 'trap \"\" TERM HUP INT; (sleep 1000 &) ; sleep 1000' >/dev/null 2>&1 &"
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        task = await ada.assign(f"{hidden} echo left it")
        assert (await town.wait_for_task(task.id)).state == "completed"
        assert processes_with(f"TINYTOWN_TOWN={town_dir.root}") == []
        task = await ada.assign(f"{hidden} trap '' TERM; touch ready; sleep 1000")
        while not (town_dir.root / "ready").exists():  # noqa: ASYNC110 - nothing announces it
            await trio.sleep(0.02)
        await ada.kill(now=True)
        await town.wait_until(ada.info, lambda agent: agent.state == "stopped")
        assert processes_with(f"TINYTOWN_TOWN={town_dir.root}") == []


async def test_without_a_sandbox_an_agent_does_not_start(
    town_dir: TownDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = town_dir.root / "bin"
    commands.mkdir()
    (commands / "sh").symlink_to("/bin/sh")
    town_dir.configure('permissions = "write"\ndefault_cli = "shell"\n')
    async with town_dir.open() as town:
        monkeypatch.setenv("PATH", str(commands))
        ada = await town.spawn("ada")
        await ada.assign("touch inside")
        agent = await town.wait_until(ada.info, lambda agent: agent.state == "error")
        assert "bubblewrap is not installed" in agent.reason
        assert 'permissions = "full"' in agent.reason
    assert not (town_dir.root / "inside").exists()


async def test_a_box_has_the_socket_of_its_round_and_not_the_towns(bubblewrap: None, town_dir: TownDirectory) -> None:
    town_dir.configure('permissions = "write"\ndefault_cli = "shell"\n')
    connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    script = f"""python3 -c '{connect}' {town_dir.server.socket_path} && echo reached
    echo "$TINYTOWN_ROUND_URL" | grep -o '^unix:'; tt task list >/dev/null && echo listed
    unset TINYTOWN_ROUND_URL; tt task list >/dev/null && echo listed as a person
    unset TINYTOWN_AGENT_ID TINYTOWN_AGENT_NAME TINYTOWN_ROUND_ID TINYTOWN_RUN_ID; tt freeze x && echo frozen
    true"""
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        task = await ada.assign(script)
        ended = await town.wait_for_task(task.id)
        assert (ended.result or "").splitlines() == ["unix:", "listed"]
        assert not (await town.status()).frozen
