"""Gates on submitted tasks: runs them and stores the verdict. Knows no rounds."""

from __future__ import annotations

from tinytown.concurrency import without_cancellations
from tinytown.errors import NotFound, PluginFaulty, Refused
from tinytown.kernel.context import KernelContext
from tinytown.model.agents import Agent
from tinytown.model.tasks import Fate, Task
from tinytown.model.text import shown

_EVIDENCE_KEPT = 10_000


async def run_gates(context: KernelContext, agent: Agent, task_id: str) -> None:
    """Run the gates on a submitted task, where its work was done, and store the verdict.

    A gate that raises refuses, with its error as evidence. A refused task fails once its retry budget is spent.
    Cancelled: the task stays submitted, and the next kernel that hosts the agent runs the gates.
    """
    town = context.town
    try:
        task = await town.task(task_id)
        refusal = await _first_refusal(context, agent, task)
        spent = task.attempts >= town.config.round.max_attempts
        fate: Fate = "complete" if refusal is None else "fail" if spent else "again"
        evidence = (refusal or "")[-_EVIDENCE_KEPT:]
        await town.run(town.operations.record_verdict(task.id, fate, round_id=task.round_id or "", evidence=evidence))
    except (NotFound, Refused):
        return  # it was settled or removed meanwhile


async def _first_refusal(context: KernelContext, agent: Agent, task: Task) -> str | None:
    limit_s = context.town.config.round.timeout_s or float("inf")
    try:
        async with context.open_workspace(agent, task) as directory:
            for gate in context.plugins.gates:
                try:
                    with without_cancellations(), context.processes.clock.fail_after(limit_s):
                        verdict = await gate.check(task, directory)
                        passed, evidence = bool(verdict.passed), str(verdict.evidence)
                except Exception as error:  # a broken gate must not let anything through
                    await context.report_fault(gate, f"gate {gate.name}", error)
                    return f"gate {gate.name} failed: {shown(repr(error), 500)}"
                if not passed:
                    return f"gate {gate.name}: {evidence}"
    except PluginFaulty as error:
        return str(error)
    return None
