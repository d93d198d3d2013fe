"""A command that the townhall of a town runs for ``--url``: its parameters go there, what it prints comes back.

Which commands these are, their own declaration says (`TownCommand.scope`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.core import ParameterSource
from tinytown.errors import (
    NotFound,
    ProtocolViolation,
    Refused,
    ServerUnreachable,
    TinytownError,
    UsageError,
)

from tinytown_cli.params import read_text
from tinytown_cli.remote import open_remote_town

if TYPE_CHECKING:
    from tinytown_cli.context import CliContext

PATH = "/commands"

#: The longest of them, ``tt doctor``, waits for a task.
_LONGEST_S = 300.0

_BY_EXIT_CODE = {each.exit_code: each for each in (TinytownError, UsageError, NotFound, Refused, ServerUnreachable)}


class CommandRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command by its words, with those of its parameters that were given. `as_json` is ``--json``."""

    command: str
    parameters: dict[str, Any]
    as_json: bool = False


class CommandError(msgspec.Struct, frozen=True, kw_only=True):
    """The error that a command ended with."""

    code: str
    message: str
    hint: str
    exit_code: int


class CommandAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a command printed: each value for ``--json`` with its lines for people, and the warnings; and how it ended."""

    outputs: list[tuple[Any, list[str]]]
    warnings: list[str]
    exit_code: int
    error: CommandError | None


def run_at_townhall(
    context: CliContext, name: str, ctx: click.Context, params: Sequence[click.Parameter], local_options: Set[str]
) -> None:
    """Have the townhall run the command `name` of `ctx`, and print what it prints.

    `params` are those of its own, `local_options` the names of those that are for the town's machine. Raises: what the command
    raises there; UsageError.
    """
    given: dict[str, Any] = {}
    for param in params:
        key = str(param.name)
        if not param.expose_value or ctx.get_parameter_source(key) is ParameterSource.DEFAULT:
            continue
        if key in local_options:
            raise UsageError(
                f"tt {name} {param.opts[-1]} does not work with --url: it is for the town's machine",
                hint="leave it out, or run it there",
                code="not_served",
            )
        value = ctx.params[key]
        given[key] = read_text(value) if value == "-" else value  # standard input is this machine's
    request = CommandRequest(command=name, parameters=given, as_json=context.json)
    on_connect = context.warn if context.verbose else None
    with open_remote_town(context.url or "", context.key_file, on_connect=on_connect) as town:
        raw = town.post(PATH, _encoded(request), timeout_s=_LONGEST_S)
    try:
        answer = msgspec.convert(json.loads(raw), CommandAnswer)  # unlike msgspec, json takes paths that are not UTF-8
    except (ValueError, RecursionError) as broken:
        raise ProtocolViolation("the townhall answered no output of a command") from broken
    for line in answer.warnings:
        context.warn(line)
    for value, lines in answer.outputs:
        context.emit(value, lines)
    if error := answer.error:
        kind = _BY_EXIT_CODE.get(error.exit_code, TinytownError)
        raise kind(error.message, hint=error.hint, code=error.code)
    if answer.exit_code:
        ctx.exit(answer.exit_code)


def _encoded(request: CommandRequest) -> bytes:
    try:
        return msgspec.json.encode(request)
    except UnicodeEncodeError as error:  # undecodable bytes of the command line arrive as surrogates
        raise UsageError("expected UTF-8 text, got other bytes", hint="convert it to UTF-8") from error
