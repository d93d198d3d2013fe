"""The program ``tt-bd``: bd's global flags, its JSON, and its way of failing: one line, and the exit code 1.

With ``BD_JSON_ENVELOPE=1`` answers stand in an envelope, as newer releases of `bd` write them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
import msgspec
from tinytown.errors import TinytownError

F = TypeVar("F", bound=Callable[..., Any])

_encode = msgspec.json.Encoder().encode


class Answering:
    """The global flags, and how answers are printed."""

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
            sys.stdout.buffer.write(_encode(value) + b"\n")
        elif not self.quiet:
            for line in [lines] if isinstance(lines, str) else lines:
                click.echo("".join(c if c.isprintable() or c in "\t\n" else f"\\x{ord(c):02x}" for c in line))
        sys.stdout.flush()

    def refuse_readonly(self) -> None:
        """Raises: TinytownError when nothing may be changed."""
        if self.readonly:
            raise TinytownError("operation not allowed in read-only mode")


answering = click.make_pass_decorator(Answering, ensure=True)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        setattr(context.ensure_object(Answering), str(parameter.name), value)


def common(command: F) -> F:
    """The flags that stand anywhere on the line."""
    options = [
        click.option("--json", is_flag=True, expose_value=False, callback=_remember, help="Answer in JSON."),
        click.option(
            "-C", "--directory", "directory", metavar="DIR", expose_value=False, callback=_remember, help="Whose town."
        ),
        click.option("--actor", metavar="NAME", expose_value=False, callback=_remember, help="Who is said to do it."),
        click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_remember, help="Say nothing."),
        click.option("--readonly", is_flag=True, expose_value=False, callback=_remember, help="Change nothing."),
        click.option("--sandbox", is_flag=True, expose_value=False, help="Makes no difference here."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


class Commands(click.Group):
    """``tt-bd`` itself. The commands are imported when one is typed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _commands().get(cmd_name)


def _commands() -> dict[str, click.Command]:
    from tinytown_beads.shim import edges, looking, writing

    return {**looking.COMMANDS, **writing.COMMANDS, **edges.COMMANDS}


@click.command(cls=Commands, name="tt-bd", context_settings={"help_option_names": ["-h", "--help"]})
@common
def program() -> None:
    """The tasks of a town as issues, with the words of bd."""


def main() -> None:
    """The entry point."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run a command line; the exit code."""
    as_json = "--json" in words
    try:
        program.main(args=words, prog_name="tt-bd", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.NoSuchOption as error:
        context = error.ctx
        known = (
            [name for each in context.command.params for name in each.opts if name.startswith("--")] if context else []
        )
        whom = context.command_path if context else "tt-bd"
        return _failed(f"unknown flag: {error.option_name}", f"{whom} has: {', '.join(known)}", as_json)
    except click.ClickException as error:
        return _failed(error.format_message().rstrip("."), "", as_json)
    except click.Abort:
        return 130
    except TinytownError as error:
        return _failed(error.message, error.hint, as_json)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what is left in the buffer goes nowhere
        return 141
    return 0


def _failed(message: str, hint: str, as_json: bool) -> int:
    if as_json:
        told = {"error": message, **({"hint": hint} if hint else {}), "schema_version": 1}
        sys.stderr.write(_encode(told).decode() + "\n")
    else:
        flat = " ".join(f"{message}{f' ({hint})' if hint else ''}".split())
        sys.stderr.write("Error: " + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in flat) + "\n")
    return 1
