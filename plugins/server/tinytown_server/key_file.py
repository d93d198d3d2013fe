"""The town's key: the password of its embedded server, in a file of the data directory that only this user can read.

Whoever can read it may do everything in the town. It is never an argument, a variable, or part of a URL.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from tinytown.files import draft_of

from tinytown_server.data_directory import not_writable

NAME = "key"

_KEY = re.compile(r"[A-Za-z0-9_-]{32,}")


def read(directory: Path) -> str:
    """The key of the server in `directory`; empty if there is none, or none that is whole."""
    with suppress(OSError, UnicodeDecodeError):
        with open(os.open(directory / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="ascii") as file:
            text = file.read().strip()
        return text if _KEY.fullmatch(text) else ""
    return ""


def make(directory: Path) -> str:
    """The key of the server in `directory`, made if there is none: of several who make one at once, one makes it.

    Raises: ServerUnreachable with code ``directory_not_writable``.
    """
    path = directory / NAME
    try:
        if key := read(directory):
            path.chmod(0o600)
            return key
        with draft_of(path, secrets.token_urlsafe(32), 0o600) as draft:
            try:
                os.link(draft, path)
            except FileExistsError:
                if not read(directory):  # a part of one, or a link
                    draft.replace(path)
    except OSError as error:
        raise not_writable(directory, error.strerror or str(error)) from error
    return read(directory)
