"""The common options of a command line, and the output of commands: text for people, or JSON.

Everything that a command prints on stdout goes through `CliContext.emit`, which makes text safe for a terminal. JSON
carries texts unchanged, with what a terminal might obey as escapes of JSON. Also finds and opens the town of the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TextIO

import click
from tinytown.errors import TinytownError
from tinytown.model.text import escape_control

if TYPE_CHECKING:
    from pathlib import Path

    from tinytown_cli.client import TownClient
    from tinytown_cli.progress import Progress


#: Where output goes if that is not `sys.stdout`.
_output: TextIO | None = None


def output() -> TextIO:
    """Where the output of a command goes."""
    return _output or sys.stdout


@contextmanager
def keep_for_output() -> Generator[None]:
    """Keep stdout for `output`: what anything else prints, such as a plugin, goes to stderr and spoils no JSON."""
    global _output
    output = _output = sys.stdout
    sys.stdout = sys.stderr
    try:
        yield
        output.flush()
    finally:
        sys.stdout, _output = output, None


def in_clone(text: str) -> str:
    """The text with hints of pip that work where Tinytown was installed from a clone."""
    if "pip install tinytown-" not in text:
        return text
    from tinytown_cli.clone import name_directories  # late: only hints need it

    return name_directories(text)


class CliContext:
    """The options that every command takes, given before or after its name.

    `has_input` says that standard input is that of whoever calls.
    """

    has_input = True

    def __init__(self) -> None:
        self.town: str | None = None
        self.url: str | None = None
        self.key_file: str | None = None
        self.json = False
        self.debug = False
        self.verbose = False
        self._deferred: Exception | None = None

    def town_root(self) -> Path:
        """The root of the town: of ``--town``, TINYTOWN_TOWN or the current directory.

        Raises: NotFound.
        """
        from pathlib import Path  # late, like the others: `tt --help` needs none of them

        from tinytown_cli.town_search import find_town

        self._refuse_remote()
        return find_town(Path(self.town) if self.town else None)

    @contextmanager
    def open_town(self) -> Generator[TownClient]:
        """The town, with its server up; see `tinytown_cli.client.open_town_client`."""
        with ExitStack() as stack:
            is_seen = sys.stderr.isatty() and not self.json
            with self.progress("connecting to the server") if is_seen else nullcontext():
                town = stack.enter_context(self._opening())
            yield town

    def _opening(self) -> AbstractContextManager[TownClient]:
        on_connect = self.warn if self.verbose else None
        if self.url:
            from tinytown_cli.remote import open_remote_town

            return open_remote_town(self.url, self.key_file, on_connect=on_connect)
        from tinytown_cli.client import open_town_client

        return open_town_client(self.town or None, on_connect=on_connect)

    def _refuse_remote(self) -> None:
        """Raises: UsageError with ``--url``: what needs the town's directory needs its machine."""
        if self.url:
            from tinytown_cli.remote import refuse_command

            raise refuse_command(click.get_current_context().command_path.partition(" ")[2])

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
        text = "" if self.json else in_clone("".join(escape_control(line) + "\n" for line in lines))
        try:
            if self.json:
                output().buffer.write(_in_json(value) + b"\n")
            output().write(text)
            output().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise TinytownError(
                f"cannot write the output: {error.strerror}", hint="the command itself is done"
            ) from error
        self.raise_deferred()

    def raise_deferred(self) -> None:
        """Raises: the error of `defer_error`, once."""
        if deferred := self._deferred:
            self._deferred = None
            raise deferred

    def warn(self, line: str) -> None:
        """Print a line on stderr that is not part of the output."""
        sys.stderr.write(escape_control(in_clone(line)) + "\n")
        sys.stderr.flush()

    def ring(self) -> None:
        """Ring the bell of the terminal, if stderr is one."""
        if sys.stderr.isatty():
            sys.stderr.write("\a")
            sys.stderr.flush()

    def progress(self, doing: str) -> Progress:
        """A line on the terminal about work that takes long; with ``--json``, and in a pipe, there is none."""
        from tinytown_cli.progress import Progress

        return Progress(doing, is_shown=not self.json and sys.stderr.isatty())

    def explain(self, line: str) -> None:
        """Like `warn`, with ``--verbose`` only."""
        if self.verbose:
            self.warn(line)


def start_where_needed(context: CliContext, town: TownClient, *, may_start: bool) -> dict[str, Any]:
    """Start a kernel if the town has none here, and report that on stderr; ``{"running", "pid", "started"}``.

    The caller has done its work already, so an error is deferred: see `CliContext.defer_error`.
    """
    if pid := town.running_kernel():  # quick, as it usually is
        return {"running": True, "pid": pid, "started": False}
    try:
        with context.progress("starting the kernel"):
            kernel = town.ensure_kernel(may_start=may_start)
    except TinytownError as error:
        error.message = f"the command is done, do not repeat it, but the town has no kernel: {error.message}"
        context.defer_error(error)
        return {"running": False, "pid": None, "started": False}
    if kernel is None:
        if not town.caller.is_agent:
            context.warn("no kernel is running; start one with: tt start")
        return {"running": False, "pid": None, "started": False}
    if kernel.started:
        context.warn(f"started the kernel in the background (process {kernel.pid}); stop it with: tt stop")
    return {"running": True, "pid": kernel.pid, "started": kernel.started}


def _in_json(value: Any) -> bytes:
    import msgspec  # late: `tt --help` does without it

    try:
        raw = msgspec.json.encode(value)
        text = raw.decode()
        if text.isascii() or escape_control(text) == text:
            return raw
    except UnicodeEncodeError:  # a path that is not UTF-8
        pass
    import json  # it escapes what is not ASCII, such as invisible characters

    return json.dumps(msgspec.to_builtins(value)).encode()


pass_cli_context = click.make_pass_decorator(CliContext, ensure=True)
