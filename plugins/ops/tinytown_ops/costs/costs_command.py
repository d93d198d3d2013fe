"""``tt costs`` and ``tt budget``: what rounds cost, and what is left of the budgets."""

from __future__ import annotations

import click
import msgspec
from tinytown.model.text import counted
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import brief_id, table
from tinytown_cli.framework import TownCommand

from tinytown_ops.costs import ledger
from tinytown_ops.costs.ledger import BY, Budget, CostRow, Costs


@click.command(
    cls=TownCommand,
    examples=["tt costs", "tt costs --by task --limit 10", "tt costs --by agent --since 2026-01-31 --json"],
)
@click.option("--by", type=click.Choice(BY), default="agent", show_default=True, help="Group by this.")
@click.option("--since", default="", metavar="DAY", help="Only from this day on (UTC), for example 2026-01-31.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Maximum number of rows.")
@pass_cli_context
def costs(context: CliContext, by: ledger.By, since: str, limit: int) -> None:
    """Show what rounds cost in tokens and money, the most expensive first, and what is left of the budgets.

    Money is what backends report, else the tokens times the rates in tinytown.toml; where neither is known, the cost is
    unknown. Rows named (none) are rounds without a task, or of agents and tasks that were removed.
    """
    with context.open_town() as town:
        ledger_costs = town.run(ledger.costs(town.operations.keys, by=by, since=since))
        rows = ledger_costs.rows[-limit:] if by == "day" else ledger_costs.rows[:limit]
        titles = _titles(town, rows) if by == "task" else ("",) * len(rows)
    shape = {
        "by": by,
        "today": ledger_costs.today,
        "since": ledger_costs.since,
        "total": ledger_costs.total,
        "rows": [{**msgspec.to_builtins(row), "title": title or None} for row, title in zip(rows, titles, strict=True)],
        "budgets": ledger_costs.budgets,
    }
    context.emit(shape, _lines(ledger_costs, rows, titles))


def _titles(town: TownClient, rows: tuple[CostRow, ...]) -> tuple[str, ...]:
    return town.run(ledger.titles(town.operations.keys, [row.name for row in rows]))


def _lines(costs: Costs, rows: tuple[CostRow, ...], titles: tuple[str, ...]) -> list[str]:
    if not costs.total.rounds and not costs.budgets:
        return ["no costs yet"]
    named = [
        (_name(costs, row), *_numbers(row), *([title] if costs.by == "task" else []))
        for row, title in zip(rows, titles, strict=True)
    ]
    named.append(("total", *_numbers(costs.total), *([""] if costs.by == "task" else [])))
    headings = (costs.by, "rounds", "input", "cached", "output", "usd", *(["title"] if costs.by == "task" else []))
    lines = table(headings, named)
    lines += ["", *unknown] if (unknown := _unknown(costs.total)) else []
    return lines + (["", *budget_lines(costs.budgets)] if costs.budgets else [])


def _unknown(total: CostRow) -> list[str]:
    """What the total leaves out, and how to fix that."""
    notes: list[str] = []
    rounds = counted(total.rounds, "round")
    if total.unpriced_rounds:
        notes.append(f"{total.unpriced_rounds:,} of {rounds} reported no price; set [rates.KIND]")
    if total.unmeasured_rounds:
        notes.append(
            f"{total.unmeasured_rounds:,} of {rounds} reported no usage; set [rates.KIND] to 0 if the kind is free"
        )
    return notes


def _name(costs: Costs, row: CostRow) -> str:
    return (brief_id(row.name) if costs.by == "task" else row.name) or ("town" if costs.by == "town" else "(none)")


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
            f"{budget.budget}{f' of {budget.agent}' if budget.agent else ''}",
            *(_amount(budget, number) for number in (budget.limit, budget.spent, budget.reserved, budget.left)),
        )
        for budget in budgets
    ]
    return table(("budget", "limit", "spent", "reserved", "left"), rows)


def _amount(budget: Budget, number: float | None) -> str:
    if number is None:
        return "per " + budget.budget.partition("_")[0]
    return f"{number:,.2f}" if budget.budget.endswith("_usd") else f"{number:,.0f}"


@click.command(
    cls=TownCommand, examples=["tt budget", "tt budget --apply"], scope="town.read", option_scopes={"apply": "admin"}
)
@click.option("--apply", is_flag=True, help="Apply the budgets of tinytown.toml now.")
@pass_cli_context
def budget(context: CliContext, apply: bool) -> None:
    """Show what is left of the budgets.

    Budgets are set in tinytown.toml. tt config set applies a change at once while a kernel is running; after editing the
    file by hand, run --apply, or restart the kernel.
    """
    with context.open_town() as town:
        changed = apply_budgets(town) if apply else ()
        spending = town.run(ledger.costs(town.operations.keys))
        differs = _in_file(town) != {(budget.budget, budget.agent): budget.limit for budget in spending.budgets}
    lines = [f"changed: {', '.join(changed)}"] if changed else []
    lines += (
        budget_lines(spending.budgets)
        if spending.budgets
        else ["no budgets; for example: tt config set budgets.day_usd 20"]
    )
    unknown = _unknown(spending.total)
    if unknown and any(budget.budget.endswith("_usd") for budget in spending.budgets):
        lines += [*unknown, "budgets in dollars do not include them"]
    if differs:
        lines.append("tinytown.toml differs: tt budget --apply applies it")
    shape = {"budgets": spending.budgets, "changed": changed, "as_in_file": not differs}
    context.emit(shape, lines)


def apply_budgets(town: TownClient) -> tuple[str, ...]:
    """Apply the budgets of the town's file; the names of those that changed. Raises: Refused if the caller is an agent."""
    town.caller.refuse_agents("may not change budgets", "only people change budgets")
    return town.run(town.operations.set_budgets(town.config.budgets.server_numbers))


def _in_file(town: TownClient) -> dict[tuple[str, str | None], float]:
    numbers = town.config.budgets.server_numbers
    return {
        (key.partition(" ")[0], key.partition(" ")[2] or None): number / 1_000_000 if "_usd" in key else float(number)
        for key, number in numbers.items()
        if not key.startswith("reserve")
    }
