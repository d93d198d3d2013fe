"""Gates on submitted tasks: runs those that want to judge one and stores the verdict. Knows no rounds."""

from __future__ import annotations

from tinytown.contracts import Gate
from tinytown.errors import NotFound, PluginFaulty, Refused
from tinytown.kernel.context import KernelContext
from tinytown.kernel.outcome_policy import described
from tinytown.kernel.workspaces import open_workspace
from tinytown.model.agents import Agent
from tinytown.model.tasks import Fate, Task

_EVIDENCE_KEPT = 10_000


async def wanting_gates(context: KernelContext, task: Task) -> list[Gate]:
    """The gates that want to judge a task. One that fails to say so is reported, and judges: nothing passes it unseen."""
    wanting: list[Gate] = []
    for gate in context.plugins.gates:
        wants = True
        try:
            with context.call(gate):
                wants = gate.wants(task)
        except Exception as error:
            await context.report_fault(gate, f"gate {gate.name}", error)
        wanting += [gate] if wants else []
    return wanting


async def run_gates(context: KernelContext, agent: Agent, task_id: str) -> None:
    """Run the gates on a submitted task, where its work was done, and store the verdict.

    A gate that raises refuses, with its error as evidence. A refused task fails once its retry budget is spent. A gate that has
    not decided leaves it submitted.
    Cancelled: the task stays submitted, and the next kernel that hosts the agent runs the gates.
    """
    town = context.town
    try:
        task = await town.task(task_id)
        decided, refusal = await _judge(context, agent, task)
        if not decided:
            return
        spent = task.attempts >= town.config.round.max_attempts
        fate: Fate = "complete" if refusal is None else "fail" if spent else "again"
        evidence = (refusal or "")[-_EVIDENCE_KEPT:]
        await town.run(town.operations.record_verdict(task.id, fate, round_id=task.round_id or "", evidence=evidence))
    except (NotFound, Refused):
        return  # it was settled or removed meanwhile


async def _judge(context: KernelContext, agent: Agent, task: Task) -> tuple[bool, str | None]:
    """Whether all gates have decided, and the first refusal, which decides alone."""
    decided = True
    limit_s = context.town.config.round.timeout_s or float("inf")
    gates = await wanting_gates(context, task)
    if not gates:
        return True, None
    try:
        work = await context.work_context(agent, task, task.round_id)
        async with open_workspace(context, work, "gate") as directory:
            for gate in gates:
                try:
                    with context.call(gate), context.processes.clock.fail_after(limit_s):
                        verdict = await gate.check(work, directory)
                        passed, evidence = verdict.passed, str(verdict.evidence)
                except Exception as error:  # a broken gate must not let anything through
                    await context.report_fault(gate, f"gate {gate.name}", error)
                    return True, f"gate {gate.name} failed: {described(error)}"
                if passed is None:
                    decided = False
                elif not passed:
                    return True, f"gate {gate.name}: {evidence}"
    except PluginFaulty as error:
        return True, str(error)
    return decided, None
