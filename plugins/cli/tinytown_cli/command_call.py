"""Commands as functions: what a command prints with ``--json``, for programs that serve the same operations in another way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import msgspec
from tinytown.errors import UsageError

from tinytown_cli.command_table import COMMANDS, load
from tinytown_cli.context import CliContext

T = TypeVar("T")


class _Recorder(CliContext):
    """Keeps what a command emits. It prints nothing, and shows no progress."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.town = str(root)
        self.json = True
        self.emitted: Any = None

    def emit(self, value: Any, lines: str | Iterable[str]) -> None:
        self.emitted = value
        self.raise_deferred()

    def warn(self, line: str) -> None:
        pass

    def ring(self) -> None:
        pass


def call_command(command: click.Command | str, root: Path, **parameters: Any) -> Any:
    """What `command` prints with ``--json`` in the town at `root`, before it is encoded. Blocking; for a thread of its own.

    `command` is the name of an essential command (``dead show``), or another one itself. `parameters` are those of the command's
    function; what is missing has its default. A command that reads standard input or a file of its caller is not for this.
    Raises: what the command raises, its errors of usage as UsageError.
    """
    recorder = _Recorder(root)
    command = _essential(command) if isinstance(command, str) else command
    try:
        # An exit code says that what was looked at is not well, which is in what was emitted, too.
        with contextlib.suppress(click.exceptions.Exit), click.Context(command, obj=recorder) as context:
            context.invoke(command, **parameters)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
    return recorder.emitted


def forward(context: CliContext, name: str, **parameters: Any) -> None:
    """Do what the command `name` (``ledger history``) does, with its output, in place of the command that is running.

    `parameters` are as those of `call_command`. Raises: UsageError where no such command is installed; what the command raises.
    """
    from tinytown.packages import install_hint

    from tinytown_cli.framework import make_root

    root = make_root()
    command: click.Command | None = root
    with click.Context(root, info_name="tt", obj=context) as here:
        for word in name.split():
            command = command.get_command(here, word) if isinstance(command, click.Group) else None
        if command is None:
            raise UsageError(f"tt {name} is not installed", hint=install_hint("commands", name.partition(" ")[0]))
        with click.Context(command, info_name=name, parent=here, obj=context) as called:
            called.invoke(command, **parameters)


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
