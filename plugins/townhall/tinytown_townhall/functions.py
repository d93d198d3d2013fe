"""The town's functions for the command line of another machine: which of them are served, with which scope, and how.

The body of a request has commands as they would go to the town's server, and the answer is the server's, byte for byte: so a
command does there what it does here. What is not in the table is refused, and so is a request of which one part is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import hiredis
import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope as AsgiScope, Send
from tinytown import __version__
from tinytown.errors import ServerUnreachable, TinytownError, UsageError
from tinytown.model.ids import SUPERVISOR_ID, SUPERVISOR_NAMES, check_agent_name
from tinytown.model.messages import Body
from tinytown.model.text import check_text, counted, shown
from tinytown.protocol import SCHEMA, TOWN_LIBRARY, FunctionLibrary, load_library
from tinytown.redis import address_of, open_connection, pack
from tinytown_cli import administration
from tinytown_cli.remote import Welcome
from tinytown_ops.costs import ledger
from tinytown_ops.questions import record

from tinytown_townhall.auth import Scope
from tinytown_townhall.hall import Hall
from tinytown_townhall.problems import HttpError
from tinytown_townhall.routing import body_limit_bytes, fault_response, json_response, problem_response, read_raw_body

PATH = "/functions"
MEDIA_TYPE = "application/vnd.redis"

_MOST_COMMANDS = 1_000
_AT_ONCE = 64
_ANSWER_S = 10.0
_BLOCK_MS = 5_000
_CHUNK_BYTES = 64 * 1024
_MORE = object()

Words = list[bytes]

_TABLE: tuple[tuple[FunctionLibrary, Scope, str], ...] = (
    (TOWN_LIBRARY, "town.read", "status hosts agent_get agent_list task_get task_list peek"),
    (
        TOWN_LIBRARY,
        "town.write",
        "send task_add task_settle task_assign backlog_claim plugin_set",
    ),
    (TOWN_LIBRARY, "agent.manage", "agent_create agent_set_desired_state"),
    (administration.LIBRARY, "town.read", "dead_list trace rounds task_current mailbox_message"),
    (
        administration.LIBRARY,
        "town.write",
        "redrive drop remove task_update task_need task_requeue task_reopen task_hold task_release task_delete "
        "backlog_assign_all town_freeze town_thaw",
    ),
    (administration.LIBRARY, "agent.manage", "agent_remove agent_reset_round_count account_unpark"),
    (ledger.LIBRARY, "town.read", "costs titles accounts"),
)
#: Name on the server -> its short name, its library, and the scope that it takes.
FUNCTIONS: Mapping[bytes, tuple[str, FunctionLibrary, Scope]] = {
    library.function(name).encode(): (name, library, scope)
    for library, scope, names in _TABLE
    for name in names.split()
}


class Asked(msgspec.Struct, frozen=True):
    """What a request asks for: its commands, the scopes that they take, the functions that change something, and the
    libraries that the server has to have."""

    commands: Sequence[Words]
    scopes: frozenset[Scope]
    changes: Sequence[str]
    libraries: Sequence[FunctionLibrary]
    wait_ms: int


def read_commands(raw: bytes) -> list[Words]:
    """The commands in a body. Raises: UsageError for anything else."""
    reader = hiredis.Reader(notEnoughData=_MORE)
    commands: list[Words] = []
    try:
        reader.feed(raw)
        while (command := reader.gets()) is not _MORE:
            words: Words = [*command] if isinstance(command, list) else []  # pyright: ignore[reportUnknownVariableType]
            if not words or not all(isinstance(word, bytes) for word in words):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError("expected commands, each an array of bulk strings")
            commands.append(words)
    except (hiredis.ProtocolError, MemoryError) as error:
        raise UsageError("expected commands in the Redis protocol") from error
    if not commands or reader.has_data():
        raise UsageError("expected whole commands, got " + ("a part of one" if commands or raw else "none"))
    if len(commands) > _MOST_COMMANDS:
        raise UsageError(f"expected at most {counted(_MOST_COMMANDS, 'command')} at once, got {len(commands):,}")
    return commands


class FunctionRules:
    """Which commands are served for one town."""

    def __init__(self, base: str, message_limit_bytes: int) -> None:
        self._base = base.encode()
        self._limit_bytes = 2 * message_limit_bytes + 64 * 1024
        self._events = f"{base}:events".encode()
        self._plugins = f"{base}:plugin:".encode()
        self._own = f"{base}:plugin:townhall".encode()
        self._traces = f"{base}:trace:".encode()

    def check(self, commands: Sequence[Words]) -> Asked:
        """What the commands ask for. Raises: HttpError with code ``not_served``; UsageError for arguments that are wrong."""
        scopes: set[Scope] = set()
        changes: list[str] = []
        libraries: dict[str, FunctionLibrary] = {}
        wait_ms = 0
        for words in commands:
            if words[0].upper() == b"FCALL":
                name, library, scope = self._function(words)
                scopes.add(scope)
                if scope != "town.read":
                    changes.append(name)
                libraries[library.name] = library
            else:
                wait_ms = max(wait_ms, self._plain(words))
                scopes.add("town.read")
        libraries.pop(TOWN_LIBRARY.name, None)
        return Asked(commands, frozenset(scopes), changes, tuple(libraries.values()), wait_ms)

    def _function(self, words: Words) -> tuple[str, FunctionLibrary, Scope]:
        found = FUNCTIONS.get(words[1]) if words[2:4] == [b"1", self._base] else None
        if found is None:
            raise _not_served(words[1] if len(words) > 1 else b"")
        name, arguments = found[0], words[4:]
        try:
            for word in arguments:
                if word.strip():
                    check_text("an argument", word.decode(), self._limit_bytes)
            self._check_arguments(name, arguments)
        except (ValueError, IndexError) as error:
            raise UsageError(f"expected the arguments of {name}, got others") from error
        return found

    def _check_arguments(self, name: str, arguments: Words) -> None:
        """Raises: UsageError, ValueError or IndexError for what a person would not call a function with."""
        match name:
            case "send":
                _check_person(arguments[1])
                msgspec.json.decode(arguments[-1], type=Body)  # pyright: ignore[reportArgumentType,reportCallIssue,reportUnknownMemberType]
            case "task_settle":
                _check_person(arguments[3])
                if arguments[4]:
                    raise UsageError("expected no token: it is that of a round")
            case "agent_create":
                check_agent_name(arguments[1].decode())
            case "plugin_set":
                if arguments[1] != record.PLUGIN.encode() or not arguments[2].startswith(record.field_of("").encode()):
                    raise _not_served(b"plugin_set of anything but a question")
                if arguments[6:]:
                    raise _not_served(b"plugin_set with an event")
            case _:
                pass

    def _plain(self, words: Words) -> int:
        """How long a plain command may wait, in milliseconds. Raises: HttpError for one that is not served."""
        command, key = words[0].upper(), words[1] if len(words) > 1 else b""
        match command:
            case b"PING" | b"TIME" | b"INFO" if len(words) == 1:
                return 0
            case b"XRANGE" | b"XREVRANGE" if key == self._events:
                return 0
            case b"EXISTS" if len(words) == 2 and key.startswith(self._traces):
                return 0
            case b"SCAN" if len(words) > 3 and words[2].upper() == b"MATCH" and words[3].startswith(self._traces):
                return 0
            case b"SMEMBERS" if key == self._base + b":plugins":
                return 0
            case b"HGET" if key == self._own and words[2:] == [b"notice"]:
                return 0
            case b"HGET" | b"HGETALL" if key.startswith(self._plugins) and key != self._own:
                return 0
            case b"XREAD" if words[-3:-1] == [b"STREAMS", self._events] and len(words) <= 8:
                options = [word.upper() for word in words]
                block = options[options.index(b"BLOCK") + 1] if b"BLOCK" in options else b"1"
                if block.isdigit() and 0 < int(block) <= _BLOCK_MS:
                    return int(block)
            case _:
                pass
        raise _not_served(words[0])


def _not_served(what: bytes) -> HttpError:
    return HttpError(
        403,
        "not_served",
        f"a townhall does not serve {shown(what.decode('utf-8', 'replace'), 60)}",
        hint="run the command on the town's machine",
    )


def _check_person(word: bytes) -> None:
    if word and word.decode().lower() not in {*SUPERVISOR_NAMES, SUPERVISOR_ID}:
        raise UsageError("expected the supervisor as the sender", hint="only an agent's round speaks for the agent")


class FunctionsEndpoint:
    """The functions over HTTP, an ASGI application."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        town = hall.town
        self._rules = FunctionRules(town.operations.keys.base, town.config.limits.message_bytes)
        self._limit = trio.CapacityLimiter(_AT_ONCE)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await (self._welcome if request.method == "GET" else self._answer)(request)
        except TinytownError as error:
            response = problem_response(error, request.state.request_id)
        except Exception:
            response = fault_response(request.state.request_id)
        await response(scope, receive, send)

    async def _welcome(self, request: Request) -> Response:
        """What the command line has to know of the town."""
        await self._hall.admit(request, "town.read", changes=False)
        town = self._hall.town
        config = town.config
        settings = {
            "name": town.name,
            "auto_claim": config.auto_claim,
            "default_cli": config.default_cli,
            "limits": msgspec.to_builtins(config.limits),
            "roles": msgspec.to_builtins(config.roles),
        }
        return json_response(Welcome(root=str(town.root), version=__version__, schema=SCHEMA, settings=settings))

    async def _answer(self, request: Request) -> Response:
        hall = self._hall
        principal = await hall.admit(request, "town.read", changes=False)
        asked = self._rules.check(read_commands(await read_raw_body(request, body_limit_bytes(hall.town))))
        for scope in sorted(asked.scopes - {"town.read"}):
            principal = await hall.admit(request, scope, changes=True)
        if not asked.changes:
            return await self._run(asked)
        outcome = "error"
        try:
            response = await self._run(asked)
            outcome = str(response.status_code)
        finally:
            path, request_id = f"{PATH} {' '.join(dict.fromkeys(asked.changes))}", request.state.request_id
            await hall.audit(principal, "POST", path, outcome, request_id=request_id)
        return response

    async def _run(self, asked: Asked) -> Response:
        """The server's answers. Raises: ServerUnreachable."""
        for library in asked.libraries:
            await self._hall.town.run(load_library(library))
        town = self._hall.town
        address = address_of(town.root, town.config)
        tls = address.ssl_context() if address.scheme == "rediss" else None
        async with self._limit:
            try:
                with trio.fail_after(_ANSWER_S + asked.wait_ms / 1000):
                    connection = await open_connection(address, tls)
                    try:
                        return Response(await _exchange(connection.stream, asked.commands), media_type=MEDIA_TYPE)
                    finally:
                        await trio.aclose_forcefully(connection.stream)
            except (trio.TooSlowError, trio.BrokenResourceError) as error:
                raise ServerUnreachable("the town's server did not answer in time") from error


async def _exchange(stream: trio.abc.Stream, commands: Sequence[Words]) -> bytes:
    await stream.send_all(b"".join(pack(tuple(words)) for words in commands))
    reader, missing, received = hiredis.Reader(notEnoughData=_MORE), len(commands), bytearray()
    while missing:
        data = await stream.receive_some(_CHUNK_BYTES)
        if not data:
            raise trio.BrokenResourceError
        received += data
        reader.feed(bytes(data))
        while missing and reader.gets() is not _MORE:
            missing -= 1
    return bytes(received)
