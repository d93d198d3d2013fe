"""The values of secrets that this process knows, and how they are masked in what others are shown or what is kept.

A model that prints its environment has sent its key to its vendor anyway; what is masked here is what a town would spread and
keep: results, mail, events, transcripts, logs. A secret that was changed by a letter, or encoded, is not found.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import msgspec

from tinytown_adapters.environment import is_secret

MASK = "***"
#: Shorter values are in too many words.
_SHORTEST = 8
_CHUNK_BYTES = 1 << 20


class Secrets:
    """Some values, each as it is and as JSON would have it."""

    def __init__(self, values: Iterator[str]) -> None:
        kept = {value for value in values if _may_be_masked(value)}
        kept |= {msgspec.json.encode(value).decode()[1:-1] for value in kept}
        self._longest = max((len(value.encode()) for value in kept), default=0)
        longest_first = sorted(kept, key=lambda value: (-len(value), value))
        self._text = re.compile("|".join(map(re.escape, longest_first))) if kept else None
        self._bytes = re.compile(b"|".join(re.escape(value.encode()) for value in longest_first)) if kept else None

    def masked(self, text: str) -> str:
        """The text with ``***`` in place of each of them."""
        return self._text.sub(MASK, text) if self._text else text

    def masked_bytes(self, content: bytes) -> bytes:
        """The same for bytes."""
        return self._bytes.sub(MASK.encode(), content) if self._bytes else content

    def mask_file(self, path: Path, *, from_byte: int = 0) -> None:
        """Mask a file in place, from a place on: each value becomes as many stars, so that no byte moves. Raises: OSError."""
        if self._bytes is None:
            return
        with open(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b", buffering=0) as file:
            place = from_byte if from_byte <= os.fstat(file.fileno()).st_size else 0
            while content := os.pread(file.fileno(), _CHUNK_BYTES, place):
                for found in self._bytes.finditer(content):
                    os.pwrite(file.fileno(), b"*" * len(found[0]), place + found.start())
                if len(content) < _CHUNK_BYTES:
                    return
                place += len(content) - self._longest  # one may lie across two pieces


def known_secrets(environment: Mapping[str, str], *settings: object) -> Secrets:
    """The secrets among the variables of an environment and among the members of settings, both by their names, and the
    passwords in URLs."""
    return Secrets(value for pairs in (environment, *settings) for value in _secrets_in(pairs))


def _secrets_in(node: object) -> Iterator[str]:
    if not isinstance(node, Mapping):
        return
    for name, value in cast("Mapping[str, Any]", node).items():
        if isinstance(value, str) and is_secret(name, value):
            yield _password_of(value) or value
        else:
            yield from _secrets_in(value)


def _password_of(value: str) -> str:
    """The password in a URL; empty for anything else."""
    if "://" not in value:
        return ""
    try:
        return unquote(urlsplit(value).password or "")
    except ValueError:
        return ""


def _may_be_masked(value: str) -> bool:
    """Whether the value is one that only a secret would have: neither short, nor a word, nor a path."""
    return len(value) >= _SHORTEST and not value.isalpha() and not value.startswith(("/", "~"))
