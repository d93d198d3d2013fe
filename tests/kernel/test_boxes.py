"""Which agents run in a box, and what the kernel says that a box is to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tinytown.config import Config, Permissions
from tinytown.contracts import AgentBackend, AgentContext, Box, Sandbox
from tinytown.errors import BackendUnavailable
from tinytown.kernel.boxes import agent_context
from tinytown.process import ProcessSupervisor
from tinytown.state import open_state, state_home

pytestmark = pytest.mark.usefixtures("no_town_environment")

ADA: Any = SimpleNamespace(id="1", name="ada", cli="x")


class Backend(AgentBackend):
    kind = "x"

    def __init__(self, permissions: Permissions | None = None, own_profiles: Sequence[Permissions] = ()) -> None:
        self.permissions = permissions
        self.own_profiles = own_profiles
        self.state_paths = (Path("/state"),)

    def permissions_of(self, agent: Any, default: Permissions | None) -> Permissions:
        return self.permissions or super().permissions_of(agent, default)


class Recorder(Sandbox):
    def __init__(self, problem: str = "") -> None:
        self.name = problem or "good"
        self._problem = problem
        self.boxes: list[Box] = []

    def problem(self) -> str:
        return self._problem

    def wrap(self, command: Sequence[str], *, box: Box, environment: Mapping[str, str]) -> Sequence[str]:
        self.boxes.append(box)
        return ["boxed", *command]


async def opened(
    root: Path, backend: AgentBackend, *sandboxes: Sandbox, processes: Any = None, **settings: Any
) -> AgentContext:
    config = Config(name="t", **settings)
    open_state(root)
    context: Any = SimpleNamespace(
        town=SimpleNamespace(config=config, root=root),
        plugins=SimpleNamespace(sandboxes=sandboxes),
        processes=processes or ProcessSupervisor(root / "run"),
        workspaces={"1": root, "2": root / "bobs", "3": root.parent},
        call=lambda offered: nullcontext(),
    )
    return await agent_context(context, backend, ADA)


async def test_without_permissions_nothing_is_boxed(tmp_path: Path) -> None:
    context = await opened(tmp_path, Backend(), Recorder())
    assert (context.permissions, context.boxed) == ("full", False)


async def test_a_kind_goes_before_the_town(tmp_path: Path) -> None:
    context = await opened(tmp_path, Backend("full"), Recorder(), permissions="read")
    assert (context.permissions, context.boxed) == ("full", False)
    context = await opened(tmp_path, Backend(), Recorder(), permissions="read")
    assert (context.permissions, context.boxed) == ("read", True)


async def test_the_first_sandbox_without_a_problem_wraps_every_command(tmp_path: Path) -> None:
    ran: list[Any] = []

    class Processes(ProcessSupervisor):
        async def run(self, command: Sequence[str], **options: Any) -> Any:
            ran.append((command, options))

    sandbox = Recorder()
    processes = Processes(tmp_path / "run")
    context = await opened(tmp_path, Backend("write"), Recorder("broken"), sandbox, processes=processes)
    await context.processes.run(["true"], cwd=tmp_path, env={"A": "b"}, on_line=print, timeout_s=3.0)
    ((command, options),) = ran
    assert command == ["boxed", "true"]
    assert options == {"cwd": tmp_path, "env": {"A": "b"}, "on_line": print, "timeout_s": 3.0}
    assert context.processes.clock is processes.clock
    (box,) = sandbox.boxes
    assert (box.profile, box.workspace) == ("write", tmp_path)
    assert box.writable == (context.state_directory, Path("/state"))
    assert tmp_path / "tinytown.toml" in box.read_only
    assert context.state_directory / "rounds" in box.hidden
    assert state_home() in box.hidden
    assert tmp_path / "bobs" in box.hidden
    assert tmp_path.parent not in box.hidden  # the workspace lies in it
    assert box.sockets == ()  # not the server's, which asks nobody who calls
    await context.processes.run(["true"], cwd=tmp_path, env={"TINYTOWN_ROUND_URL": "unix:///r"}, on_line=print)
    assert sandbox.boxes[-1].sockets == (Path("/r"),)


async def test_what_nothing_enforces_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="no sandbox is installed") as raised:
        await opened(tmp_path, Backend("write"))
    assert "pip install tinytown-sandbox" in raised.value.hint
    with pytest.raises(BackendUnavailable, match="broken"):
        await opened(tmp_path, Backend("read", own_profiles=["write"]), Recorder("broken"))


async def test_a_backend_may_enforce_them_itself(tmp_path: Path) -> None:
    context = await opened(tmp_path, Backend("write", own_profiles=["read", "write"]), Recorder("broken"))
    assert (context.permissions, context.boxed) == ("write", False)
