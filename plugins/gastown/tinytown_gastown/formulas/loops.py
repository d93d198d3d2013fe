"""The passes of a step's loop, one after the other, and the arithmetic of how many. Pure."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tinytown_gastown.formulas.model import Loop, Step
from tinytown_gastown.formulas.variables import substitute

STEPS = 20_000


def loop_passes(step: Step, loop: Loop, values: Mapping[str, str]) -> tuple[list[Step], tuple[str, ...]]:
    """The steps of all passes of a loop, each pass after the one before it, and what the last pass ends with.

    A loop of no passes ends with what it needs itself.
    """
    if loop.until:
        raise ValueError(
            f"step {step.id!r}: loop.until is evaluated at run time, which is not supported; use count or range"
        )
    numbers = _numbers(step, loop, values)
    made: list[Step] = []
    before: tuple[str, ...] = (*step.needs, *step.depends_on)
    own = {inner.id for inner in loop.body}
    for turn, number in enumerate(numbers, 1):
        prefix = f"{step.id}.iter{turn}."
        first, last = before, tuple(f"{prefix}{inner.id}" for inner in loop.body if not _needed_in(inner.id, loop.body))
        for inner in loop.body:
            inside = tuple(f"{prefix}{need}" if need in own else need for need in (*inner.needs, *inner.depends_on))
            needs = inside if set(inner.needs + inner.depends_on) & own else (*first, *inside)
            replaced = {loop.var: str(number)} if loop.var else {}
            made.append(
                msgspec.structs.replace(
                    inner, id=f"{prefix}{inner.id}", needs=needs, depends_on=(),
                    title=substitute(inner.title, replaced), description=substitute(inner.description, replaced),
                )
            )  # fmt: skip
        before = last
    return made, before


def _needed_in(id_: str, steps: Sequence[Step]) -> bool:
    return any(id_ in (*step.needs, *step.depends_on) for step in steps)


def _numbers(step: Step, loop: Loop, values: Mapping[str, str]) -> range:
    try:
        if loop.count is not None:
            return _bounded(range(1, _calculated(str(loop.count), values) + 1))
        low, dots, high = loop.range.partition("..")
        if dots:
            return _bounded(range(_calculated(low, values), _calculated(high, values) + 1))
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"step {step.id!r}: invalid loop: {error}") from error
    raise ValueError(f"step {step.id!r}: expected count or range = 'a..b' of its loop")


def _bounded(numbers: range) -> range:
    if len(numbers) > STEPS:
        raise ValueError(f"{len(numbers):,} passes exceed the limit")
    return numbers


_OPERATORS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a // b,
    ast.Pow: lambda base, exponent: base**exponent if 0 <= exponent <= 64 and abs(base) <= 64 else _too_large(),
}


def _too_large() -> int:
    raise ValueError("a power is too large")


def _calculated(text: str, values: Mapping[str, str]) -> int:
    """The value of an expression of whole numbers, ``+ - * / ^`` and parentheses, with ``{name}`` for variables."""
    filled = re.sub(r"\{+\s*(\w+)\s*\}+", lambda match: values.get(match[1], match[0]), text).replace("^", "**")
    if len(filled) > 200:
        raise ValueError("an expression of more than 200 characters")

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        raise ValueError(f"expected whole numbers and + - * / ^, got {text.strip()!r}")

    try:
        return value(ast.parse(filled.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, RecursionError) as error:
        raise ValueError(f"expected whole numbers and + - * / ^, got {text.strip()!r}") from error
