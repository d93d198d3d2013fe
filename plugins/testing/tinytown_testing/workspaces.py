"""What every workspace promises (W1, W2, ...), and how each promise is tried."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Unpack, get_args

import msgspec
import trio
from tinytown.contracts import Disposition, Purpose, WorkContext, Workspace
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.town import Town

from tinytown_testing.contract_checks import CheckOptions, check_connected_promises
from tinytown_testing.promises import Broken, CheckReport, Contract, NotApplicable, raised
from tinytown_testing.samples import unusual_rounds
from tinytown_testing.sandbox import use_sandbox
from tinytown_testing.scenarios import WorkspaceScenarios
from tinytown_testing.trial import (
    CANCELLED_AT_STEPS,
    Trial,
    check_word,
    expect,
    expect_context_manager,
    expect_quick,
)

_OPEN_S = 60.0


class _RoundFailed(Exception):
    """What a round raises in these trials; nobody else does."""


@dataclass(slots=True)
class WorkspaceTrial(Trial):
    """One attempt at one promise of a workspace."""

    make: Callable[[], Workspace]
    town: Town

    @asynccontextmanager
    async def opened(
        self,
        workspace: Workspace | None = None,
        agent: Agent | None = None,
        task: Task | None = None,
        purpose: Purpose = "round",
        *,
        asks: bool = True,
    ) -> AsyncGenerator[Path]:
        """The directory of a round, or of its gates. Broken unless one can work in it. Without `asks` it was claimed before."""
        agent, workspace = agent or self.sandbox.agent(), workspace or self.make()
        if asks:
            _expect_claimed(workspace, agent, task)
        async with workspace.open(self.work(agent, task), purpose) as directory:
            if not (expect(directory, Path, "from open()").is_absolute() and directory.is_dir()):
                raise Broken(f"expected the absolute path of a directory, got {directory}")
            probe = directory / f".probe-{agent.id}"
            probe.write_text("can be written")
            probe.unlink()
            yield directory

    def work(self, agent: Agent, task: Task | None) -> WorkContext:
        return self.sandbox.work_context(agent, task, self.town)


def _expect_claimed(workspace: Workspace, agent: Agent, task: Task | None) -> None:
    """Raises: NotApplicable for a round that the workspace does not serve, however it says so: another promise is about that."""
    try:
        claimed = workspace.claims(agent, task)
    except Exception as error:
        raise NotApplicable(f"claims() raised {error!r}") from error
    if not claimed:
        raise NotApplicable("claims() refused such a round: give a scenario 'prepare' that lets it serve one")


WORKSPACE = Contract[WorkspaceTrial]("workspace")


async def check_workspace(
    make: Callable[[], Workspace],
    *,
    scenarios: WorkspaceScenarios | None = None,
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the workspaces that `make` makes. The options are those of every check, see `CheckOptions`."""
    prepare = scenarios.prepare if scenarios else None
    async with use_sandbox(options.get("sandbox")) as sandbox:
        options["sandbox"] = sandbox
        if prepare is not None:
            await trio.to_thread.run_sync(prepare, sandbox.root)
        return await check_connected_promises(
            WORKSPACE,
            lambda place, slack_s, town: WorkspaceTrial(place, slack_s, make, town),
            name=lambda: make().name,
            **options,
        )


@WORKSPACE.promise("W1", "Its name is a word that can be typed and stored.")
async def _name(trial: WorkspaceTrial) -> None:
    check_word("name", trial.make().name)


@WORKSPACE.promise("W2", "claims() answers promptly and consistently for any round, with or without a task.")
async def _claims(trial: WorkspaceTrial) -> None:
    workspace = trial.make()
    for agent, task in unusual_rounds(trial.sandbox.agent()):
        answers: list[object] = [workspace.claims(agent, task), workspace.claims(agent, task)]
        if not isinstance(answers[0], bool) or answers[0] != answers[1]:
            raise Broken(f"expected True or False twice from claims(), got {answers[0]!r} and {answers[1]!r}")
    agent = trial.sandbox.agent()
    expect_quick("asking claims()", lambda: workspace.claims(agent, None))


@WORKSPACE.promise("W3", "It provides a writable directory, and leaves nothing running.")
async def _opens(trial: WorkspaceTrial) -> None:
    async def open_and_close() -> None:
        workspace, agent = trial.make(), trial.sandbox.agent()
        async with trial.opened(workspace):
            pass
        made = workspace.open(trial.work(agent, trial.sandbox.task("do it", agent=agent)), "round")
        expect_context_manager(made)
        del made

    await trial.within("opening and closing", _OPEN_S, open_and_close)
    async with trial.expect_no_leaks("a workspace"):
        await open_and_close()


