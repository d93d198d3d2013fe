"""Variables of a formula: checked against their declarations, and filled into texts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tinytown.errors import UsageError

from tinytown_gastown.formulas.model import Formula, Variable
from tinytown_gastown.formulas.patterns import fits_pattern

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_COMPARISON = re.compile(r"(!?)\s*\{\{\s*([A-Za-z_]\w*)\s*\}\}\s*(?:(==|!=)\s*(.*?))?\s*")
_MARKED = re.compile(r"\{([A-Za-z_][\w.]*)\}")
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def parse_values(words: Sequence[str]) -> dict[str, str]:
    """The values of ``--var NAME=VALUE``. Raises: UsageError."""
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"expected --var NAME=VALUE, got {word[:80]!r}")
        if name in values:
            raise UsageError(f"expected a value for {name!r} once, got it twice")
        values[name] = value
    return values


def resolve_variables(formula: Formula, given: Mapping[str, str], *, strict: bool) -> dict[str, str]:
    """The value of every variable that has one. Raises: UsageError for an undeclared name, an invalid value,
    and, if `strict`, for all missing ones at once.
    """
    declared = formula.variables
    if unknown := [name for name in given if name not in declared]:
        known = ", ".join(declared) or "it has none"
        raise UsageError(
            f"formula {formula.formula} has no variable {unknown[0][:80]!r}", hint=f"its variables: {known}"
        )
    values: dict[str, str] = {}
    for name, variable in declared.items():
        if name in given:
            values[name] = _checked(name, variable, given[name])
        elif variable.default is not None:
            values[name] = _spelled(variable.default)
    missing = [
        name
        for name, variable in declared.items()
        if not values.get(name)
        and name not in given
        and (
            (variable.required and variable.default is None)
            or (variable.required_unless and not any(values.get(other) for other in variable.required_unless))
        )
    ]
    if strict and missing:
        alternatives = {name for absent in missing for name in declared[absent].required_unless}
        one_of = " or ".join(missing) if alternatives and set(missing) <= alternatives | {missing[0]} else ""
        raise UsageError(
            f"formula {formula.formula} needs a value for {one_of or ', '.join(missing)}",
            hint=" ".join(f"--var {name}=..." for name in missing[: 1 if one_of else None]),
            code="missing_variables",
            variables=missing,
        )
    return values


def _checked(name: str, variable: Variable, value: str) -> str:
    def refuse(expected: str) -> UsageError:
        return UsageError(f"expected {expected} for {name}, got {value[:80]!r}", hint=variable.description[:200])

    if variable.enum and value not in variable.enum:
        raise refuse(f"one of {', '.join(variable.enum)}")
    if variable.type in ("int", "number") and not re.fullmatch(r"-?\d{1,18}", value):
        raise refuse("a whole number")
    if variable.type in ("bool", "boolean") and value.lower() not in _TRUE + _FALSE:
        raise refuse("true or false")
    if variable.pattern:
        try:
            fits = fits_pattern(variable.pattern, value[:10_000])
        except ValueError as error:
            raise UsageError(f"invalid pattern of variable {name!r}: {error}", code="bad_formula") from error
        if not fits:
            raise refuse(f"a match of {variable.pattern}")
    return value


def _spelled(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    """`text` with each ``{{name}}`` that has a value replaced; others stay as they are."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text) if "{{" in text else text


def evaluate_condition(condition: str, values: Mapping[str, str]) -> bool:
    """Whether the condition of a step holds. Raises: ValueError for an invalid one."""
    match = _COMPARISON.fullmatch(condition.strip())
    if match is None or (match[1] and match[3]):
        raise ValueError("expected {{name}}, !{{name}}, {{name}} == value or {{name}} != value")
    value = values.get(match[2], "")
    if match[3]:
        return (value == match[4].strip().strip("\"'")) == (match[3] == "==")
    return (value not in ("", "false", "0")) != bool(match[1])


def substitute(text: str, values: Mapping[str, str]) -> str:
    """`text` with each ``{name}`` that has a value replaced."""
    return _MARKED.sub(lambda match: values.get(match[1], match[0]), text) if values and "{" in text else text
