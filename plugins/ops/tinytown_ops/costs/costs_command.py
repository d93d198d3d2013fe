"""``tt costs`` and ``tt budget``: what rounds have cost, and what is left."""

from __future__ import annotations

import click
from tinytown.client import TownClient
from tinytown.model.text import counted
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_ops.costs import ledger
from tinytown_ops.costs.ledger import BY, Budget, CostRow, Costs
from tinytown_ops.costs.serializers import budget_shape, cost_shape


@click.command(
    cls=TownCommand,
    examples=["tt costs", "tt costs --by task --limit 10", "tt costs --by agent --since 2026-01-31 --json"],
)
@click.option("--by", type=click.Choice(BY), default="agent", show_default=True, help="What to add up by.")
@click.option("--since", default="", metavar="DAY", help="Only from this day on (UTC), such as 2026-01-31.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many lines.")
@pass_cli_context
def costs(context: CliContext, by: ledger.By, since: str, limit: int) -> None:
    """What rounds have cost in tokens and money, the dearest first, and what is left of the budgets.

    Money is what backends report, or what the rates in tinytown.toml make of the tokens. Where neither is known it is
    said to be unknown. Lines of nobody are rounds without a task, or of agents and tasks that are gone.
    """
    with context.open_town() as town:
        found = town.run(ledger.costs(town.operations.keys, by=by, since=since))
        rows = found.rows[-limit:] if by == "day" else found.rows[:limit]
        titles = _titles(town, rows) if by == "task" else ("",) * len(rows)
    shape = {
        "by": by,
        "today": found.today,
        "since": found.since,
        "total": cost_shape(found.total),
        "rows": [{**cost_shape(row), "title": title or None} for row, title in zip(rows, titles, strict=True)],
        "budgets": [budget_shape(each) for each in found.budgets],
    }
    context.emit(shape, _lines(found, rows, titles))


def _titles(town: TownClient, rows: tuple[CostRow, ...]) -> tuple[str, ...]:
    return town.run(ledger.titles(town.operations.keys, [row.name for row in rows]))


def _lines(found: Costs, rows: tuple[CostRow, ...], titles: tuple[str, ...]) -> list[str]:
    if not found.total.rounds and not found.budgets:
        return ["no round has cost anything yet"]
    named = [
        (_name(found, row), *_numbers(row), *([title] if found.by == "task" else []))
        for row, title in zip(rows, titles, strict=True)
    ]
    named.append(("all", *_numbers(found.total), *([""] if found.by == "task" else [])))
    headings = (found.by, "rounds", "input", "cached", "output", "usd", *(["title"] if found.by == "task" else []))
    lines = table(headings, named)
    lines += ["", *unknown] if (unknown := _unknown(found.total)) else []
    return lines + (["", *budget_lines(found.budgets)] if found.budgets else [])


def _unknown(total: CostRow) -> list[str]:
    """What the sum leaves out, and how that can be mended."""
    found: list[str] = []
    if total.unpriced_rounds:
        found.append(
            f"{total.unpriced_rounds:,} of {counted(total.rounds, 'round')} told no price: [rates.KIND] names one"
        )
    if total.unmeasured_rounds:
        found.append(
            f"{total.unmeasured_rounds:,} of {counted(total.rounds, 'round')} told nothing: [rates.KIND] with 0 says it is free"
        )
    return found


def _name(found: Costs, row: CostRow) -> str:
    return (row.name[:8] if found.by == "task" else row.name) or ("town" if found.by == "town" else "(nobody)")


def _numbers(row: CostRow) -> tuple[str, ...]:
    counts = (row.rounds, row.input_tokens, row.cached_tokens, row.output_tokens)
    return (*(f"{count:,}" for count in counts), _usd(row))


def _usd(row: CostRow) -> str:
    if row.usd is None:
        return "unknown"
    return f"{row.usd:,.4f}" + ("+" if row.unpriced_rounds or row.unmeasured_rounds else "")


def budget_lines(budgets: tuple[Budget, ...]) -> list[str]:
    """The budgets as a table for people."""
    rows = [
        (
            f"{each.budget}{f' of {each.agent}' if each.agent else ''}",
            *(_amount(each, number) for number in (each.limit, each.spent, each.reserved, each.left)),
        )
        for each in budgets
    ]
    return table(("budget", "limit", "spent", "reserved", "left"), rows)


def _amount(budget: Budget, number: float | None) -> str:
    if number is None:
        return "each"
    return f"{number:,.2f}" if budget.budget.endswith("_usd") else f"{number:,.0f}"


@click.command(cls=TownCommand, examples=["tt budget", "tt budget --apply"])
@click.option("--apply", is_flag=True, help="Let what tinytown.toml says hold at once.")
@pass_cli_context
def budget(context: CliContext, apply: bool) -> None:
    """What is left of the budgets.

    They stand in tinytown.toml. tt config set lets a new one hold at once where a kernel runs; after editing the file by
    hand, --apply does, or the kernel's next start.
    """
    with context.open_town() as town:
        changed = apply_budgets(town) if apply else ()
        found = town.run(ledger.costs(town.operations.keys))
        differs = _in_file(town) != {(each.budget, each.agent): each.limit for each in found.budgets}
    lines = [f"changed: {', '.join(changed)}"] if changed else []
    lines += budget_lines(found.budgets) if found.budgets else ["no budgets: tt config set budgets.day_usd 20 sets one"]
    unknown = _unknown(found.total)
    if unknown and any(each.budget.endswith("_usd") for each in found.budgets):
        lines += [*unknown, "budgets in dollars do not count them"]
    if differs:
        lines.append("tinytown.toml says otherwise: tt budget --apply lets it hold")
    shape = {"budgets": [budget_shape(each) for each in found.budgets], "changed": changed, "as_in_file": not differs}
    context.emit(shape, lines)


def apply_budgets(town: TownClient) -> tuple[str, ...]:
    """Let what the town's file says hold from now on; names of what has changed. Raises: Refused when an agent asks."""
    town.caller.refuse_agents("may not change budgets", "they are for people to change")
    return town.run(town.operations.set_budgets(town.config.budgets.server_numbers))


def _in_file(town: TownClient) -> dict[tuple[str, str | None], float]:
    numbers = town.config.budgets.server_numbers
    return {
        (key.partition(" ")[0], key.partition(" ")[2] or None): number / 1_000_000 if "_usd" in key else float(number)
        for key, number in numbers.items()
        if not key.startswith("reserve")
    }
