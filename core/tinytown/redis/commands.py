"""redis-py's commands on a link, for plugins and tools: the values and exceptions that redis-py's own clients give.

The only module that knows redis-py. It turns bytes and `ErrorReply` values into what redis-py would have answered; the
link's own failures (ServerUnreachable, Unconfirmed, LimitReached) stay what they are. `redis._parsers` is not public:
the dependency is pinned, and a contract test compares every shape with redis-py's blocking client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

from redis._parsers.base import BaseParser
from redis._parsers.encoders import Encoder
from redis._parsers.response_callbacks import get_response_callbacks
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.commands import AsyncCoreCommands
from redis.exceptions import RedisError

from tinytown.errors import UsageError
from tinytown.protocol.keys import Keys
from tinytown.protocol.operation import Argument, ErrorReply, Reply
from tinytown.redis.link import Link

_CALLBACKS: dict[str, Callable[..., Any]] = {
    name.upper(): callback for name, callback in get_response_callbacks(3, legacy_responses=False).items()
}

# redis-py leaves these two without types.
_parse_error = cast("Callable[[str], RedisError]", BaseParser.parse_error)  # pyright: ignore[reportUnknownMemberType]
_new_encoder = cast("Callable[[str, str, bool], Encoder]", Encoder)

#: Commands that would change the connection for all who share it, or that answer with more or less than one reply.
_NOT_ON_A_SHARED_LINK = frozenset(
    "AUTH DISCARD EXEC HELLO MONITOR MULTI PSUBSCRIBE PSYNC PUNSUBSCRIBE QUIT RESET SELECT SSUBSCRIBE SUBSCRIBE"
    " SUNSUBSCRIBE SYNC UNSUBSCRIBE UNWATCH WATCH".split()
)
#: Commands that hold up everybody behind them.
_BLOCKING = frozenset("BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN WAIT WAITAOF".split())


class PluginRedis(AsyncCoreCommands):
    """redis-py's async commands for one plugin, answered over `link` with redis-py's unified shapes. Made by `Town.redis`.

    Strings come as `str` (bytes that are not UTF-8 as lone surrogates). The keys that `key` gives lie in the town's slot, go
    with `tt reset`, and are neither saved by `tt save` nor bounded by the town: give them a time to live. Pub/sub belongs to the
    link; MULTI and WATCH have no place on a shared connection, a script or a function does the same in one step.

    Raises: redis.exceptions for error replies, UsageError for a command that a shared link cannot carry. Since hook API 2.
    """

    _event_dispatcher: Any = None  # declared by redis-py for its connection pools; no command uses it
    _is_async_client: Literal[True] = True  # what redis-py's types tell its async commands by

    def __init__(self, link: Link, keys: Keys, plugin: str) -> None:
        self._link, self._keys, self._plugin = link, keys, plugin
        self._encoder = _new_encoder("utf-8", "surrogateescape", True)
        self._encode = cast("Callable[[Any], bytes | bytearray | memoryview]", self._encoder.encode)  # pyright: ignore[reportUnknownMemberType]

    def key(self, name: str) -> str:
        """``tt:{town}:plugin:PLUGIN:NAME``. Raises: UsageError for an illegal name."""
        return self._keys.plugin_key(self._plugin, name)

    def get_encoder(self) -> Encoder:
        """What redis-py's scripts ask for."""
        return self._encoder

    def get_connection_kwargs(self) -> dict[str, Any]:
        """What SLOWLOG GET asks before it chooses between bytes and text."""
        return {"decode_responses": True}

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """One command as redis-py's methods spell it, and what they make of the reply."""
        (reply,) = await self._link.replies([self.words(args)])
        return self.shape(reply, args[0], options)

    def words(self, args: tuple[Any, ...]) -> tuple[Argument, ...]:
        """The words to send. Raises: DataError for a value that has no bytes; UsageError."""
        name = args[0].decode() if isinstance(args[0], bytes) else str(args[0])
        words = (*name.encode().split(), *map(bytes, map(self._encode, args[1:])))
        verb = words[0].decode("utf-8", "replace").upper()
        if verb in _NOT_ON_A_SHARED_LINK or (verb == "CLIENT" and words[1:2] and words[1].upper() == b"REPLY"):
            raise UsageError(
                f"{verb} would change a connection that others share",
                hint="use Link.subscribe for messages, and a script or a function for what has to happen in one step",
            )
        if verb in _BLOCKING or (verb in ("XREAD", "XREADGROUP") and b"BLOCK" in map(bytes.upper, words)):
            raise UsageError(f"{verb} would hold up a connection that others share", hint="ask again later instead")
        return words

    def shape(self, reply: Reply, name: Any, options: dict[str, Any]) -> Any:
        """What redis-py's client would return for `reply` to the command `name`; raises what it would raise."""
        value = self._value(reply, decode=NEVER_DECODE not in options)
        if isinstance(value, Exception):
            if EMPTY_RESPONSE in options:
                return options[EMPTY_RESPONSE]
            raise value
        callback = _CALLBACKS.get(str(name).upper())
        if callback is None:
            return value
        return callback(value, **{k: v for k, v in options.items() if k not in (NEVER_DECODE, EMPTY_RESPONSE, "keys")})

    def _value(self, reply: Reply, *, decode: bool) -> Any:
        match reply:
            case ErrorReply():
                return _parse_error(reply.text)
            case bytes() if decode:
                return reply.decode("utf-8", "surrogateescape")
            case list():
                return [self._value(item, decode=decode) for item in cast("Any", reply)]
            case dict():
                items = cast("Any", reply).items()
                return {self._value(k, decode=decode): self._value(v, decode=decode) for k, v in items}
            case _:
                return reply
