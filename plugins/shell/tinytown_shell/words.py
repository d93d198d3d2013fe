"""From a configured command to the words that are run, without a shell. Pure."""

from __future__ import annotations

import re
import shlex

_OPERATOR = re.compile(r";|\|{1,2}|&{1,2}|<{1,2}|>{1,2}")
_EXPANSION = re.compile(r"\$(?:[A-Za-z_]\w*|[({])|`")


def split_words(command: str) -> tuple[str, ...]:
    """The words of a command, split as a shell does. Raises: ValueError for an open quotation mark."""
    return tuple(shlex.split(command))


def shell_syntax(command: str) -> str:
    """The first thing in a command that only a shell understands, such as ``|`` or ``$HOME``; empty if there is none.

    What is quoted, or stands behind a backslash, is text to a shell too.
    """
    quote, position = "", 0
    while position < len(command):
        character = command[position]
        if quote == "'":
            quote = "" if character == "'" else quote
        elif character == "\\":
            position += 1
        elif found := _EXPANSION.match(command, position) or (not quote and _OPERATOR.match(command, position)):
            return found[0]
        elif character in "'\"":
            quote = "" if quote else character
        position += 1
    return ""
