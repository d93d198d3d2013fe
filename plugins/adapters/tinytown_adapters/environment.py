"""What an agent's CLI finds in its environment: the round's, without what looks like a secret and is not its own. Pure.

This keeps secrets out of sight, it does not lock them away: the CLI runs as the same user and can read the same files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from tinytown.config import PASSWORD_VARIABLE, URL_VARIABLE

_SECRET_WORD = re.compile(
    r"(^|_)(KEYS?|TOKENS?|SECRETS?|PASSPHRASE|CREDENTIALS?|PASSWD|PWD|PAT|COOKIES?|AUTH)(_|$)|PASSWORD|SECRET|APIKEY|TOKEN$"
)
_NO_SECRETS = {"PWD", "OLDPWD", "SSH_AUTH_SOCK"}
_URL_PASSWORD = re.compile(r"(?<=://)([^/?#\s@]*):[^/?#\s]*@")


def is_secret(name: str, value: str = "") -> bool:
    """Whether a variable is taken for a secret: by its name (``..._KEY``, ``..._TOKEN``), or as a URL with a password in it."""
    if name.startswith("TINYTOWN_"):  # with these `tt` says who is calling; the password of the server is not for it
        return name == PASSWORD_VARIABLE
    upper = name.upper()
    return upper not in _NO_SECRETS and (bool(_SECRET_WORD.search(upper)) or bool(_URL_PASSWORD.search(value)))


def inherited(environment: Mapping[str, str], allowed: Iterable[str], refused: Iterable[str] = ()) -> dict[str, str]:
    """Of the kernel's `environment`, which a round does not get, what matches a pattern in `allowed`, such as a vendor's key,
    and none in `refused`."""

    def matches(name: str, patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    wanted, unwanted = tuple(allowed), tuple(refused)
    return {name: value for name, value in environment.items() if matches(name, wanted) and not matches(name, unwanted)}


def cli_environment(
    environment: Mapping[str, str], *, allowed: Iterable[str] = (), added: Mapping[str, str] | None = None
) -> dict[str, str]:
    """`environment` without secrets but those whose name matches a pattern in `allowed`, and with what is `added`.

    REDIS_URL loses its password and stays: without it `tt` would look for another server and find another town.
    """
    patterns = tuple(allowed)
    kept: dict[str, str] = {}
    for name, value in environment.items():
        if not is_secret(name, value) or any(fnmatchcase(name, pattern) for pattern in patterns):
            kept[name] = value
        elif name == URL_VARIABLE:
            kept[name] = without_password(value)
    return kept | dict(added or {})


def without_password(url: str) -> str:
    """A URL whose password has been left out; one that cannot be read becomes the bare name of its scheme."""
    try:
        urlsplit(url)
    except ValueError:
        return url.partition("://")[0] + "://"
    return _URL_PASSWORD.sub(lambda found: f"{found[1]}@" if found[1] else "", url)
