"""Reads a town's ledger: what rounds cost, what is left of the budgets, and which accounts are rate limited.

Each read is one read-only operation, for any client; nothing is written. The kernel writes the ledger (``protocol/library``).
Money is in millionths of a dollar there, and an unknown price is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
from tinytown.errors import UsageError
from tinytown.model.hash_codec import pairs
from tinytown.model.text import check_one_of, shown
from tinytown.model.time import rfc3339
from tinytown.protocol import FunctionLibrary, Keys, Operation, Reply, function_call

By = Literal["town", "day", "agent", "task", "kind", "account"]
BY: tuple[By, ...] = ("town", "day", "agent", "task", "kind", "account")

_MICROS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LIBRARY = FunctionLibrary("ledger", Path(__file__).with_name("ledger.lua"))

#: What the rounds of agents may call, and by which rule: for the plugin that holds them to their rights.
ROUND_FUNCTIONS = (LIBRARY, {"costs": "read", "titles": "read", "accounts": "read"})


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the rounds of `name` (an agent, a task's id, a day, ...) cost. The name is empty for rounds without one.

    `cached_tokens` are a part of `input_tokens`. `usd` is None if the price of no round is known; it leaves out
    `unpriced_rounds` (usage was reported, no price) and `unmeasured_rounds` (no usage was reported).
    """

    name: str = ""
    rounds: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    usd: float | None = 0.0
    unpriced_rounds: int = 0
    unmeasured_rounds: int = 0

    @property
    def counted_tokens(self) -> int:
        """Tokens that count against a budget: all but those from the vendor's cache."""
        return self.input_tokens - self.cached_tokens + self.output_tokens


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A limit, in US dollars or tokens. `spent`, `reserved` and `left` are None for a budget that each agent or task has."""

    budget: str
    limit: float
    agent: str | None = None
    spent: float | None = None
    reserved: float | None = None
    left: float | None = None


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What rounds cost `since` a day (None: since the beginning), in total and by row, the most expensive first, days in
    order. `today` is the day by the server's clock, in UTC."""

    by: By
    today: str
    since: str | None
    total: CostRow
    rows: tuple[CostRow, ...]
    budgets: tuple[Budget, ...]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A vendor account that agents of one or more `kinds` share. `throttles` counts rate limits in a row without a reset."""

    name: str
    parked_until: str | None = None
    throttles: int = 0
    agents: int = 0
    kinds: tuple[str, ...] = ()


def costs(keys: Keys, *, by: By = "town", since: str = "") -> Operation[Costs]:
    """What the rounds of the town cost, grouped `by` agent, task and so on.

    `since` is a day in UTC, ``2026-01-31``. Raises: UsageError if `since` is not a date.
    """
    check_one_of("what to group by", by, BY)
    first = _day_number(since) if since else ""
    decode = partial(_read_costs, by, since)
    return function_call(LIBRARY, "costs", keys.base, decode, first, int(by == "day"))


def titles(keys: Keys, tasks: Iterable[str]) -> Operation[tuple[str, ...]]:
    """The title of each task, else the first line of its description; empty for a task that was removed."""
    return function_call(LIBRARY, "titles", keys.base, lambda reply: tuple(map(_text, reply)), *tasks)


def accounts(keys: Keys) -> Operation[tuple[Account, ...]]:
    """The accounts that agents use or that are parked, by name."""
    return function_call(LIBRARY, "accounts", keys.base, _read_accounts)


def _day_number(day: str) -> int:
    try:
        return (datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) - _EPOCH).days
    except ValueError as error:
        raise UsageError(f"expected a day such as 2026-01-31, got {shown(day)!r}") from error


def _day_name(number: int) -> str:
    return f"{_EPOCH + timedelta(days=number):%Y-%m-%d}"


def _text(raw: Any) -> str:
    return str(raw.decode("utf-8", "replace"))


# -- costs


_Line = list[int]


def _line(text: str) -> _Line:
    """Seven numbers: rounds; input, output and cached tokens; money; unpriced rounds; unmeasured rounds."""
    return [int(word) for word in text.split()[:7]] if text else [0] * 7


def _row(name: str, line: _Line) -> CostRow:
    rounds, input_, output, cached, money, unpriced, unmeasured = line
    return CostRow(
        name=name,
        rounds=rounds,
        input_tokens=input_,
        output_tokens=output,
        cached_tokens=cached,
        usd=None if rounds and unpriced + unmeasured >= rounds else money / _MICROS,
        unpriced_rounds=unpriced,
        unmeasured_rounds=unmeasured,
    )


def _read_costs(by: By, since: str, reply: Reply) -> Costs:
    today, whole, budgets, reserved, *days = reply
    ever = {field: _line(text) for field, text in pairs(whole).items()}
    by_day = {_text(day): {field: _line(text) for field, text in pairs(flat).items()} for day, _, flat in days}
    day = by_day.get(_day_name(int(today)), {}).get("town", _line(""))
    by_day = {_text(name): by_day[_text(name)] for name, asked, _ in days if asked}
    if by == "day":
        lines = {f"day {name}": found["town"] for name, found in by_day.items()}
        total = _sum(lines.values())
    else:
        lines = _together(by_day.values()) if since else ever
        total = lines.get("town", _line(""))
    rows = [_row(field.partition(" ")[2], line) for field, line in lines.items() if field.partition(" ")[0] == by]
    rows.sort(key=lambda row: row.name if by == "day" else (-(row.usd or 0), -row.counted_tokens, row.name))
    return Costs(
        by=by,
        today=_day_name(int(today)),
        since=since or None,
        total=_row("", total),
        rows=tuple(rows),
        budgets=tuple(_budgets(pairs(budgets), ever, day, [_text(reservation) for reservation in reserved])),
    )


def _together(days: Iterable[Mapping[str, _Line]]) -> dict[str, _Line]:
    grouped: dict[str, list[_Line]] = {}
    for lines in days:
        for field, line in lines.items():
            grouped.setdefault(field, []).append(line)
    return {field: _sum(some) for field, some in grouped.items()}


def _sum(lines: Iterable[_Line]) -> _Line:
    return [sum(numbers) for numbers in zip(*lines, strict=True)] or _line("")


def _budgets(
    budgets: Mapping[str, str], ever: Mapping[str, _Line], day: _Line, reserved: list[str]
) -> Iterable[Budget]:
    by_lower = {field.lower(): line for field, line in ever.items()}
    for key, number in sorted(budgets.items()):
        name, _, agent = key.partition(" ")
        scope, _, unit = name.partition("_")
        if scope == "reserve":
            continue
        divisor, column = (_MICROS, 0) if unit == "usd" else (1, 1)
        limit = int(number) / divisor
        line = day if scope == "day" else ever.get("town") if scope == "town" else by_lower.get(f"agent {agent}")
        if scope in ("agent", "task") and not agent:
            yield Budget(budget=name, limit=limit)
            continue
        row = _row("", line or _line(""))
        spent = (row.usd or 0.0) if unit == "usd" else float(row.counted_tokens)
        held = sum(int(reservation.split()[column]) for reservation in reserved) / divisor if not agent else 0.0
        left = round(max(0.0, limit - spent - held), 6)
        yield Budget(budget=name, limit=limit, agent=agent or None, spent=spent, reserved=held, left=left)


# -- accounts


def _read_accounts(reply: Reply) -> tuple[Account, ...]:
    now_s, agents, parked, throttles = reply
    kinds: dict[str, list[str]] = {_text(name): [] for name, _ in parked}
    for account, kind in agents:
        kinds.setdefault(_text(account) or _text(kind), []).append(_text(kind))
    until = {_text(name): int(float(score)) for name, score in parked if float(score) > float(now_s) * 1000}
    counts = pairs(throttles)
    return tuple(
        Account(
            name=name,
            parked_until=rfc3339(until[name]) if name in until else None,
            throttles=int(counts.get(name, 0)),
            agents=len(of_agents),
            kinds=tuple(sorted(set(of_agents))),
        )
        for name, of_agents in sorted(kinds.items())
    )
