"""Contract: whatever redis-py's own blocking client answers, the client on a link answers too."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
import redis
from redis import exceptions
from tinytown.errors import ServerUnreachable, UsageError
from tinytown.protocol.keys import Keys
from tinytown.redis.commands import PluginRedis
from tinytown.redis.link import Link, open_link
from tinytown.redis.url import parse_url

#: Method, arguments, and keyword arguments; run in this order on both, each in a database of its own.
COMMANDS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("ping", (), {}),
    ("echo", ("é",), {}),
    ("set", ("s", "v"), {}),
    ("set", ("s", "w"), {"nx": True}),
    ("set", ("s", "w"), {"get": True}),
    ("set", ("s", b"\x00bytes"), {"ex": 100}),
    ("get", ("s",), {}),
    ("get", ("missing",), {}),
    ("getrange", ("s", 0, 3), {}),
    ("append", ("s", "more"), {}),
    ("strlen", ("s",), {}),
    ("expire", ("s", 50), {}),
    ("persist", ("s",), {}),
    ("ttl", ("missing",), {}),
    ("type", ("s",), {}),
    ("exists", ("s", "missing"), {}),
    ("incrby", ("n", 5), {}),
    ("incrbyfloat", ("f", 1.5), {}),
    ("mset", ({"m1": 1, "m2": "zwei"},), {}),
    ("mget", ("m1", "m2", "missing"), {}),
    ("mget", ([],), {}),
    ("setbit", ("bits", 7, 1), {}),
    ("bitcount", ("bits",), {}),
    ("rename", ("m1", "m3"), {}),
    ("delete", ("m3", "missing"), {}),
    ("rpush", ("l", 1, "two", 3.5), {}),
    ("lrange", ("l", 0, -1), {}),
    ("lpop", ("l", 2), {}),
    ("lpop", ("missing",), {}),
    ("lmove", ("l", "l2"), {}),
    ("lpos", ("l2", "3.5"), {}),
    ("hset", ("h", "a", 1), {}),
    ("hset", ("h",), {"mapping": {"b": 2, "c": "é"}}),
    ("hgetall", ("h",), {}),
    ("hgetall", ("missing",), {}),
    ("hmget", ("h", "a", "z"), {}),
    ("hincrby", ("h", "a", 3), {}),
    ("hkeys", ("h",), {}),
    ("hscan", ("h",), {}),
    ("hrandfield", ("missing", 2), {"withvalues": True}),
    ("sadd", ("set", "x"), {}),
    ("smembers", ("set",), {}),
    ("sismember", ("set", "x"), {}),
    ("smismember", ("set", ["x", "y"]), {}),
    ("sscan", ("set",), {}),
    ("zadd", ("z", {"a": 1, "b": 2.5, "c": float("inf")}), {}),
    ("zadd", ("z", {"a": 1}), {"incr": True}),
    ("zrange", ("z", 0, -1), {}),
    ("zrange", ("z", 0, -1), {"withscores": True}),
    ("zrangebyscore", ("z", 0, 5), {"withscores": True, "start": 0, "num": 1}),
    ("zscore", ("z", "b"), {}),
    ("zscore", ("z", "missing"), {}),
    ("zmscore", ("z", ["a", "missing"]), {}),
    ("zrank", ("z", "b"), {}),
    ("zrank", ("z", "b"), {"withscore": True}),
    ("zpopmin", ("z", 2), {}),
    ("zscan", ("z",), {}),
    ("zincrby", ("z", 2, "c"), {}),
    ("xadd", ("x", {"k": "v"}), {"id": "1-1"}),
    ("xadd", ("x", {"k": "w", "l": 2}), {"id": "2-1"}),
    ("xrange", ("x",), {}),
    ("xread", ({"x": "0"},), {"count": 1}),
    ("xread", ({"x": "9"},), {}),
    ("xgroup_create", ("x", "g", "0"), {}),
    ("xreadgroup", ("g", "me", {"x": ">"}), {"count": 1}),
    ("xpending", ("x", "g"), {}),
    ("xack", ("x", "g", "1-1"), {}),
    ("xlen", ("x",), {}),
    ("xinfo_stream", ("x",), {}),
    ("xinfo_groups", ("x",), {}),
    ("xautoclaim", ("x", "g", "you", 0), {}),
    ("geoadd", ("geo", (13.361389, 38.115556, "Palermo")), {}),
    ("geopos", ("geo", "Palermo", "missing"), {}),
    ("geosearch", ("geo",), {"longitude": 13, "latitude": 38, "radius": 100, "unit": "km", "withdist": True}),
    ("pfadd", ("pf", "a"), {}),
    ("pfcount", ("pf",), {}),
    ("keys", ("m*",), {}),
    ("dbsize", (), {}),
    ("scan", (), {"match": "l*", "count": 1000}),
    ("sort", ("l2",), {"alpha": True}),
    ("object", ("encoding", "n"), {}),
    ("eval", ("return {1, 'two', false, {KEYS[1]}}", 1, "s"), {}),
    ("eval", ("return {ok = 'fine'}", 0), {}),
    ("script_exists", ("0" * 40,), {}),
    ("function_list", (), {}),
    ("config_get", ("maxmemory*",), {}),
    ("config_set", ("maxmemory", 0), {}),
    ("client_getname", (), {}),
    ("client_list", (), {"_type": "replica"}),
    ("command_count", (), {}),
    ("acl_whoami", (), {}),
    ("acl_getuser", ("default",), {}),
    ("slowlog_get", (), {"num": 0}),
    ("pubsub_numsub", ("c",), {}),
    ("flushdb", (), {}),
    # errors
    ("set", ("s", "text"), {}),
    ("incr", ("s",), {}),
    ("lpush", ("s", 1), {}),
    ("xgroup_create", ("missing", "g"), {}),
    ("evalsha", ("0" * 40, 0), {}),
    ("execute_command", ("NO-SUCH",), {}),
    ("execute_command", ("CONFIG GET", "maxmemory"), {}),
    ("set", ("s", None), {}),
    ("set", ("s", True), {}),
]

#: Answers that differ from one moment, or one connection, to the next: only their shape can be compared.
CHANGING: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("info", (), {}),
    ("time", (), {}),
    ("lastsave", (), {}),
    ("client_id", (), {}),
    ("client_info", (), {}),
    ("client_list", (), {}),
    ("memory_stats", (), {}),
    ("role", (), {}),
    ("randomkey", (), {}),
]


@pytest.fixture
def oracle(server: Any) -> Generator[redis.Redis]:
    client = redis.Redis(
        unix_socket_path=server.address.path,
        db=1,
        protocol=3,
        legacy_responses=False,
        decode_responses=True,
        client_name="tinytown",
    )
    with client:
        yield client


def client_of(link: Link) -> PluginRedis:
    return PluginRedis(link, Keys("town"), "rules")


@pytest.fixture
async def link(server: Any) -> AsyncGenerator[Link]:
    async with open_link(parse_url(f"unix://{server.address.path}?db=2")) as link:
        yield link


@pytest.fixture
def client(link: Link) -> PluginRedis:
    return client_of(link)


async def outcome(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    try:
        value = function(*args, **options)
        return await value if inspect.isawaitable(value) else value
    except exceptions.DataError as error:  # hiredis and redis-py's own encoder word it differently
        return type(error)
    except exceptions.RedisError as error:
        return type(error), str(error)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: type(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [shape(item) for item in value[:1]]
    return type(value)


async def test_every_command_answers_what_redis_py_answers(oracle: redis.Redis, client: PluginRedis) -> None:
    for name, args, options in COMMANDS:
        expected = await outcome(getattr(oracle, name), args, dict(options))
        got = await outcome(getattr(client, name), args, dict(options))
        assert got == expected, name
        assert shape(got) == shape(expected), name


async def test_answers_that_change_have_the_shape_that_redis_py_gives_them(
    oracle: redis.Redis, client: PluginRedis
) -> None:
    for name, args, options in CHANGING:
        expected = await outcome(getattr(oracle, name), args, dict(options))
        got = await outcome(getattr(client, name), args, dict(options))
        if name in ("info", "client_info"):
            assert set(got) == set(expected), name
        else:
            assert shape(got) == shape(expected), name


async def test_a_script_is_loaded_when_the_server_has_forgotten_it(client: PluginRedis) -> None:
    script = client.register_script("return tonumber(ARGV[1]) * 2")
    assert await script(args=[21]) == 42
    await client.script_flush()
    assert await script(args=[4]) == 8


async def test_functions_and_iterators_work(client: PluginRedis) -> None:
    await client.function_load(
        "#!lua name=testing\nredis.register_function('twice', function(_, a) return a[1] .. a[1] end)", replace=True
    )
    assert await client.fcall("twice", 0, "ab") == "abab"
    await client.mset({f"key{number}": number for number in range(30)})
    assert len([key async for key in client.scan_iter(match="key*", count=5)]) == 30
    await client.function_delete("testing")


@pytest.mark.parametrize(
    "words",
    ["SUBSCRIBE c", "multi", "WATCH k", "SELECT 3", "HELLO 2", "MONITOR", "CLIENT REPLY OFF", "QUIT", "RESET",
     "BLPOP k 0", "XREAD BLOCK 0 STREAMS x $", "XREADGROUP GROUP g me BLOCK 0 STREAMS x >", "WAIT 1 0"],
)  # fmt: skip
async def test_commands_that_a_shared_link_cannot_carry_are_refused(link: Link, words: str) -> None:
    client = client_of(link)
    with pytest.raises(UsageError, match="others share"):
        await client.execute_command(*words.split())
    assert await client.ping() is True


async def test_the_links_own_failures_stay_what_they_are(server: Any) -> None:
    async with open_link(server.address) as link:
        client = client_of(link)
    with pytest.raises(ServerUnreachable, match="client is closed"):
        await client.ping()
