"""``python -m tinytown_results.check``: one result against its schema.

Both come on standard input; what is wrong goes to standard output. A process of its own, because a pattern of a
schema can take for ever, and would take the kernel with it.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from tinytown_results.schema import problems_with, value_in


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be checked."""

    schema: dict[str, Any]
    text: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of it. Without `problems` the `value` is valid."""

    problems: tuple[str, ...] = ()
    value: Any = None


def checked(submitted: Submitted) -> Checked:
    """What a result says, or what is wrong with it."""
    try:
        value = value_in(submitted.text)
    except ValueError as error:
        return Checked(problems=(str(error),))
    problems = tuple(problems_with(value, submitted.schema))
    return Checked(problems=problems) if problems else Checked(value=value)


if __name__ == "__main__":
    answer = checked(msgspec.json.decode(sys.stdin.buffer.read(), type=Submitted))
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
