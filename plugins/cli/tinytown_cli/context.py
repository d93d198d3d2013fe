"""The common options of a command line, and the output of commands: text for people, or JSON.

Everything that a command prints on stdout goes through `CliContext.emit`, which makes text safe for a terminal. JSON
carries texts unchanged. Also finds and opens the town of the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click
from tinytown.errors import TinytownError
from tinytown.model.text import escape_control

if TYPE_CHECKING:
    from pathlib import Path

    from tinytown.client import TownClient


class CliContext:
    """The options that every command takes, given before or after its name."""

    def __init__(self) -> None:
        self.town: str | None = None
        self.json = False
        self.debug = False
        self.verbose = False
        self._deferred: Exception | None = None

    def town_root(self) -> Path:
        """The root of the town: of ``--town``, TINYTOWN_TOWN or the current directory.

        Raises: NotFound.
        """
        from pathlib import Path  # late, like the others: `tt --help` needs none of them

        from tinytown.config import find_town

        return find_town(Path(self.town) if self.town else None)

    def open_town(self) -> AbstractContextManager[TownClient]:
        """The town, with its server up; see `tinytown.client.open_town_client`."""
        from pathlib import Path

        from tinytown.client import open_town_client

        return open_town_client(Path(self.town) if self.town else None, on_connect=self.explain)

    def defer_error(self, error: Exception) -> None:
        """Raise `error` after the output: the command did its work, but a step that follows it failed.

        An error alone would make the user run the command again.
        """
        self._deferred = error

    def emit(self, value: Any, lines: str | Iterable[str]) -> None:
        """Print `value` as one line of JSON, or, for people, the `lines`.

        Raises: the error of `defer_error`; BrokenPipeError if stdout has no reader; TinytownError if it cannot be written.
        """
        lines = [lines] if isinstance(lines, str) else lines
        text = "" if self.json else "".join(escape_control(line) + "\n" for line in lines)
        try:
            if self.json:
                sys.stdout.buffer.write(_in_json(value) + b"\n")
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise TinytownError(
                f"cannot write the output: {error.strerror}", hint="the command itself is done"
            ) from error
        if deferred := self._deferred:
            self._deferred = None
            raise deferred

    def warn(self, line: str) -> None:
        """Print a line on stderr that is not part of the output."""
        sys.stderr.write(escape_control(line) + "\n")
        sys.stderr.flush()

    def explain(self, line: str) -> None:
        """Like `warn`, with ``--verbose`` only."""
        if self.verbose:
            self.warn(line)


def _in_json(value: Any) -> bytes:
    import msgspec  # late: `tt --help` does without it

    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a path that is not UTF-8
        import json

        return json.dumps(msgspec.to_builtins(value)).encode()


pass_cli_context = click.make_pass_decorator(CliContext, ensure=True)
