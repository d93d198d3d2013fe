"""What was asked for beside the command itself, and how answers are printed: for people, or as JSON.

Everything a command prints on stdout goes through `CliContext.emit`, which makes text safe for a terminal. JSON
carries texts as they are. Also finds and opens the town that a command is about.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tinytown.errors import TinytownError
from tinytown.model.text import escape_control

if TYPE_CHECKING:
    from tinytown.client import TownClient


class CliContext:
    """The options that every command takes, wherever on the line they stood."""

    def __init__(self) -> None:
        self.town: str | None = None
        self.json = False
        self.debug = False
        self.verbose = False
        self._deferred: Exception | None = None

    def town_root(self) -> Path:
        """The root of the town that the command is about: of ``--town``, TINYTOWN_TOWN or the current directory.

        Raises: NotFound.
        """
        from tinytown.config import find_town  # late: `tt --help` does without it

        return find_town(Path(self.town) if self.town else None)

    def open_town(self) -> AbstractContextManager[TownClient]:
        """The town that the command is about, with its server up; see `tinytown.client.open_town_client`."""
        from tinytown.client import open_town_client

        return open_town_client(Path(self.town) if self.town else None, on_connect=self.explain)

    def defer_error(self, error: Exception) -> None:
        """Raise `error` once the answer is out: what was asked for is done, what was to follow has failed.

        Who saw the error alone would do it again.
        """
        self._deferred = error

    def emit(self, value: Any, lines: str | Iterable[str]) -> None:
        """Print `value` as one line of JSON, or, for people, the `lines`.

        Raises: what `defer_error` was told; BrokenPipeError when nobody reads any more; TinytownError when it cannot be written.
        """
        told = [lines] if isinstance(lines, str) else lines
        text = "" if self.json else "".join(escape_control(line) + "\n" for line in told)
        try:
            if self.json:
                sys.stdout.buffer.write(_in_json(value) + b"\n")
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise TinytownError(
                f"the answer cannot be written: {error.strerror}", hint="what was asked for is done all the same"
            ) from error
        if deferred := self._deferred:
            self._deferred = None
            raise deferred

    def warn(self, line: str) -> None:
        """Print a remark that is no part of the answer, on stderr."""
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
    except UnicodeEncodeError:  # a path with bytes that are no text
        import json

        return json.dumps(msgspec.to_builtins(value)).encode()


pass_cli_context = click.make_pass_decorator(CliContext, ensure=True)
