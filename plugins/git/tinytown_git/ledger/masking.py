"""Keeps secrets out of the ledger, which is made to be pushed: what looks like one, and the values that the kernel knows. Pure.

Works on encoded lines: nothing that is replaced has a quotation mark in it, so a line stays a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

_MASK = b"***"

#: Credentials that are known by their form: of vendors of models and forges, of clouds and chats, and in addresses and headers.
_FORMS = re.compile(
    rb"\bsk-[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}"
    rb"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bA(?:KIA|SIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}"
    rb"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    rb'|-----BEGIN [A-Z ]*PRIVATE KEY-----[^"]*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?="))'
    rb'|(?<=://)[^\s"/@:\\]*:[^\s"/@\\]+(?=@)|(?i:(?<=authorization: bearer )|(?<=authorization: basic ))[^\s"\\]+'
)
_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)$", re.IGNORECASE)
_SHORTEST = 8


def secret_values(environment: Mapping[str, str], *others: str | None) -> list[bytes]:
    """The values to mask: those of variables with the name of a secret, and `others`, the longest first.

    A value that is short, a path or a plain word would be found where it is none.
    """
    named = [value for name, value in environment.items() if _NAMES.search(name)]
    values = {value for value in (*named, *others) if value and len(value) >= _SHORTEST and not _is_common(value)}
    return [_in_json(value) for value in sorted(values, key=len, reverse=True)]


def _is_common(value: str) -> bool:
    return value.startswith(("/", "~", "./")) or re.fullmatch(r"[a-z_]+|[0-9]+", value) is not None


def _in_json(value: str) -> bytes:
    return msgspec.json.encode(value.encode("utf-8", "replace").decode())[1:-1]


def mask(line: bytes, values: Iterable[bytes]) -> bytes:
    """An encoded line without secrets."""
    for value in values:
        line = line.replace(value, _MASK)
    return _FORMS.sub(_MASK, line)
