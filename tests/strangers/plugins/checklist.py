"""The format `checklist`: a list of Markdown whose items are tasks, for plans that people write. It rewrites what it has read."""

import re
from collections.abc import Sequence
from typing import Any

from tinytown.hookspecs import hookimpl
from tinytown.model.tasks import Task
from tinytown_cli.contracts import Converted, RewritingConverter

TINYTOWN_HOOK_API = 2
ITEM = re.compile(rb"- \[([ x])\] (.*\S)")


@hookimpl
def tinytown_converters() -> list[RewritingConverter]:
    return [Checklist()]


class Checklist(RewritingConverter):
    format = "checklist"
    keeps: Sequence[str] = ("headline and whether it is completed",)
    loses: Sequence[str] = ("id", "description", "priority", "tags", "role", "needs", "parent", "result")

    def read(self, document: bytes) -> Converted:
        tasks: list[dict[str, Any]] = []
        problems: list[str] = []
        for number, line in enumerate(document.split(b"\n"), 1):
            if item := ITEM.fullmatch(line.rstrip(b"\r")):
                try:
                    text = item[2].decode()
                except UnicodeDecodeError:
                    problems.append(f"line {number}: expected UTF-8")
                else:
                    tasks.append({"description": text, **({"finished": "completed"} if item[1] == b"x" else {})})
            elif line.startswith(b"- ["):
                problems.append(f"line {number}: expected '- [ ] what is to be done'")
        return Converted(tuple(tasks), tuple(problems))

    def write(self, tasks: Sequence[Task]) -> bytes:
        return b"".join(self._item(task) + b"\n" for task in tasks)

    def rewrite(self, document: bytes, tasks: Sequence[Task]) -> bytes:
        """The document with its items marked as the tasks are; new tasks at its end."""
        left = list(tasks)
        lines = document.split(b"\n")
        for index, line in enumerate(lines):
            if left and (item := ITEM.fullmatch(line.rstrip(b"\r"))):
                task = left.pop(0)
                if item[0] != self._item(task):
                    lines[index] = self._item(task) + line[len(item[0]) :]
        end = b"".join(self._item(task) + b"\n" for task in left)
        return b"\n".join(lines) + end

    def _item(self, task: Task) -> bytes:
        text = " ".join((task.title or task.description).split())
        return f"- [{'x' if task.state == 'completed' else ' '}] {text}".encode()


def scenarios(sandbox: object) -> dict[str, object]:
    from tinytown_testing import ConverterScenarios

    plan = b"# Plan\r\n\r\n- [ ] first\r\n- [x] second\r\n\r\nText."
    return {"converter checklist": ConverterScenarios(documents=[plan], bad_lines=[(b"- [ ] good\n- [?] bad\n", 2)])}
