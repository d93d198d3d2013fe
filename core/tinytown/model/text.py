"""Text that is safe to show: on one line, without control characters, counted, bounded. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tinytown.errors import UsageError

# Everything a terminal or a prompt could take for more than text: C0 but tab and newlines, DEL, C1, bidi overrides.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def shown(text: str, limit: int = 80) -> str:
    """`text` on one line, safe for a terminal, at most `limit` characters long: for error messages and tables."""
    flat = " ".join(escape_control(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def counted(count: int, thing: str) -> str:
    """A number of things in words: ``1 task``, ``0 tasks``, ``1,200 tasks``."""
    return f"{count:,} {thing}" + "s" * (count != 1)


def escape_control(text: str) -> str:
    """`text` with every character that a terminal might obey written as an escape; tabs and newlines stay."""
    visible = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    return _SURROGATE.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", visible)


def check_utf8(text: str) -> str:
    """`text` itself unless it holds lone surrogates, as the undecodable bytes of a command line arrive."""
    if _SURROGATE.search(text):
        raise UsageError(f"expected UTF-8 text, got other bytes in {shown(text)!r}")
    return text


def check_text(what: str, text: str, limit_bytes: int) -> str:
    """`text` itself, fit to be stored and put into a prompt.

    Raises UsageError when it is empty, longer than `limit_bytes` as UTF-8, not UTF-8 at all (undecodable bytes of a
    command line arrive as lone surrogates) or holds control characters other than tab and newlines.
    """
    if not text.strip():
        raise UsageError(f"expected {what}, got an empty text")
    if _SURROGATE.search(text):
        raise UsageError(
            f"expected {what} as UTF-8 text, got other bytes", hint="convert it, or name a file in the text"
        )
    if match := _CONTROL.search(text):
        raise UsageError(
            f"expected {what} as plain text, got the control character U+{ord(match[0]):04X}",
            hint="only tabs and newlines are allowed",
        )
    size = len(text.encode())
    if size > limit_bytes:
        raise UsageError(
            f"expected {what} of at most {limit_bytes:,} bytes, got {size:,}",
            hint="put it into a file and name the file",
            code="limit_reached",
        )
    return text


def check_one_of(what: str, text: str, known: Sequence[str]) -> str:
    """`text` itself if it is one of the `known` words; for values that a type checker did not see."""
    if text not in known:
        raise UsageError(f"expected {what}, got {shown(text)!r}", hint=f"one of {', '.join(known)}")
    return text
