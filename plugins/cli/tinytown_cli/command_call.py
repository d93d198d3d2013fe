"""Commands as functions: what a command prints with ``--json``, for programs that serve the same operations in another way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import click
import msgspec
from tinytown.errors import TinytownError, UsageError
from tinytown.model.text import shown

from tinytown_cli.command_table import COMMANDS, load
from tinytown_cli.context import CliContext

if TYPE_CHECKING:
    from tinytown_cli.framework import TownCommand
    from tinytown_cli.progress import Progress

T = TypeVar("T")
#: A value of a parameter, as JSON has it.
_Plain = str | bool | int | float | list[str | int | float] | None


class Output(NamedTuple):
    """What a command printed at once: its JSON value before it is encoded, and the lines for people."""

    value: Any
    lines: list[str]


class Recording(NamedTuple):
    """What a command printed, its exit code, and the error that it ended with."""

    outputs: list[Output]
    warnings: list[str]
    exit_code: int = 0
    error: TinytownError | None = None


class _Recorder(CliContext):
    """Keeps what a command emits. It prints nothing, reads nothing, and shows no progress."""

    has_input = False

    def __init__(self, root: Path, *, as_json: bool = True) -> None:
        super().__init__()
        self.town = str(root)
        self.json = as_json
        self.outputs: list[Output] = []
        self.warnings: list[str] = []

    def emit(self, value: Any, lines: str | Iterable[str]) -> None:
        self.outputs.append(Output(value, [lines] if isinstance(lines, str) else [*lines]))
        self.raise_deferred()

    def warn(self, line: str) -> None:
        self.warnings.append(line)

    def ring(self) -> None:
        pass

    def progress(self, doing: str) -> Progress:
        from tinytown_cli.progress import Progress

        return Progress(doing, is_shown=False)


def call_command(command: click.Command | str, root: Path, **parameters: Any) -> Any:
    """What `command` prints with ``--json`` in the town at `root`, before it is encoded. Blocking; for a thread of its own.

    `command` is the name of an essential command (``dead show``), or another one itself. `parameters` are those of the command's
    function; what is missing has its default. A command that reads standard input or a file of its caller is not for this.
    Raises: what the command raises, its errors of usage as UsageError.
    """
    recorder = _Recorder(root)
    # An exit code says that what was looked at is not well, which is in what was emitted, too.
    _invoke(_essential(command) if isinstance(command, str) else command, recorder, parameters)
    return recorder.outputs[-1].value if recorder.outputs else None


def record_command(command: TownCommand, root: Path, parameters: Mapping[str, Any], *, as_json: bool) -> Recording:
    """What a command with a scope prints in the town at `root`, for a caller on another machine. Blocking, as `call_command`.

    `parameters` are some of its own, with values as JSON has them; `as_json` is ``--json``. Its error is in the answer.
    Raises: UsageError for a parameter that is not one for callers elsewhere, or has a value of another type.
    """
    recorder = _Recorder(root, as_json=as_json)
    typed = _typed(command, parameters)
    try:
        exit_code = _invoke(command, recorder, typed)
    except TinytownError as error:
        return Recording(recorder.outputs, recorder.warnings, error.exit_code, error)
    return Recording(recorder.outputs, recorder.warnings, exit_code)


def served_command(name: str, root: Path) -> TownCommand | None:
    """The command with these words in the town at `root`, if a townhall runs it for callers elsewhere (`TownCommand.scope`)."""
    from tinytown_cli.framework import TownCommand

    command = _find(name, _Recorder(root))
    return command if isinstance(command, TownCommand) and command.scope else None


def _typed(command: TownCommand, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the types that the command declares. Raises: UsageError."""
    known = {str(each.name): each for each in command.own_params if each.expose_value}
    typed: dict[str, Any] = {}
    with click.Context(command) as context:
        for name, value in parameters.items():
            if name not in known or name in command.local_options:
                raise UsageError(f"{shown(name, 60)} is no parameter for callers elsewhere", code="not_served")
            try:
                msgspec.convert(value, _Plain)
                typed[name] = known[name].type_cast_value(context, value)
            except (click.ClickException, TypeError, ValueError) as error:  # msgspec's are ValueErrors
                raise UsageError(f"expected another value for {name}, got {shown(repr(value), 60)}") from error
    return typed


def _invoke(command: click.Command, recorder: _Recorder, parameters: Mapping[str, Any]) -> int:
    """Run the command; its exit code. Raises: what it raises, its errors of usage as UsageError."""
    try:
        with click.Context(command, obj=recorder) as context:
            context.invoke(command, **parameters)
    except click.exceptions.Exit as end:
        return end.exit_code
    except SystemExit as end:  # of a command of a plugin, which must not end the program that called it
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
    return 0


def forward(context: CliContext, name: str, **parameters: Any) -> None:
    """Do what the command `name` (``ledger history``) does, with its output, in place of the command that is running.

    `parameters` are as those of `call_command`. Raises: UsageError where no such command is installed; what the command raises.
    """
    from tinytown.packages import install_hint

    command = _find(name, context)
    if command is None:
        raise UsageError(f"tt {name} is not installed", hint=install_hint("commands", name.partition(" ")[0]))
    with click.Context(command, info_name=name, obj=context) as called:
        called.invoke(command, **parameters)


def _find(name: str, context: CliContext) -> click.Command | None:
    """The command with these words, also one of a plugin; None if none is installed."""
    from tinytown_cli.framework import make_root

    command = cast("click.Command | None", make_root())
    with contextlib.ExitStack() as above:
        here = above.enter_context(click.Context(make_root(), info_name="tt", obj=context))
        for word in name.split():
            command = command.get_command(here, word) if isinstance(command, click.Group) else None
            if command is None:
                return None
            here = above.enter_context(click.Context(command, info_name=word, parent=here))
    return command


def _essential(name: str) -> click.Command:
    first, *words = name.split()
    command = cast(click.Command, load(COMMANDS[first].target))
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


async def answer_command(command: click.Command | str, root: Path, kind: type[T], **parameters: Any) -> T:
    """What `call_command` gives, as a `kind`; other members of it are left out. Raises: as `call_command`."""
    import trio

    call = partial(call_command, command, root, **parameters)
    value = await trio.to_thread.run_sync(call, abandon_on_cancel=True)
    return msgspec.convert(msgspec.to_builtins(value), kind)
