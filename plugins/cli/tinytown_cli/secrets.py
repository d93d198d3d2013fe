"""Where secrets of settings are: in an environment variable or a file, looked up when they are used, and kept off screens."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tinytown.errors import ConfigError

_LONGEST_BYTES = 64 << 10
_SEVERAL = re.compile(r"rediss?(\+sentinel://|://[^/]*,)")


def is_reference(text: str) -> bool:
    """Whether a setting says where its value is: ``env:NAME`` or ``file:PATH``."""
    return text.startswith(("env:", "file:")) and not text.startswith("file://")


def look_up(text: str, root: Path) -> str:
    """The value that a setting stands for: ``env:NAME`` a variable's, ``file:PATH`` a file's without white space around it.

    Any other text is the value itself. A relative path begins at the town's root. Raises: ConfigError if it is not there.
    """
    if not is_reference(text):
        return text
    kind, _, name = text.partition(":")
    if kind == "env":
        value = os.environ.get(name, "")
        if not value:
            raise ConfigError(
                f"the variable {name} is not set",
                hint=f"set {name} before the kernel starts, or use file:PATH",
                key=text,
            )
        return value.strip()
    path = root / Path(name).expanduser()
    try:
        with path.open("rb") as file:
            value = file.read(_LONGEST_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}", hint="write the value into it", key=text) from error
    if not value:
        raise ConfigError(f"{path} is empty", hint="write the value into it", key=text)
    return value


def has_password(redis_url: str) -> bool:
    """Whether a ``redis.url`` has a password in it. Raises: ConfigError if it is malformed."""
    from urllib.parse import urlsplit  # late, like the other: few commands come here

    from tinytown.redis import parse_url

    if names_several(redis_url):
        return bool(urlsplit(redis_url).password)  # the rest of it is read by what finds the server
    return bool(parse_url(redis_url).password)


def names_several(redis_url: str) -> bool:
    """Whether a ``redis.url`` names several servers, or sentinels, so that it leads elsewhere after a failover."""
    return _SEVERAL.match(redis_url) is not None


def without_secrets(text: str, *secrets: str) -> str:
    """`text` without these values and without the parts of addresses among them, for logs and screens."""
    parts = {part for secret in secrets for part in (secret, *_parts(secret)) if len(part) > 3}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***")
    return text


def _parts(address: str) -> list[str]:
    """What follows ``://``, in pieces."""
    rest = address.partition("://")[2]
    for mark in "@/?&=:#":
        rest = rest.replace(mark, " ")
    return rest.split()
