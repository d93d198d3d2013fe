# What type checkers see of this package, whose names are imported when they are first used.

from tinytown.redis.commands import PluginRedis as PluginRedis
from tinytown.redis.connect import Connection as Connection, open_connection as open_connection
from tinytown.redis.locate import address_of as address_of, ensure_server as ensure_server, town_server as town_server
from tinytown.redis.resp import (
    Parser as Parser,
    check_handshake as check_handshake,
    connect_error as connect_error,
    is_push as is_push,
    pack as pack,
    unconfirmed as unconfirmed,
)
from tinytown.redis.url import Address as Address, parse_url as parse_url, redact as redact
