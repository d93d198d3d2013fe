"""Which server is the primary, by a URL that names several: their own addresses, or those of Redis Sentinels that know it.

A resolver of the core's group ``tinytown.resolvers``: asked before every attempt to connect, so that a failover is followed.
Blocking, quick to import. Source: Redis Sentinel client guidelines (``SENTINEL GET-MASTER-ADDR-BY-NAME``, then ask the server
itself for its role).
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import msgspec
from tinytown.errors import ConfigError, ServerUnreachable, TinytownError
from tinytown.protocol import ErrorReply, Reply
from tinytown.redis import Address, Parser, connect_error, is_push, pack

#: Gives the password of the sentinels without writing it into a file.
SENTINEL_PASSWORD_VARIABLE = "TINYTOWN_SENTINEL_PASSWORD"

_SENTINEL_PORT = 26379
#: One that is not there must not keep the others waiting.
_ANSWER_S = 1.0
_RECEIVE_SIZE_BYTES = 64 * 1024
_FORMS = (
    "redis://HOST:PORT,HOST:PORT/DB for servers, or redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB for sentinels; "
    "rediss for TLS"
)


def find_primary(url: str, read_address: Callable[[str], Address]) -> Address:
    """The address of the primary. `read_address` reads the URL of one server, with the password and certificates of the settings.

    Raises: ConfigError for a malformed URL; ServerUnreachable with code ``no_primary`` if none of the addresses leads to one.
    """
    match = re.fullmatch(r"(rediss?)(\+sentinel)?://(?:(.*)@)?([^/@]+)(?:/([^?]*))?(\?.*)?", url.strip(), re.DOTALL)
    if match is None or not all(match[4].split(",")):
        raise _malformed("expected hosts between commas")
    scheme, by_sentinel, user, hosts, path, options = match.groups(default="")
    login, names = f"{user}@" if user else "", hosts.split(",")
    if not by_sentinel:
        servers = [read_address(f"{scheme}://{login}{name}/{path}{options}") for name in names]
        return _first_primary(servers, "server")
    service, _, database = path.partition("/")
    if not service:
        raise _malformed("the name of the service is missing behind the addresses of the sentinels")
    password = os.environ.get(SENTINEL_PASSWORD_VARIABLE) or None
    sentinels = [
        msgspec.structs.replace(address, password=password, port=address.port if _has_port(name) else _SENTINEL_PORT)
        for name in names
        for address in [read_address(f"{scheme}://{name}")]
    ]
    server = read_address(f"{scheme}://{login}{names[0]}/{database}{options}")
    return _ask_sentinels(sentinels, service, server)


def _ask_sentinels(sentinels: Sequence[Address], service: str, server: Address) -> Address:
    """The primary that most recently came to be, according to the first sentinel whose answer is right."""
    failures: list[str] = []
    for sentinel in sentinels:
        try:
            (answer,) = _ask(sentinel, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service))
            if answer is None:
                failures.append(f"{sentinel.redacted}: knows no service {service!r}")
                continue
            host, port = (part.decode() for part in answer)
            return _first_primary([msgspec.structs.replace(server, host=host, port=int(port))], "server")
        except (ValueError, TypeError):
            failures.append(f"{sentinel.redacted}: is no sentinel")
        except TinytownError as error:
            failures.append(error.message)
    raise _no_primary(f"no sentinel knows a primary of {service!r}", failures)


def _first_primary(servers: Sequence[Address], what: str) -> Address:
    """The first of the servers that is a primary."""
    failures: list[str] = []
    for server in servers:
        try:
            (answer,) = _ask(server, ("ROLE",))
            role = answer[0].decode()
        except (ValueError, TypeError, AttributeError, IndexError):
            role = "of an unknown role"
        except TinytownError as error:
            failures.append(error.message)
            continue
        if role == "master":
            return server
        failures.append(f"{server.redacted}: is {'a replica' if role == 'slave' else role}")
    raise _no_primary(
        f"none of {len(servers)} addresses is a primary" if len(servers) > 1 else f"no primary {what}", failures
    )


def _ask(address: Address, *commands: tuple[str, ...]) -> list[Reply]:
    """The answers of a server to some commands. Raises: ServerUnreachable."""
    hello = [command for command in address.handshake() if command[0] == "HELLO"]
    deadline = time.monotonic() + _ANSWER_S
    parser, answers = Parser(address), list[Any]()
    try:
        with closing(_open(address)) as connection:
            connection.sendall(b"".join(pack(command) for command in (*hello, *commands)))
            while len(answers) < len(hello) + len(commands):
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                data = connection.recv(_RECEIVE_SIZE_BYTES)
                if not data:
                    raise ServerUnreachable(f"{address.redacted}: closed the connection")
                answers += [reply for reply in parser.replies(data) if not is_push(reply)]
    except OSError as error:
        raise connect_error(error, address) from error
    for answer in answers:
        if isinstance(answer, ErrorReply):
            raise ServerUnreachable(f"{address.redacted}: {answer.text}", code="server_refused") from answer
    return answers[len(hello) :]


def _open(address: Address) -> socket.socket:
    connection = socket.create_connection((address.host, address.port), _ANSWER_S)
    if address.scheme != "rediss":
        return connection
    try:
        return address.ssl_context().wrap_socket(connection, server_hostname=address.host)
    except BaseException:
        connection.close()
        raise


def _has_port(name: str) -> bool:
    return re.search(r":\d+$", name) is not None


def _no_primary(what: str, failures: Sequence[str]) -> ServerUnreachable:
    return ServerUnreachable(
        f"{what}: {'; '.join(failures)}", hint="check redis.url; a failover takes some seconds", code="no_primary"
    )


def _malformed(why: str) -> ConfigError:
    """Without the URL, which may hold a password."""
    return ConfigError(f"cannot read redis.url: {why}", hint=f"expected {_FORMS}", key="redis.url")
