"""How many columns of a terminal a text takes, and texts cut or filled to a width. Pure."""

from __future__ import annotations

import unicodedata


def fit(text: str, width: int) -> str:
    """The text in exactly `width` columns: cut with an ellipsis, or padded with blanks."""
    if columns(text) > width:
        text = cut(text, max(0, width - 1)) + ("…" if width else "")
    return text + " " * (width - columns(text))


def columns(text: str) -> int:
    """The columns of a terminal that the text takes."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The text, cut to at most `width` columns."""
    if columns(text) <= width:
        return text
    taken = 0
    for at, character in enumerate(text):
        taken += _columns_of(character)
        if taken > width:
            return text[:at]
    return text
