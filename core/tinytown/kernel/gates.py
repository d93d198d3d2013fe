"""*Said done* and *verified done*: the gates on a submitted task, and what their verdict does to it. Knows no rounds."""

from __future__ import annotations

from tinytown.concurrency import without_cancellations
from tinytown.errors import NotFound, PluginFaulty, Refused
from tinytown.kernel.context import KernelContext
from tinytown.model.agents import Agent
from tinytown.model.tasks import Fate, Task
from tinytown.model.text import shown

_EVIDENCE_KEPT = 10_000


async def judge(desk: KernelContext, agent: Agent, task_id: str) -> None:
    """Run the gates on a submitted task, where its work was done, and store their verdict.

    A gate that raises refuses, with its error as evidence. A task that is refused when its retry budget is spent fails.
    Cancelled: the task stays submitted, and the next kernel that takes the agent up judges it.
    """
    town = desk.town
    try:
        task = await town.task(task_id)
        refusal = await _first_refusal(desk, agent, task)
        spent = task.attempts >= town.config.round.max_attempts
        fate: Fate = "complete" if refusal is None else "fail" if spent else "again"
        evidence = (refusal or "")[-_EVIDENCE_KEPT:]
        await town.run(town.operations.record_verdict(task.id, fate, round_id=task.round_id or "", evidence=evidence))
    except (NotFound, Refused):
        return  # somebody has settled or removed it meanwhile


async def _first_refusal(desk: KernelContext, agent: Agent, task: Task) -> str | None:
    limit_s = desk.town.config.round.timeout_s or float("inf")
    try:
        async with desk.open_place(agent, task) as directory:
            for gate in desk.plugins.gates:
                try:
                    with without_cancellations(), desk.keeper.clock.fail_after(limit_s):
                        verdict = await gate.check(task, directory)
                        passed, evidence = bool(verdict.passed), str(verdict.evidence)
                except Exception as error:  # a broken gate must not let anything through
                    await desk.report_fault(gate, f"gate {gate.name}", error)
                    return f"gate {gate.name} failed: {shown(repr(error), 500)}"
                if not passed:
                    return f"gate {gate.name}: {evidence}"
    except PluginFaulty as error:
        return str(error)
    return None
