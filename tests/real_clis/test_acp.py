"""Real agents of the Agent Client Protocol: each alone, and four of them in one town that loses its kernel."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomlkit
import trio
from tinytown.config import Config
from tinytown.contracts import Failed, Finished, Outcome, ToolCall
from tinytown.model.agents import Agent
from tinytown.plugin import load_plugins
from tinytown.town import AgentHandle
from tinytown_ops.explain.round_files import read_transcript, transcripts_directory
from tinytown_testing import ReportRecorder, TownDirectory, open_sandbox
from tinytown_testing.models import ModelServer
from tinytown_testing.towns import KernelStarter

from tests.real_clis.acp_agents import AGENTS, PLACES, AcpAgent
from tests.real_clis.clis import DIRECTORIES_VARIABLE, git

DEADLINE_S = 300.0
TOWN_DEADLINE_S = 400.0

pytestmark = pytest.mark.real_clis


HOW_MANY = 4


def path_of(*agents: AcpAgent) -> str:
    """A PATH that begins with where they are. Skips the test if one of them is nowhere."""
    if not PLACES:
        pytest.skip(f"set {DIRECTORIES_VARIABLE} to the directories that hold real agents to run them")
    for agent in agents:
        if not agent.is_installed():
            pytest.skip(f"there is no {agent.program} in {DIRECTORIES_VARIABLE}: {agent.install}")
    return os.pathsep.join((PLACES, os.environ["PATH"]))


def say(text: str, *replies: dict[str, Any]) -> str:
    """A task whose model answers with `replies`, one a turn."""
    return f"{text} <stub>{json.dumps(replies)}</stub>"


def tool(name: str, **given: Any) -> dict[str, Any]:
    return {"mcp": {"server": "town", "tool": name, "input": given}}


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.kind)
async def test_it_works_goes_on_with_its_session_and_shows_what_it_does(agent: AcpAgent) -> None:
    path, report = path_of(agent), ReportRecorder()
    with trio.fail_after(DEADLINE_S), ModelServer() as server:
        async with open_sandbox() as sandbox:
            table = {"permissions": "full", **agent.settings(server.url)}
            ada, ben = (sandbox.agent(name, cli=agent.kind) for name in ("ada", "ben"))
            variables = {**agent.environment(server.url), "PATH": path}
            config = Config(name="acp", plugins={"acp": {"agents": {agent.kind: table}}})
            backend = load_plugins(config, sandbox.root).backends[agent.kind]

            async def run(
                *replies: dict[str, Any], text: str, who: Agent = ada, meta: Mapping[str, Any] | None = None
            ) -> Outcome:
                work = sandbox.round(who, say(text, *replies), environment=variables, timeout_s=120.0)
                task = msgspec.structs.replace(sandbox.task(text), meta=dict(meta or {}))
                async with backend.open(sandbox.context(who)) as session:
                    return await session.run_round(replace(work, task=task), report)

            first = await run({"shell": "echo hi > hello.txt"}, {"text": "all done"}, text="remember teal")
            assert isinstance(first, Finished), first
            assert first.text.endswith("all done")
            assert (sandbox.work / "hello.txt").read_text() == "hi\n"
            assert any(isinstance(each, ToolCall) for each in report.activities)
            second = await run({"text": "two"}, text="and now")
            assert isinstance(second, Finished), second
            assert second.text.endswith("two")
            if agent.finds_sessions:
                assert second.session_id == first.session_id
                assert "remember teal" in json.dumps(server.requests[-1], default=str)
            table = {"fork": {"agent": "ada", "session_id": second.session_id}}
            forked = await run({"text": "three"}, text="build it", who=ben, meta=table)
            if agent.forks_sessions:
                assert isinstance(forked, Finished), forked
                assert forked.session_id != first.session_id
                assert "remember teal" in json.dumps(server.model_requests[-1], default=str)
                last = await run({"text": "four"}, text="go on")
                assert isinstance(last, Finished)
                assert last.session_id == first.session_id
                assert "build it" not in json.dumps(server.model_requests[-1], default=str)
            else:
                assert isinstance(forked, Failed)
                assert not forked.retryable
    assert report.problems == []


@pytest.fixture
def four(town_dir: TownDirectory, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, AcpAgent], ModelServer]]:
    """Name -> agent, each of another kind, in a configured town; and the model server that they ask."""
    chosen = [agent for agent in AGENTS if agent.is_installed()][:HOW_MANY]
    path = path_of(*(chosen if len(chosen) == HOW_MANY else AGENTS[:HOW_MANY]))
    home = Path(tempfile.mkdtemp(prefix="tt-home-", dir="/tmp"))
    try:
        with ModelServer() as server:
            for name, value in {"PATH": path, "HOME": str(home), "TMPDIR": str(home)}.items():
                monkeypatch.setenv(name, value)
            tables: dict[str, Any] = {}
            for agent in chosen:
                for name, value in agent.environment(server.url).items():
                    monkeypatch.setenv(name, value)
                tables[agent.kind] = {"permissions": "full", **agent.settings(server.url)}
            settings = {"plugins": {"acp": {"agents": tables}, "git": {"workspace": "shared"}}}
            town_dir.configure("lease_s = 10.0\n" + tomlkit.dumps(settings), timeout_s=120.0)
            git(town_dir.root, "init", "-q")
            yield dict(zip(("ada", "ben", "cleo", "dan"), chosen, strict=True)), server
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def test_four_of_them_work_write_to_each_other_and_survive_the_death_of_their_kernel(
    town_dir: TownDirectory, start_kernel: KernelStarter, four: tuple[dict[str, AcpAgent], ModelServer]
) -> None:
    agents, _ = four
    names = list(agents)
    root, go = town_dir.root, town_dir.root / "go"
    kernel = start_kernel()
    with trio.fail_after(TOWN_DEADLINE_S):
        async with town_dir.connect() as town:
            tasks, handles = dict[str, str](), dict[str, AgentHandle]()
            for name, neighbour in zip(names, [*names[1:], names[0]], strict=True):
                agent = handles[name] = await town.spawn(name, cli=agents[name].kind)
                task = await agent.assign(
                    say(
                        f"Write {name}.txt.",
                        {"shell": f"touch {name}.begun; until test -e go; do sleep 0.1; done; echo hi > {name}.txt"},
                        *reports(agents[name], neighbour, f"{name}.txt is there", f"{name} has done it"),
                        {"text": "done"},
                    )
                )
                tasks[name] = task.id
            while not all((root / f"{name}.begun").exists() for name in names):  # noqa: ASYNC110 - files ring no bell
                await trio.sleep(0.1)
            kernel.kill()  # while a command of each of the four is running
            go.touch()
            kernel.start()
            done = {name: await town.wait_for_task(id_) for name, id_ in tasks.items()}
            assert {name: (task.state, task.result) for name, task in done.items()} == {
                name: ("completed", f"{name} has done it") for name in names
            }
            # News start no round: what has not come along with a later one is still in the mailbox.
            mail = {name: [message.text for message in await handles[name].town.inbox(name)] for name in names}
    assert [(root / f"{name}.txt").read_text() for name in names] == ["hi\n"] * HOW_MANY
    for name, neighbour in zip(names, [*names[1:], names[0]], strict=True):
        heard = [*mail[neighbour], prompts(town_dir, neighbour)]
        assert any(f"{name}.txt is there" in text for text in heard), f"{neighbour} has no mail of {name}"


def reports(agent: AcpAgent, neighbour: str, text: str, result: str) -> list[dict[str, Any]]:
    """The turns of a model that writes to its neighbour and completes its task, by the town's tools or by ``tt``."""
    if agent.shows_tools:
        return [tool("send", to=neighbour, text=text, kind="info"), tool("task_complete", result=result)]
    return [{"shell": f"tt send {neighbour} '{text}' --info && tt task complete $TINYTOWN_TASK_ID --result '{result}'"}]


def prompts(town_dir: TownDirectory, agent: str) -> str:
    """All that an agent was given, in all of its rounds."""
    rounds = [path.stem for path in transcripts_directory(town_dir.root, agent).iterdir()]
    read = [read_transcript(town_dir.root, agent, each) for each in rounds]
    return "\n".join(transcript.prompt for transcript in read if transcript is not None)
