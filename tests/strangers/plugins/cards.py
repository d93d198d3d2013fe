"""The format `cards`: one JSON object a line, with everything that a plan needs."""

from collections.abc import Sequence
from typing import Any

import msgspec
from tinytown.hookspecs import hookimpl
from tinytown.model.messages import Priority
from tinytown.model.tasks import Task
from tinytown_cli.contracts import Converted, Converter

TINYTOWN_HOOK_API = 2


class Card(msgspec.Struct, kw_only=True, omit_defaults=True):
    text: str
    title: str = ""
    priority: Priority = "normal"
    tags: tuple[str, ...] = ()
    role: str | None = None


@hookimpl
def tinytown_converters() -> list[Converter]:
    return [Cards()]


class Cards(Converter):
    format = "cards"
    keeps: Sequence[str] = ("description", "title", "priority", "tags", "role")
    loses: Sequence[str] = ("id", "needs", "parent", "state", "result")

    def read(self, document: bytes) -> Converted:
        tasks: list[dict[str, Any]] = []
        problems: list[str] = []
        for number, line in enumerate(document.split(b"\n"), 1):
            if line.strip():
                try:
                    card = msgspec.json.decode(line, type=Card)
                except (ValueError, RecursionError) as error:
                    problems.append(f"line {number}: {error}")
                    continue
                if card.text.strip():
                    fields = msgspec.structs.asdict(card)
                    tasks.append({"description": fields.pop("text"), **fields})
                else:
                    problems.append(f"line {number}: no text")
        return Converted(tuple(tasks), tuple(problems))

    def write(self, tasks: Sequence[Task]) -> bytes:
        cards = [
            Card(text=task.description, title=task.title, priority=task.priority, tags=task.tags, role=task.role)
            for task in tasks
        ]
        return b"".join(msgspec.json.encode(card) + b"\n" for card in cards)


def scenarios(sandbox: object) -> dict[str, object]:
    from tinytown_testing import ConverterScenarios

    good = b'{"text": "by hand"}\n'
    return {"converter cards": ConverterScenarios(documents=[good], bad_lines=[(good + b"{}\n", 2)])}
