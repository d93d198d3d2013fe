"""Tasks as lines of a file: each a text, or a JSON object. Read whole and checked before anything is added."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from tinytown.errors import UsageError
from tinytown.model.ids import check_task_id
from tinytown.model.text import shown

from tinytown_cli.bulk import in_order_of_needs
from tinytown_cli.terminal_text import plain_text
from tinytown_cli.text_files import read_text_file

_LIMIT_BYTES = 64 << 20
_PROBLEMS_SHOWN = 5


class TaskLine(NamedTuple):
    """The line `number` of a file as arguments of `TownOperations.add_task`; ``description`` and ``agent`` are among them."""

    number: int
    task: Mapping[str, Any]


class _Fields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a line of JSON may have."""

    text: str
    agent: str | msgspec.UnsetType = msgspec.UNSET
    key: str | msgspec.UnsetType = msgspec.UNSET
    title: str | msgspec.UnsetType = msgspec.UNSET
    priority: str | msgspec.UnsetType = msgspec.UNSET
    needs: list[str] | msgspec.UnsetType = msgspec.UNSET
    tags: list[str] | msgspec.UnsetType = msgspec.UNSET
    role: str | msgspec.UnsetType = msgspec.UNSET
    parent: str | msgspec.UnsetType = msgspec.UNSET


def read_task_lines(path: str, *, key: str, defaults: Mapping[str, Any]) -> list[TaskLine]:
    """The tasks of the file at `path` (``-``: standard input), each behind those that it needs.

    `defaults` are for what a line leaves open. With `key` each line without a key of its own gets one that its text decides.
    Raises: UsageError that names the lines that are not valid; ConfigError for a file that cannot be read.
    """
    problems: list[str] = []
    lines: list[TaskLine] = []
    seen: Counter[str] = Counter()
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        seen[line] += 1
        try:
            lines.append(TaskLine(number, _task(line, seen[line], key, defaults)))
        except (UsageError, msgspec.MsgspecError, RecursionError) as error:
            problems.append(f"line {number}: {error}")
    refuse_lines([*problems, *_repeated(lines)])
    if not lines:
        raise UsageError("expected a task in each line, got none")
    numbers = {id(line.task): line.number for line in lines}
    return [TaskLine(numbers[id(task)], task) for task in in_order_of_needs([line.task for line in lines])]


def _text(path: str) -> str:
    if path == "-":
        raw = sys.stdin.buffer.read(_LIMIT_BYTES + 1)
        if len(raw) > _LIMIT_BYTES:
            raise UsageError(f"expected at most {_LIMIT_BYTES:,} bytes on standard input, got more")
        return raw.decode("utf-8", "surrogateescape")
    text = read_text_file(Path(path), limit_bytes=_LIMIT_BYTES)
    if text is None:
        raise UsageError(f"no such file: {shown(path)}", hint="name an existing file, or - for standard input")
    return text


def refuse_lines(problems: Sequence[str]) -> None:
    """Raises: UsageError with the `problems` of lines, if there are any."""
    if problems:
        more = f"; and {len(problems) - _PROBLEMS_SHOWN:,} more" if len(problems) > _PROBLEMS_SHOWN else ""
        raise UsageError(f"nothing was assigned: {'; '.join(problems[:_PROBLEMS_SHOWN])}{more}", problems=[*problems])


def _task(line: str, occurrence: int, key: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a line says. Raises: UsageError; msgspec's errors."""
    task = {**defaults, **_read(line)}
    if key and "task_id" not in task:
        digest = hashlib.sha256(f"{line}\n{occurrence}".encode("utf-8", "replace")).hexdigest()
        task["task_id"] = check_task_id(f"{key}-{digest[:12]}")
    if not task["agent"]:
        raise UsageError("expected an agent, got none", hint="name one behind tt assign, or in each line")
    return task


def _read(line: str) -> dict[str, Any]:
    if not line.lstrip().startswith("{"):
        return {"description": plain_text(line.strip())}
    fields: dict[str, Any] = msgspec.to_builtins(msgspec.json.decode(line.encode("utf-8", "replace"), type=_Fields))
    task = {"description": plain_text(fields.pop("text")), **fields}
    if "key" in task:
        task["task_id"] = check_task_id(task.pop("key"))
    return task


def _repeated(lines: list[TaskLine]) -> Iterator[str]:
    """A key that several lines have: which of them is meant?"""
    first: dict[str, int] = {}
    for number, task in lines:
        if id_ := task.get("task_id"):
            if id_ in first:
                yield f"line {number}: the key {shown(id_)!r} is that of line {first[id_]}, too"
            first.setdefault(id_, number)
