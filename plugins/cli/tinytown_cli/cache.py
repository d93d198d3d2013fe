"""Small files in the user's cache directory, ``$XDG_CACHE_HOME/tinytown/``: what is too slow to find out for each command.

A file that is damaged, or that others may write, is ignored. Quick to import: the standard library alone.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import sys
import zlib
from typing import Any


def cache_file(name: str) -> str | None:
    """Where this Python caches what is known under `name`; None without a home directory."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        cache = os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(cache):
        return None
    return os.path.join(cache, "tinytown", f"{name}-{zlib.crc32(os.fsencode(sys.executable)):08x}")


def read_cache(path: str) -> Any:
    """The value of a file made by `write_cache`; None unless it is whole and only this user may write it."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return None
            checksum, raw = file.read(4), file.read()
            return marshal.loads(raw) if checksum == _checksum(raw) else None
    except (OSError, ValueError, TypeError, EOFError):
        return None


def write_cache(path: str, content: Any) -> None:
    """Replace the file as a whole, so that another process reads the old or the new one. Never raises OSError.

    `content` is of numbers, texts, lists and dicts. In `marshal`'s form: importing `json` costs a quick command 2 ms.
    """
    partial, raw = f"{path}.{os.getpid()}", marshal.dumps(content)
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "wb") as file:
                file.write(_checksum(raw) + raw)
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial)
            raise


def _checksum(raw: bytes) -> bytes:
    return zlib.crc32(raw).to_bytes(4, "big")