@WORKSPACE.promise("W4", "An agent gets a directory for several rounds in turn.", requires=("W3",))
async def _again(trial: WorkspaceTrial) -> None:
    workspace, agent = trial.make(), trial.sandbox.agent()
    task = trial.sandbox.task("do it", agent=agent)
    for _ in range(2):  # the same task, as after a failure
        async with trial.opened(workspace, agent, task):
            pass
    async with trial.opened(workspace, agent):
        pass


@WORKSPACE.promise("W5", "Two agents at once have separate directories.", requires=("W3",))
async def _two_agents(trial: WorkspaceTrial) -> None:
    workspace = trial.make()
    ada, ben = trial.sandbox.agent("ada"), trial.sandbox.agent("ben")
    async with trial.opened(workspace, ada) as first, trial.opened(workspace, ben) as second:
        if first.resolve() == second.resolve():
            raise Broken(f"two agents at once got {first}")
        (first / "ada.txt").write_text("of ada")
        if (second / "ada.txt").exists():
            raise Broken(f"what was written in {first} is in {second}, too")


@WORKSPACE.promise("W6", "Any names of agents and tasks are accepted.", requires=("W2", "W4"))
async def _any_names(trial: WorkspaceTrial) -> None:
    workspace = trial.make()
    for agent, task in unusual_rounds(trial.sandbox.agent()):
        if workspace.claims(agent, task):
            try:
                async with trial.opened(workspace, agent, task):
                    pass
            except Exception as error:
                raise Broken(f"for {shown(repr(task), 200)}: {raised(error)}") from error


@WORKSPACE.promise(
    "W7", "An error raised in the round passes through unchanged, and the next round has a directory.", requires=("W4",)
)
async def _errors_come_out(trial: WorkspaceTrial) -> None:
    workspace, agent = trial.make(), trial.sandbox.agent()
    task, error = trial.sandbox.task("do it", agent=agent), _RoundFailed("an error of the round")
    came: BaseException | None = None
    try:
        async with trial.opened(workspace, agent, task):
            raise error  # noqa: TRY301 - that it comes out here is what is tried
    except NotApplicable:
        raise
    except Exception as raised:
        came = raised
    if came is not error:
        raise Broken(f"the round raised {error!r}, out of the workspace came {came!r}")
    async with trial.opened(workspace, agent, task):
        pass


@WORKSPACE.promise(
    "W8",
    "Cancelled while it opens, is used or closes, it ends promptly, leaves nothing running, and opens again.",
    requires=("W4",),
)
async def _cancelled(trial: WorkspaceTrial) -> None:
    workspace, agent = trial.make(), trial.sandbox.agent()
    task, reached = trial.sandbox.task("do it", agent=agent), trio.Event()

    async def open_and_stay() -> None:
        async with trial.opened(workspace, agent, task):
            reached.set()
            await trio.sleep_forever()

    async with trial.expect_no_leaks("a workspace that was cancelled"):
        for step in CANCELLED_AT_STEPS:
            if not reached.is_set():
                await trial.cancel_and_wait("the workspace", open_and_stay, at_step=step, when=reached.wait)
        async with trial.opened(workspace, agent, task):
            pass


@WORKSPACE.promise("W9", "It never blocks the event loop.", requires=("W3",))
async def _event_loop(trial: WorkspaceTrial) -> None:
    workspace, agent = trial.make(), trial.sandbox.agent()
    _expect_claimed(workspace, agent, None)

    async def work() -> None:
        async with trial.opened(workspace, agent, asks=False):
            pass

    await trial.expect_responsive("the workspace", work)


@WORKSPACE.promise("W10", "Opened again for the gates after a round, it contains the round's work.", requires=("W4",))
async def _for_the_gates(trial: WorkspaceTrial) -> None:
    workspace, agent = trial.make(), trial.sandbox.agent()
    task = trial.sandbox.task("do it", agent=agent)
    async with trial.opened(workspace, agent, task) as directory:
        (directory / "work.txt").write_text("the work")
    async with trial.opened(workspace, agent, task, "gate") as directory:
        if not (directory / "work.txt").is_file():
            raise Broken(f"work.txt, which the round had written, is not in {directory} when its gates are to judge it")


@WORKSPACE.promise(
    "W11", "It settles a finished task, again too, and one whose files are gone or elsewhere.", requires=("W4",)
)
async def _settles(trial: WorkspaceTrial) -> None:
    workspace, agent = trial.make(), trial.sandbox.agent()
    for disposition in get_args(Disposition):
        task = trial.sandbox.task("do it", agent=agent)
        async with trial.opened(workspace, agent, task) as directory:
            pass
        work = trial.work(agent, msgspec.structs.replace(task, state=disposition))
        for place in (directory, directory, None):
            await trial.within("settling", _OPEN_S, partial(workspace.settle, work, disposition, place))
    async with trial.opened(workspace, agent, trial.sandbox.task("do it", agent=agent)):
        pass
