"""The gate of the plugin: an invalid result goes back to its agent, with what is wrong with it, as often as the settings say."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from tinytown.contracts import Gate, Verdict, WorkContext
from tinytown.errors import TinytownError
from tinytown.model.tasks import Task
from tinytown.process import Line
from tinytown_cli import administration

from tinytown_results.check import Checked, Submitted
from tinytown_results.settings import Settings
from tinytown_results.table import TABLE, Table, table_of

_CHECK_S = 30.0
_ANSWER_BYTES = 16 << 20


class ResultGate(Gate):
    """Refuses what does not fit the schema of its task; stores the value of what does."""

    name = "result"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def wants(self, task: Task) -> bool:
        return task.meta.get(TABLE) is not None

    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        task = work.task
        table = None if task is None else table_of(task)
        if task is None or table is None:
            return Verdict(True)
        checked = await _check(work, directory, Submitted(schema=table.schema, text=task.result or ""))
        if not checked.problems:
            await _store(work, task, Table(schema=table.schema, value=checked.value))
            return Verdict(True)
        # By round: a kernel that was killed before the verdict was stored asks again.
        refused = (*(each for each in table.refused if each != work.round_id), work.round_id or "")
        evidence = _evidence(checked)
        if len(refused) > self._settings.repair_rounds:
            operations = work.town.operations
            fail = operations.record_verdict(task.id, "fail", round_id=task.round_id or "", evidence=evidence)
            await work.town.run(fail)
            refused = ()
        await _store(work, task, Table(schema=table.schema, refused=refused))
        return Verdict(False, evidence)


async def _check(work: WorkContext, directory: Path, submitted: Submitted) -> Checked:
    answers: list[str] = []

    def on_line(line: Line) -> None:
        if line.stream == "stdout":
            answers.append(line.text)

    ended = await work.processes.run(
        # -P: a file of the workspace must not be taken for a module of Python's.
        [sys.executable, "-P", "-m", "tinytown_results.check"],
        cwd=directory,
        env=work.environment,
        on_line=on_line,
        stdin=msgspec.json.encode(submitted),
        timeout_s=_CHECK_S,
        line_limit_bytes=_ANSWER_BYTES,
    )
    if ended.reason != "exited":
        return Checked(problems=(f"it could not be checked within {_CHECK_S:g} s",))
    if ended.status != 0 or not answers:
        raise TinytownError(f"the check of the result ended with {ended.status}: {ended.stderr_tail[-500:].strip()}")
    return msgspec.json.decode(answers[0], type=Checked)


async def _store(work: WorkContext, task: Task, table: Table) -> None:
    await work.town.run(
        administration.set_task_meta(work.town.operations.keys, task.id, TABLE, msgspec.to_builtins(table))
    )


def _evidence(checked: Checked) -> str:
    problems = "\n".join(f"- {problem}" for problem in checked.problems)
    return (
        f"the result does not fit the schema of the task:\n{problems}\n"
        "Give the whole result again, as one JSON value and nothing else."
    )
