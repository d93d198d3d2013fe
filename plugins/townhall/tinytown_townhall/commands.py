"""Commands that the townhall runs for the command line of another machine: those that need the town's files or plugins.

A request names a command and its parameters; no shell and no words of a command line are involved. A command is run if its own
declaration names a scope (`TownCommand.scope`) that the caller has, without those of its options that are for the town's machine.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import cast, get_args

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope as AsgiScope, Send
from tinytown.errors import TinytownError, UsageError
from tinytown.model.text import shown
from tinytown_cli.public import Recording, TownCommand, record_command, served_command
from tinytown_cli.remote_command import PATH, CommandAnswer, CommandError, CommandRequest

from tinytown_townhall.auth import Scope
from tinytown_townhall.hall import Hall
from tinytown_townhall.problems import HttpError
from tinytown_townhall.routing import body_limit_bytes, fault_response, problem_response, read_raw_body

_NAME = re.compile(r"[a-z][a-z-]{0,30}( [a-z][a-z-]{0,30}){0,2}")
_AT_ONCE = 8

__all__ = ["PATH", "CommandsEndpoint"]


class CommandsEndpoint:
    """The commands over HTTP, an ASGI application."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._limit = trio.CapacityLimiter(_AT_ONCE)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except TinytownError as error:
            response = problem_response(error, request.state.request_id)
        except Exception:
            response = fault_response(request.state.request_id)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        hall = self._hall
        principal = await hall.admit(request, "town.read", changes=False)
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise HttpError(415, "media_type", "expected a body that is application/json")
        asked = _read(await read_raw_body(request, body_limit_bytes(hall.town)))
        command = await trio.to_thread.run_sync(served_command, asked.command, hall.town.root, limiter=self._limit)
        if command is None:
            raise HttpError(
                403, "not_served", f"a townhall does not run tt {asked.command}", hint="run it on the town's machine"
            )
        scopes = _scopes(command, asked)
        for scope in scopes:
            principal = await hall.admit(request, scope, changes=scope != "town.read")
        run = partial(record_command, command, hall.town.root, asked.parameters, as_json=asked.as_json)
        if scopes == ["town.read"]:
            return _response(await self._run(run))
        outcome = "error"
        try:
            response = _response(await self._run(run))
            outcome = str(response.status_code)
        finally:
            path, request_id = f"{PATH} {asked.command}", request.state.request_id
            await hall.audit(principal, "POST", path, outcome, request_id=request_id)
        return response

    async def _run(self, run: partial[Recording]) -> Recording:
        return await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._limit)


def _read(raw: bytes) -> CommandRequest:
    try:
        asked = msgspec.json.decode(raw, type=CommandRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"expected a command and its parameters: {shown(str(error), 200)}") from error
    if not _NAME.fullmatch(asked.command):
        raise UsageError(f"expected the words of a command, got {shown(asked.command, 60)!r}")
    return asked


def _scopes(command: TownCommand, asked: CommandRequest) -> list[Scope]:
    """What a caller needs. Raises: HttpError for a command that names a scope that does not exist."""
    names = {command.scope, *(scope for name, scope in command.option_scopes.items() if asked.parameters.get(name))}
    if unknown := names.difference(get_args(Scope)):
        raise HttpError(500, "plugin_faulty", f"tt {asked.command} names the unknown scope {min(unknown)}")
    return cast(list[Scope], sorted(names))


def _response(recording: Recording) -> Response:
    error = recording.error
    answer = CommandAnswer(
        outputs=[(output.value, output.lines) for output in recording.outputs],
        warnings=recording.warnings,
        exit_code=recording.exit_code,
        error=CommandError(code=error.code, message=error.message, hint=error.hint, exit_code=error.exit_code)
        if error
        else None,
    )
    # Unlike msgspec, json takes paths that are not UTF-8.
    return Response(json.dumps(msgspec.to_builtins(answer)).encode(), media_type="application/json")
