"""What ``tt-bd`` answers, as a table for the manual: ``python -m tinytown_gastown.bd.answers`` prints it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from tinytown_gastown.bd.program import COMMANDS, program
from tinytown_gastown.bd.setup import WITHOUT_EFFECT

#: Flags that every command has.
_COMMON = ("--json", "--directory", "--actor", "--quiet", "--readonly", "--help")
_NO_EFFECT = "Has no effect"


def table_lines() -> list[str]:
    """The table: each command with its flags and what it does, then the commands without effect."""
    lines = ["| command | flags | |", "|---|---|---|"]
    context = click.Context(program)
    for name in sorted(COMMANDS):
        command = program.get_command(context, name)
        lines += _rows(name, command) if command is not None else []
    lines += ["", "| without effect | because |", "|---|---|"]
    return [*lines, *(f"| `{name}` | {reason} |" for name, reason in sorted(WITHOUT_EFFECT.items()))]


def _rows(name: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for below in sorted(command.commands):
            yield from _rows(f"{name} {below}", command.commands[below])
        return
    flags = [_long(param) for param in command.params if isinstance(param, click.Option) and _is_answered(param)]
    about = command.get_short_help_str(200).replace("|", "\\|")
    yield f"| `{name}` | {' '.join(f'`{flag}`' for flag in flags)} | {about} |"


def _long(option: click.Option) -> str:
    return next((name for name in option.opts if name.startswith("--")), option.opts[0])


def _is_answered(option: click.Option) -> bool:
    return _long(option) not in _COMMON and not (option.help or "").startswith(_NO_EFFECT)


if __name__ == "__main__":
    print("\n".join(table_lines()))
