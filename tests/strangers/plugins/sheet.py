"""The format `sheet`: CSV with a heading."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from tinytown.hookspecs import hookimpl
from tinytown.model.messages import PRIORITIES
from tinytown.model.tasks import Task
from tinytown_cli.contracts import Converted, Converter

TINYTOWN_HOOK_API = 2
COLUMNS = ("title", "priority", "description")


@hookimpl
def tinytown_converters() -> list[Converter]:
    return [Sheet()]


class Sheet(Converter):
    format = "sheet"
    keeps: Sequence[str] = ("title", "priority", "description")
    loses: Sequence[str] = ("id", "tags", "role", "needs", "parent", "state", "result")

    def read(self, document: bytes) -> Converted:
        tasks: list[dict[str, Any]] = []
        problems: list[str] = []
        reader = csv.reader(io.StringIO(document.decode("utf-8", "replace"), newline=""), strict=True)
        try:
            for number, row in enumerate(reader):
                line = reader.line_num
                if not row or (number == 0 and tuple(row) == COLUMNS):
                    continue
                if (
                    len(row) != len(COLUMNS)
                    or row[1] not in PRIORITIES
                    or not row[2].strip()
                    or "\ufffd" in "".join(row)
                ):
                    problems.append(f"line {line}: expected {', '.join(COLUMNS)}")
                else:
                    tasks.append(dict(zip(COLUMNS, row, strict=True)))
        except csv.Error as error:
            problems.append(f"line {reader.line_num}: {error}")
        return Converted(tuple(tasks), tuple(problems))

    def write(self, tasks: Sequence[Task]) -> bytes:
        out = io.StringIO(newline="")
        writer = csv.writer(out, quoting=csv.QUOTE_ALL)
        writer.writerow(COLUMNS)
        writer.writerows([task.title, task.priority, task.description] for task in tasks)
        return out.getvalue().encode()


def scenarios(sandbox: object) -> dict[str, object]:
    from tinytown_testing import ConverterScenarios

    bad = b"title,priority,description\r\na,normal,good\r\nb,normal\r\n"
    return {"converter sheet": ConverterScenarios(documents=[b'a,high,"do it\nall"\n'], bad_lines=[(bad, 3)])}
