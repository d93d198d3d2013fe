from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from tinytown.errors import UsageError
from tinytown.protocol.keys import Keys
from tinytown.redis.commands import PluginRedis
from tinytown.redis.link import open_link

from tests.redis.conftest import Server


@pytest.fixture
async def redis(server: Server) -> AsyncGenerator[PluginRedis]:
    async with open_link(server.address) as link:
        yield PluginRedis(link, Keys("town"), "rules")


async def test_a_plugin_has_keys_of_its_own_below_the_town_for_all_commands_of_redis_py(redis: PluginRedis) -> None:
    assert redis.key("hits") == "tt:{town}:plugin:rules:hits"
    assert await redis.incrby(redis.key("hits"), 2) == 2
    assert await redis.get(redis.key("hits")) == "2"
    assert await redis.sadd(redis.key("seen"), "a", "b") == 2
    assert await redis.smembers(redis.key("seen")) == {"a", "b"}


@pytest.mark.parametrize("name", ["", "a:b", "a b", "*"])
async def test_an_illegal_name_of_a_key_is_refused(redis: PluginRedis, name: str) -> None:
    with pytest.raises(UsageError, match="expected a key"):
        redis.key(name)


async def test_a_command_that_others_on_the_connection_would_notice_is_refused(redis: PluginRedis) -> None:
    with pytest.raises(UsageError, match="others share"):
        await redis.blpop(redis.key("queue"), timeout=1)
