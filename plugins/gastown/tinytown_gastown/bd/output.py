"""What the commands of ``tt-bd`` share: bd's global flags, its JSON, its priorities. Knows no command.

With ``BD_JSON_ENVELOPE=1`` output is wrapped in an envelope, as newer releases of `bd` do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
import msgspec
from tinytown.errors import TinytownError

#: For commands that take no words: bd ignores those that follow them.
MORE_WORDS = {"allow_extra_args": True}

F = TypeVar("F", bound=Callable[..., Any])


class Output:
    """The global flags, and the output of a command."""

    def __init__(self) -> None:
        self.json = False
        self.directory: str | None = None
        self.actor = ""
        self.quiet = False
        self.readonly = False

    def answer(self, value: Any, lines: str | Iterable[str]) -> None:
        """Print `value` as JSON, or, for people, the `lines`."""
        if self.json:
            if os.environ.get("BD_JSON_ENVELOPE") == "1":
                value = {"schema_version": 1, "data": value}
            elif isinstance(value, dict):
                value = {**value, "schema_version": 1}  # pyright: ignore[reportUnknownVariableType]
            sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
        elif not self.quiet:
            for line in [lines] if isinstance(lines, str) else lines:
                click.echo("".join(c if c.isprintable() or c in "\t\n" else f"\\x{ord(c):02x}" for c in line))
        sys.stdout.flush()

    def refuse_readonly(self) -> None:
        """Raises: TinytownError in read-only mode."""
        if self.readonly:
            raise TinytownError("operation not allowed in read-only mode")


pass_output = click.make_pass_decorator(Output, ensure=True)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        setattr(context.ensure_object(Output), str(parameter.name), value)


def common_options(command: F) -> F:
    """The flags that are allowed anywhere on the line."""
    options = [
        click.option("--json", is_flag=True, expose_value=False, callback=_remember, help="Answer in JSON."),
        click.option(
            "-C",
            "--directory",
            "directory",
            metavar="DIR",
            expose_value=False,
            callback=_remember,
            help="The town's directory.",
        ),
        click.option("--actor", metavar="NAME", expose_value=False, callback=_remember, help="The name of the actor."),
        click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_remember, help="Print nothing."),
        click.option("--readonly", is_flag=True, expose_value=False, callback=_remember, help="Change nothing."),
        click.option("--sandbox", "--no-daemon", is_flag=True, expose_value=False, help="Has no effect."),
        click.option("--no-auto-flush", "--no-auto-import", is_flag=True, expose_value=False, help="Has no effect."),
        click.option("--allow-stale", "--no-db", is_flag=True, expose_value=False, help="Has no effect."),
        click.option("--db", "--dolt-auto-commit", metavar="WORD", expose_value=False, help="Has no effect."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def priority_of(context: click.Context | None, parameter: click.Parameter | None, value: str | None) -> int | None:
    """A priority as bd accepts it: 0 to 4, or P0 to P4."""
    if value is None:
        return None
    digit = value.upper().removeprefix("P")
    if digit not in ("0", "1", "2", "3", "4"):
        raise click.UsageError(f"invalid priority {value[:20]!r} (expected 0-4 or P0-P4)", context)
    return int(digit)
