"""Text as programs write it for terminals, made plain: without colours, cursor movements and titles. Pure."""

from __future__ import annotations

import re

#: Control sequences. Source: ECMA-48; with the one-character form of CSI.
_SEQUENCE = "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b(?:\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[()][0-9A-B]|[@-Z\\\\-_=>])"
# What is left of them, and what rings, moves back or turns the direction of writing. Other control characters are no
# part of coloured text: a file with them is not text.
_LEFTOVER = "[\x07\x08\x1b\x7f-\x9f\u202a-\u202e\u2066-\u2069]"


def without_sequences(text: str) -> str:
    """`text` without control sequences."""
    return re.sub(_SEQUENCE, "", text)


def plain_text(text: str) -> str:
    """What a person sees of coloured output, fit to be sent. What a carriage return would hide becomes a line of its own."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    lines = without_sequences(text).replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(_LEFTOVER, "", lines)
