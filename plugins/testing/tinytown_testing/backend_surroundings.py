"""What a backend promises of what its tools are given and of what it makes of their ends (B25, B26, ...).

Processes are seen from outside, in ``/proc``: where the system has none, the promises about them are not applicable.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import trio
from tinytown.contracts import Finished, Round
from tinytown.process import descendants_of

from tinytown_testing.backend_promises import BACKEND as BACKEND, OUTPUTS
from tinytown_testing.backend_trial import BackendTrial, ReportRecorder, outcome_text
from tinytown_testing.promises import Broken, NotApplicable
from tinytown_testing.sandbox import changed_environment
from tinytown_testing.scenarios import Scenario

#: A variable that the kernel has and no round gets.
_SECRET_VARIABLE = "BENCH_KERNEL_SECRET"
_ROUND_VARIABLE = "TINYTOWN_ROUND_ID"
#: For how long a round that works may show no process before it counts as one without.
_STARTS_WITHIN_S = 3.0
_ANOTHER_S = 0.1  # for which a round is watched after a process of it was seen


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """A process of a round at one moment."""

    directory: str
    environment: dict[str, str]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkSeen:
    """The processes that a working round was seen with, and the round; `written` is what only its prompt has."""

    round: Round
    written: tuple[str, ...]
    processes: tuple[ProcessSeen, ...]


@BACKEND.promise("B25", "The processes of a round work in the round's directory.", requires=("B9",))
async def _directory(trial: BackendTrial) -> None:
    seen = await _watch_work(trial)
    wanted = seen.round.directory.resolve()
    places = dict.fromkeys(process.directory for process in seen.processes)
    if str(wanted) not in places:
        raise Broken(f"the round's directory is {wanted}, its processes work in {', '.join(places)}")


@BACKEND.promise(
    "B26", "The processes of a round get the round's environment, and nothing else of the kernel's.", requires=("B9",)
)
async def _environment(trial: BackendTrial) -> None:
    seen = await _watch_work(trial)
    ours = [each for each in seen.processes if each.environment.get(_ROUND_VARIABLE) == seen.round.round_id]
    if not ours:
        raise Broken(f"no process of the round has its {_ROUND_VARIABLE}: pass on `environment` of the round")
    if any(_SECRET_VARIABLE in process.environment for process in ours):
        raise Broken("a process has a variable of the kernel that is not in the round's `environment`")


@BACKEND.promise(
    "B27",
    "No process has the prompt, or the task alone, among its arguments, where everybody on the machine reads it.",
    requires=("B9",),
)
async def _arguments(trial: BackendTrial) -> None:
    seen = await _watch_work(trial)
    for process in seen.processes:
        if any(text in word for text in seen.written for word in process.words):
            raise Broken(f"the prompt is an argument of {process.words[0]}: use its standard input or a private file")


@BACKEND.promise("B28", "The whole prompt reaches its tool: mail as well, not only the task.", requires=("B4",))
async def _mail(trial: BackendTrial) -> None:
    if isinstance(trial.scenarios.mail, str):
        raise NotApplicable(trial.scenarios.mail)
    answer = trial.scenarios.mail or trial.scenarios.answer
    if answer is None:
        raise NotApplicable("no scenario 'answer' was given")
    word = f"w{os.urandom(4).hex()}"
    scenario = answer(word)
    async with trial.session(scenario) as session:
        outcome, _ = await session.run(
            Scenario(task="Handle your mail.", environment=scenario.environment), mail=scenario.task
        )
    if not (isinstance(outcome, Finished) and word in outcome.text):
        raise Broken(f"mail in the prompt asked to answer {word!r}, the outcome is {outcome_text(outcome)}")


@BACKEND.promise("B29", "If its tool exits with an error and no answer, the round is not finished.", requires=("B4",))
async def _failing(trial: BackendTrial) -> None:
    scenario = trial.given("failing")
    async with trial.session(scenario) as session:
        outcome, _ = await session.run(scenario)
    if isinstance(outcome, Finished):
        raise Broken(f"the tool exited with status 1, the outcome is {outcome_text(outcome)}")


@BACKEND.promise("B30", "A session id is one that its tool reported, or that the round was given.", requires=("B14",))
async def _session_ids(trial: BackendTrial) -> None:
    scenario_for = trial.scenarios.output
    if scenario_for is None or isinstance(scenario_for, str):
        raise NotApplicable(scenario_for or "no scenario 'output' was given")
    path = trial.sandbox.base / "output"
    for number, (what, output) in enumerate(OUTPUTS.items()):
        path.write_bytes(output)
        scenario = scenario_for(path)
        async with trial.session(scenario, name=f"eve-{number}") as session:  # who has had no session
            outcome, _ = await session.run(scenario)
        session_id: object = getattr(outcome, "session_id", None)
        if isinstance(session_id, str) and session_id.encode() not in output:
            raise Broken(f"{what}: the tool reported no session, the outcome has the session id {session_id!r}")


async def _watch_work(trial: BackendTrial) -> WorkSeen:
    """What is seen of a round at work. Raises: NotApplicable if there is nothing to see."""
    if trial.work_seen is None:
        trial.work_seen = await _see_work(trial)
    seen = trial.work_seen
    assert isinstance(seen, WorkSeen)
    if not seen.processes:
        raise NotApplicable("a round of it starts no process")
    return seen


async def _see_work(trial: BackendTrial) -> WorkSeen:
    scenario = trial.given("work")
    if isinstance(trial.scenarios.missing_tool, str):
        raise NotApplicable(trial.scenarios.missing_tool)
    if not Path("/proc/self/environ").exists():
        raise NotApplicable("this system does not show processes in /proc")
    mark = f"w{os.urandom(8).hex()}"
    seen: dict[int, ProcessSeen] = {}
    rounds: list[Round] = []
    with changed_environment({_SECRET_VARIABLE: "not for agents"}):
        async with trial.session(scenario) as session:
            before = descendants_of(os.getpid())
            until = trio.current_time() + _STARTS_WITHIN_S

            def under_way(round_: Round, recorder: ReportRecorder) -> bool:
                nonlocal until
                rounds[:] = [round_]
                for pid in descendants_of(os.getpid()) - before:
                    if (process := _look_at(pid)) is not None:
                        known = seen.get(pid)
                        seen[pid] = process
                        if known != process:  # it has begun to run another program, or has just started
                            until = (
                                min(until, trio.current_time() + _ANOTHER_S) if _is_complete(seen, round_) else until
                            )
                return trio.current_time() > until

            await session.cancel(scenario, under_way=under_way, mail=f"# {mark}")
    # A task of one word may be the name of a program as well.
    written = (mark, scenario.task) if len(scenario.task.split()) > 1 else (mark,)
    return WorkSeen(rounds[0], written, tuple(seen.values()))


def _is_complete(seen: dict[int, ProcessSeen], round_: Round) -> bool:
    """Whether a process of the round is where it is to be, with what it is to have."""
    return any(
        process.directory == str(round_.directory.resolve())
        and process.environment.get(_ROUND_VARIABLE) == round_.round_id
        for process in seen.values()
    )


def _look_at(pid: int) -> ProcessSeen | None:
    """A process as it is now; None if it has gone. Source: proc(5)."""
    try:
        place = Path(f"/proc/{pid}")
        pairs = (place / "environ").read_text(errors="replace").split("\0")
        words = (place / "cmdline").read_text(errors="replace").split("\0")
        directory = os.readlink(place / "cwd")
    except OSError:
        return None
    environment = {name: value for name, _, value in (pair.partition("=") for pair in pairs if "=" in pair)}
    return ProcessSeen(directory, environment, tuple(words)) if words[0] else None
