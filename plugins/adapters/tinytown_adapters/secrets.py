"""The values of secrets that this process knows, and how they are masked in what others are shown or what is kept.

A model that prints its environment has sent its key to its vendor anyway; what is masked here is what a town would spread and
keep: results, mail, events, transcripts, logs. A secret that was changed by a letter, or encoded, is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import msgspec

from tinytown_adapters.environment import is_secret

MASK = "***"
#: Shorter values are in too many words.
_SHORTEST = 8


class Secrets:
    """Some values, each as it is and as JSON would have it; of several lines, each of them, too: output comes in lines."""

    def __init__(self, values: Iterator[str]) -> None:
        parts = (part for value in values for part in (value, *_lines(value)))
        kept = {part for part in parts if _may_be_masked(part)}
        kept |= {msgspec.json.encode(value).decode()[1:-1] for value in kept}
        longest_first = sorted(kept, key=lambda value: (-len(value), value))
        self._text = re.compile("|".join(map(re.escape, longest_first))) if kept else None
        self._bytes = re.compile(b"|".join(re.escape(value.encode()) for value in longest_first)) if kept else None

    def masked(self, text: str) -> str:
        """The text with ``***`` in place of each of them."""
        return self._text.sub(MASK, text) if self._text else text

    def masked_bytes(self, content: bytes) -> bytes:
        """The same for bytes."""
        return self._bytes.sub(MASK.encode(), content) if self._bytes else content


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


def _lines(value: str) -> list[str]:
    """The lines of a value of several, such as a key, without those that begin and end it."""
    return [line for line in value.splitlines() if not line.startswith("-----")]
