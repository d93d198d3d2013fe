"""Text that is safe to show: on one line, without control characters, counted, bounded. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tinytown.errors import UsageError

# Patterns as text, compiled when a text first needs them, which costs a quick command 1 ms.
# What a terminal or a prompt could take for more than text: C0 but tab and newlines, DEL, C1, bidi. Then also what nobody sees.
_CONTROL = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]"
_UNSEEN = (
    "[\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028\u2029\u2060-\u206f\u3164\ufeff\uffa0\U000e0000-\U000e01ef]"
)
_HIDDEN = f"{_CONTROL}|\r(?!\n)|{_UNSEEN}"
_SURROGATE = "[\ud800-\udfff]"


def shown(text: str, limit: int = 80) -> str:
    """`text` on one line, safe for a terminal, at most `limit` characters long: for error messages and tables."""
    flat = " ".join(escape_control(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def counted(count: int, thing: str) -> str:
    """A number of things in words: ``1 task``, ``0 tasks``, ``1,200 tasks``."""
    return f"{count:,} {thing}" + "s" * (count != 1)


def escape_control(text: str) -> str:
    """`text` with every character that a terminal might obey, or nobody sees, as an escape; tabs and newlines stay."""
    if _is_plain(text):
        return text
    visible = re.sub(_HIDDEN, lambda match: match[0].encode("unicode_escape").decode(), text)
    return re.sub(_SURROGATE, lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", visible)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.replace("\n", "").isprintable()


def fenced(text: str, limit: int, where: str = "") -> str:
    """`text` verbatim between fences that it cannot close, cut to `limit` characters with a note `where` to read the rest."""
    text = text.strip("\n")
    escaped = re.sub("(`{60})`+", r"\1…", escape_control(text[:limit]))  # fences would have to be longer still
    kept = escaped[:limit]
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", kept)), default=0))
    rest = f"; the rest: {where}" if where else ""
    is_cut = len(text) > limit or len(escaped) > limit
    note = f"\n(cut here, after {limit:,} of {len(text):,} characters{rest})" if is_cut else ""
    return f"{fence}text\n{kept}\n{fence}{note}"


def check_utf8(text: str) -> str:
    """`text` itself unless it holds lone surrogates, as the undecodable bytes of a command line arrive."""
    if not text.isascii() and re.search(_SURROGATE, text):
        raise UsageError(f"expected UTF-8 text, got other bytes in {shown(text)!r}")
    return text


def check_text(what: str, text: str, limit_bytes: int) -> str:
    """`text` itself, fit to be stored and put into a prompt.

    Raises UsageError when it is empty, longer than `limit_bytes`, not UTF-8, or has control characters but tabs and newlines.
    """
    if not text.strip():
        raise UsageError(f"expected {what}, got an empty text")
    if not text.isascii() and re.search(_SURROGATE, text):
        raise UsageError(
            f"expected {what} as UTF-8 text, got other bytes", hint="convert it, or name a file in the text"
        )
    if not _is_plain(text) and (match := re.search(_CONTROL, text)):
        raise UsageError(
            f"expected {what} as plain text, got the control character U+{ord(match[0]):04X}",
            hint="only tabs and newlines are allowed",
        )
    if (size := len(text.encode())) > limit_bytes:
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
