"""The fenced blocks of a page, as one script that a new user would type from top to bottom."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language and its text."""

    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What is typed in a ``console`` block."""
        return [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(found[1], found[2]) for found in _FENCE.finditer(page.read_text())]


def script(page: Path, *, before: Mapping[str, Sequence[str]] = {}, skip: Sequence[str] = ()) -> str:
    """A script for bash that does what the page says, each command checked, until one fails.

    `before` has commands for the first line that begins so; lines that match one of the patterns in `skip` are left out.
    """
    lines, waiting = ["exec 2>&1"], dict(before)
    for block in blocks(page):
        if block.language == "console":
            for command in block.commands:
                for start in [start for start in waiting if command.startswith(start)]:
                    lines += _checked(waiting.pop(start))
                lines += _checked([command] * (not any(re.search(each, command) for each in skip)))
        elif block.language == "toml":
            lines += _checked([f"printf '\\n%s' {shlex.quote(block.text)} >> tinytown.toml"])
        elif block.language == "python":
            lines += _checked([f"printf %s {shlex.quote(block.text)} > program.py", "python program.py"])
    return "\n".join([*lines, "echo walked"]) + "\n"


def _checked(commands: Sequence[str]) -> Iterator[str]:
    for command in commands:
        said = command.splitlines()[0]
        yield f"echo {shlex.quote(f'$ {said}')}"
        yield f"{command} || {{ echo {shlex.quote(f'FAILED: {said}')}; exit 1; }}"
