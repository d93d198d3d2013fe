"""Runs a command line: from its words to an exit code. Every error becomes one line on stderr.

With ``--json`` the line is ``{"error": {"code", "message", "hint"}}``. A traceback is shown with ``--debug`` only.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click
from tinytown.errors import TinytownError
from tinytown.model.text import escape_control, shown

from tinytown_cli.context import in_clone, keep_for_output
from tinytown_cli.framework import make_root

PROGRAM = "tt"

INTERRUPTED = 130
#: What a shell reports for a process that wrote into a pipe without a reader.
READER_GONE = 141

_COMPLETE_VARIABLE = "_TT_COMPLETE"


def run(words: Sequence[str]) -> int:
    """Run the command line `words`, which lack the program's name; the exit code."""
    options = words[: words.index("--")] if "--" in words else words
    as_json, debug = "--json" in options, "--debug" in options
    if "--no-plugins" in options:  # before commands of plugins are looked up
        os.environ["TINYTOWN_BLOCK"] = "*"
    _prepare_streams()
    warnings.showwarning = _show_warning
    try:
        with keep_for_output() if as_json else contextlib.nullcontext():
            code = _invoke(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Without this Python reports an error when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exc()
        return report(error, as_json=as_json)
    else:
        return code


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A Python warning, such as the one for a setting that has moved, as one line."""
    sys.stderr.write(f"warning: {escape_control(str(message))}\n")


def _prepare_streams() -> None:
    """Open the streams that the caller closed, and escape characters that a stream cannot encode."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open until the process exits
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _invoke(words: Sequence[str]) -> int:
    root = make_root()
    if _COMPLETE_VARIABLE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, PROGRAM, _COMPLETE_VARIABLE, os.environ[_COMPLETE_VARIABLE])
    try:
        with root.make_context(PROGRAM, list(words)) as context:
            root.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort as abort:
        raise KeyboardInterrupt from abort
    return 0


def report(error: Exception, *, as_json: bool = False) -> int:
    """Write an error to stderr, as a person or a program reads it; the exit code that belongs to it."""
    code, message, hint, exit_code = _explain(error)
    message, hint = (" ".join(escape_control(in_clone(text)).split()) for text in (message, hint))
    try:
        if as_json:
            import json

            report = {"error": {"code": code, "message": message, "hint": hint}}
            sys.stderr.write(json.dumps(report, ensure_ascii=False) + "\n")
        else:
            sys.stderr.write(f"error: {message}; {hint}\n" if hint else f"error: {message}\n")
        sys.stderr.flush()
    except OSError:  # stderr has no reader
        pass
    return exit_code


def _explain(error: Exception) -> tuple[str, str, str, int]:
    """Code, message, hint and exit code of an error."""
    if isinstance(error, TinytownError):
        message, hint = error.message, error.hint
        if error.code == "config":
            from tinytown_cli.rust_towns import explain_old  # late: only such an error needs it

            message, hint = explain_old(error) or (message, hint)
        return error.code, message, hint, error.exit_code
    if isinstance(error, click.ClickException):
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else PROGRAM
        from tinytown_cli.rust_towns import old_habit  # late: only an error needs it

        return "usage", _plain(error.format_message()), old_habit(command, error) or f"see {command} --help", 2
    if isinstance(error, UnicodeEncodeError):  # undecodable bytes of the command line arrive as surrogates
        return (
            "usage",
            f"expected UTF-8 text, got other bytes in {shown(ascii(error.object))}",
            "convert it to UTF-8",
            2,
        )
    if isinstance(error, FileNotFoundError) and not error.filename and _lacks_directory():
        return "not_found", f"cannot read the current directory: {error.strerror}", "change to one that exists", 3
    if isinstance(error, OSError) and error.strerror:
        named = f"{error.filename}: " if error.filename else ""
        return "failed", f"{named}{error.strerror}", "run it again with --debug for details", 1
    return (
        "internal",
        f"internal error: {type(error).__name__}: {error}",
        "run it again with --debug and report the traceback",
        1,
    )


def _lacks_directory() -> bool:
    """Whether the current directory was deleted: the system reports that without a file name."""
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _plain(text: str) -> str:
    """A message of click without the names of its types, shortened in the middle if a word in it is huge."""
    text = text.strip().rstrip(".")
    for theirs, ours in _PLAINER.items():
        text = text.replace(theirs, ours)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 2 :]}"
    return text[:1].lower() + text[1:]


_LONGEST = 300
_PLAINER = {
    " is not a valid integer range": " is not a whole number",
    " is not a valid integer": " is not a whole number",
    " is not a valid float range": " is not a number",
    " is not a valid float": " is not a number",
}
