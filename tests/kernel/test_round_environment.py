"""What a round's processes find in their environment, and what they may do with it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest
import trio
from tinytown.errors import StaleLease
from tinytown.identity import GIT_VARIABLES
from tinytown_cli import administration

NAMES = ("TOWN", "AGENT_ID", "AGENT_NAME", "TASK_ID", "TASK_TOKEN", "RUN_ID")
SHELL = 'default_cli = "shell"\n'
TT = shlex.join([sys.executable, "-m", "tinytown"])


async def test_a_rounds_process_knows_its_town_agent_task_and_run(town_dir) -> None:
    town_dir.configure(SHELL)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("env")
        done = await town.wait_for_task(task.id)
        environment = dict(line.partition("=")[::2] for line in (done.result or "").splitlines())
        (record,) = await town.run(administration.rounds(town.operations.keys, "ada"))
        assert {name: environment[f"TINYTOWN_{name}"] for name in NAMES} == {
            "TOWN": str(town_dir.root),
            "AGENT_ID": agent.id,
            "AGENT_NAME": "ada",
            "TASK_ID": task.id,
            "TASK_TOKEN": environment["TINYTOWN_TASK_TOKEN"],
            "RUN_ID": record.round_id,
        }
        assert environment["TINYTOWN_TASK_TOKEN"].isdecimal()
        assert os.path.dirname(sys.executable) in environment["PATH"].split(":")
        assert environment["HOME"] == os.environ["HOME"]


async def test_an_order_without_a_task_has_no_task_in_its_environment(town_dir) -> None:
    town_dir.configure(SHELL)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.send("env > env.txt")
        await agent.wait_for_idle()
        lines = (town_dir.root / "env.txt").read_text().splitlines()
        assert "TINYTOWN_TASK_ID=" in lines
        assert "TINYTOWN_TASK_TOKEN=" in lines


async def test_a_kernel_that_is_started_inside_a_round_does_not_pass_that_round_on(
    town_dir, start_kernel, monkeypatch
) -> None:
    town_dir.configure(SHELL)
    monkeypatch.setenv("TINYTOWN_AGENT_ID", "somebody")
    monkeypatch.setenv("TINYTOWN_TASK_TOKEN", "77")
    async with town_dir.connect() as town:
        await trio.to_thread.run_sync(start_kernel)
        agent = await town.spawn("ada")
        await agent.send("env > env.txt")
        await agent.wait_for_idle()
        text = (town_dir.root / "env.txt").read_text()
        assert f"TINYTOWN_AGENT_ID={agent.id}\n" in text
        assert "TINYTOWN_TASK_TOKEN=\n" in text


async def test_a_kernel_that_git_started_leads_no_round_into_another_repository(
    town_dir, start_kernel, monkeypatch, tmp_path
) -> None:
    other = tmp_path / "other"
    for repository in (other, town_dir.root):
        await trio.run_process(["git", "init", "-q", repository])
    town_dir.configure(SHELL, environment=["GIT_*"])
    for name, value in (("GIT_DIR", other / ".git"), ("GIT_WORK_TREE", other), ("GIT_INDEX_FILE", other / "index")):
        monkeypatch.setenv(name, str(value))
    async with town_dir.connect() as town:
        kernel = await trio.to_thread.run_sync(start_kernel)
        agent = await town.spawn("ada")
        task = await agent.assign("git rev-parse --show-toplevel; env | grep ^GIT_ || true")
        result = (await town.wait_for_task(task.id)).result or ""
        root, *variables = result.splitlines()
        assert root == str(town_dir.root)
        assert not {variable.partition("=")[0] for variable in variables} & GIT_VARIABLES
        await trio.to_thread.run_sync(kernel.stop)


def test_the_variables_that_lead_git_astray_are_those_that_git_names() -> None:
    names = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True).stdout
    assert set(names.split()) <= GIT_VARIABLES


def needs_commands() -> None:
    done = subprocess.run([sys.executable, "-m", "tinytown", "task", "--help"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("the command line is not there yet")


async def test_an_agents_process_completes_its_own_task_from_any_directory(town_dir) -> None:
    needs_commands()
    town_dir.configure(SHELL, completion="explicit")
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign(f"cd / && {TT} task complete --result 'by myself' && echo not this")
        done = await town.wait_for_task(task.id)
        assert (done.state, done.result, done.attempts) == ("completed", "by myself", 1)
        await agent.wait_for_idle()
        assert (await agent.info()).tasks_completed == 1


async def test_a_token_of_an_earlier_round_is_refused_with_exit_code_4(town_dir, wait_for_file) -> None:
    needs_commands()
    town_dir.configure(SHELL)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        # The first attempt leaves its environment behind and is lost; the second continues until it is asked to end.
        script = (
            "if [ -e first ]; then touch second; while [ ! -e go ]; do sleep 0.02; done; echo right; "
            "else env > first; kill -9 $$; fi"
        )
        task = await agent.assign(script)
        await wait_for_file(town_dir.root / "second")
        stale = dict(line.partition("=")[::2] for line in (town_dir.root / "first").read_text().splitlines())
        done = await trio.run_process(
            [sys.executable, "-m", "tinytown", "task", "complete", "--result", "too late"],
            env=stale,
            capture_stderr=True,
            capture_stdout=True,
            check=False,
        )
        assert done.returncode == 4
        assert b"has ended" in done.stderr
        with pytest.raises(StaleLease):
            await town.run(
                town.operations.settle_task("fail", task.id, text="x", by=agent.id, token=stale["TINYTOWN_TASK_TOKEN"])
            )
        assert (await town.task(task.id)).state == "running"
        (town_dir.root / "go").touch()
        assert (await town.wait_for_task(task.id)).result == "right"
