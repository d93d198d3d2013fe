"""``tt formula``: list, show, check and run formulas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from tinytown.errors import NotFound, TinytownError, UsageError
from tinytown_beads.groups.town import all_groups
from tinytown_cli.public import (
    AGENT,
    TASK,
    CliContext,
    TownClient,
    TownGroup,
    counted,
    no_start_option,
    pass_cli_context,
    split_list,
    start_where_needed,
    table,
)
from tinytown_cli.town_search import find_town

from tinytown_gastown.formulas.cook import cook
from tinytown_gastown.formulas.cooked import Cooked, CookedStep
from tinytown_gastown.formulas.library import FormulaLibrary
from tinytown_gastown.formulas.run import Run, create_run, plan_run
from tinytown_gastown.formulas.variables import parse_values

_VAR = click.option("--var", "--set", "words", multiple=True, metavar="NAME=VALUE", help="Set a variable.")
_PRESET = click.option("--preset", default="", help="Use a preset selection of legs.")
_LEGS = click.option("--legs", multiple=True, metavar="LEG,..", help="Only these legs.")


@click.group(cls=TownGroup, examples=["tt formula list", "tt formula run feature --var feature='a --dry-run option'"])
def formula() -> None:
    """Work defined as steps in a file: show, check and run it.

    Formulas are searched in .tt/formulas, formulas and .beads/formulas of the town, then among those of this
    plugin.
    """


@formula.command("list", examples=["tt formula list", "tt formula list --json"])
@pass_cli_context
def list_formulas(context: CliContext) -> None:
    """List the formulas that can be run by name."""
    library = FormulaLibrary(town_directory(context))
    formulas = [_listed(library, name, place) for name, (_, place) in library.files().items()]
    rows = [(row["name"], row["type"], str(row["steps"] or ""), row["place"], row["about"]) for row in formulas]
    context.emit({"formulas": formulas}, table(("formula", "type", "steps", "where", "about"), rows))


def _listed(library: FormulaLibrary, name: str, place: str) -> dict[str, Any]:
    try:
        formula_ = library.find(name).formula
    except TinytownError as error:
        return {"name": name, "type": "bad", "steps": 0, "place": place, "about": error.message}
    steps = (
        len(formula_.steps)
        or len(formula_.template)
        or len(formula_.legs)
        or len(formula_.aspects)
        or len(formula_.advice)
    )
    about = formula_.description.strip().partition("\n")[0]
    return {"name": name, "type": formula_.kind, "steps": steps, "place": place, "about": about}


@formula.command("show", examples=["tt formula show feature", "tt formula show review --preset quick"])
@click.argument("name")
@_VAR
@_PRESET
@_LEGS
@pass_cli_context
def show(context: CliContext, name: str, words: tuple[str, ...], preset: str, legs: tuple[str, ...]) -> None:
    """Show the variables and, in order, the steps of the formula NAME (or of a file)."""
    library = FormulaLibrary(town_directory(context))
    source = library.find(name)
    try:
        cooked = cooked_formula(library, name, words, preset=preset, legs=legs, strict=False)
        steps = cooked.steps
        remarks, why = cooked.remarks, ""
    except UsageError as error:
        if source.formula.steps or source.formula.legs or source.formula.template or source.formula.aspects:
            raise
        steps, remarks, why = (), (), error.message
    variables = {
        variable: {"description": v.description, "required": v.required and v.default is None, "default": v.default}
        for variable, v in source.formula.variables.items()
    }
    lines = [
        f"{source.formula.formula}, {source.formula.kind}, from {source.file}",
        *_about(source.formula.description),
    ]
    lines += [why] if why else []
    for variable, value in variables.items():
        given = (
            "required" if value["required"] else f"default {value['default']!r}" if value["default"] is not None else ""
        )
        lines.append(f"--var {variable}=...  {value['description']}{f'  [{given}]' if given else ''}")
    lines += [
        f"preset {preset_name}: {', '.join(preset_.legs)}" for preset_name, preset_ in source.formula.presets.items()
    ]
    rows = [(step.id, ", ".join(step.needs), step.gate.type if step.gate else "", step.title) for step in steps]
    lines += table(("step", "needs", "gate", "title"), rows) if rows else []
    shape = {
        "formula": source.formula.formula, "type": source.formula.kind, "file": source.file,
        "description": source.formula.description.strip(), "variables": variables,
        "presets": {preset_name: preset_.legs for preset_name, preset_ in source.formula.presets.items()},
        "steps": [_step_shape(step) for step in steps], "remarks": remarks,
    }  # fmt: skip
    context.emit(shape, [*lines, *remarks])


def _step_shape(step: CookedStep) -> dict[str, Any]:
    return {
        "id": step.id,
        "title": step.title,
        "needs": step.needs,
        "type": step.type,
        "parent": step.parent or None,
        "assignee": step.assignee or None,
        "gate": step.gate,
        "description": step.description,
    }


def _about(text: str) -> list[str]:
    return [line for line in [text.strip().partition("\n\n")[0]] if line]


@formula.command("check", examples=["tt formula check", "tt formula check formulas/ship.formula.toml"])
@click.argument("names", nargs=-1, metavar="[NAME|FILE...]")
@pass_cli_context
def check(context: CliContext, names: tuple[str, ...]) -> None:
    """Check formulas, by default all of the town's, and report their problems. Exits with 1 if there are any."""
    library = FormulaLibrary(town_directory(context))
    checks: list[dict[str, Any]] = []
    for name in names or tuple(library.files()):
        problem, remarks = "", list[str]()
        try:
            read = library.find(name).formula
            if read.steps or read.extends or read.legs or read.aspects or read.template:
                remarks = list(cooked_formula(library, name, (), strict=False).remarks)
        except TinytownError as error:
            problem = str(error)
        checks.append({"name": name, "problem": problem or None, "remarks": remarks})
    lines = [f"{result['name']}: {result['problem'] or 'good'}" for result in checks]
    lines += [f"{result['name']}: {remark}" for result in checks for remark in result["remarks"]]
    context.emit({"formulas": checks}, lines)
    if bad := [result["name"] for result in checks if result["problem"]]:
        raise TinytownError(
            f"{len(bad)} of {len(checks)} formulas have problems: {', '.join(bad)}"[:500], code="bad_formula"
        )


@formula.command(
    "run",
    examples=[
        "tt formula run feature --var feature='a --dry-run option' --dry-run",
        "tt formula run review --name review-12 --var pr=12 --preset quick",
        "tt formula run release --var version=1.4.0 --agent worker",
    ],
)
@click.argument("name")
@click.option(
    "--name", "run_name", metavar="RUN", help="The name of this run.  [default: the formula's name and a number]"
)
@_VAR
@_PRESET
@_LEGS
@click.option("--agent", default="", type=AGENT, metavar="AGENT", help="Assign all tasks to this agent.")
@click.option("--pr", metavar="NUMBER", help="The same as --var pr=NUMBER.")
@click.option("--files", multiple=True, metavar="FILE,..", help="The same as --var files=FILE,...")
@click.option("--into", type=click.Choice(["backlog"]), help="Put all tasks onto the backlog, ignoring assignees.")
@click.option("--on", "on_task", default="", type=TASK, metavar="TASK", help="The task that the run is part of.")
@click.option("--dry-run", is_flag=True, help="Only show what would be created.")
@no_start_option
@pass_cli_context
def run(
    context: CliContext,
    name: str,
    run_name: str | None,
    words: tuple[str, ...],
    preset: str,
    legs: tuple[str, ...],
    agent: str,
    pr: str | None,
    files: tuple[str, ...],
    into: str | None,
    on_task: str,
    dry_run: bool,
    no_start: bool,
) -> None:
    """Create a task for each step of the formula NAME (or of a file), and a group of them called RUN.

    All tasks are created, or none. Repeating a RUN creates nothing twice, and completes an interrupted one.
    """
    if agent and into:
        raise UsageError("--agent and --into backlog exclude each other")
    words += (f"pr={pr}",) * bool(pr) + (f"files={','.join(files)}",) * bool(files)
    with context.open_town() as town:
        planned = planned_run(
            context,
            town,
            name,
            run_name,
            words,
            preset=preset,
            legs=legs,
            agent=agent,
            backlog=bool(into),
            on=on_task,
        )
        created: Sequence[str] = ()
        existing: Sequence[str] = ()
        if not dry_run:
            created, existing = create_run(town, planned, owner=town.caller.agent_name or town.caller.address)
            if any(task.details["agent"] for task in planned.tasks):
                start_where_needed(context, town, may_start=not no_start)
    context.emit(
        {
            "run": planned.name, "formula": planned.cooked.formula, "group": planned.name, "dry_run": dry_run,
            "created": created, "existing": existing, "tasks": [task.shape for task in planned.tasks],
            "stages": planned.stages, "waves": planned.stages, "remarks": planned.remarks,
        },
        run_lines(planned, created=len(created), existing=len(existing), dry_run=dry_run),
    )  # fmt: skip


def planned_run(
    context: CliContext,
    town: TownClient,
    name: str,
    run_name: str | None,
    words: Sequence[str],
    *,
    preset: str = "",
    legs: Sequence[str] = (),
    agent: str = "",
    backlog: bool = False,
    on: str = "",
) -> Run:
    """The run of a formula, without writing anything."""
    library = FormulaLibrary(town.root)
    formula_ = library.find(name).formula
    called = run_name or _free_name(town, formula_.formula)
    if on and "issue" in formula_.variables and not any(word.startswith("issue=") for word in words):
        words = (*words, f"issue={town.run(town.operations.task(on)).id}")
    cooked = cooked_formula(library, name, words, run=called, preset=preset, legs=legs)
    if backlog:
        steps = tuple(msgspec.structs.replace(step, assignee="") for step in cooked.steps)
        cooked = msgspec.structs.replace(cooked, steps=steps)
    return plan_run(town, cooked, called, agent=agent, on=on)


def _free_name(town: TownClient, formula_name: str) -> str:
    """The formula's name with the first number that no group has."""
    taken = {group.name for group in all_groups(town)}
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", formula_name)[:50]
    return next(f"{stem}-{number}" for number in range(1, len(taken) + 2) if f"{stem}-{number}" not in taken)


def cooked_formula(
    library: FormulaLibrary,
    name: str,
    words: Sequence[str],
    *,
    run: str = "",
    preset: str = "",
    legs: Sequence[str] = (),
    strict: bool = True,
) -> Cooked:
    """The formula `name` with the values of ``--var``."""
    return cook(
        library.find(name).formula,
        lambda other: library.named(other).formula,
        given=parse_values(words),
        run=run,
        legs=split_list(tuple(legs)),
        preset=preset,
        strict=strict,
    )


def run_lines(planned: Run, *, created: int, existing: int, dry_run: bool) -> list[str]:
    """A run, created or planned, for people."""
    tasks = {task.id: task for task in planned.tasks}
    if dry_run:
        lines = [f"{planned.name} would be {counted(len(tasks), 'task')} of formula {planned.cooked.formula}"]
    elif existing and not created:
        lines = [f"{planned.name} already exists, with all of its {counted(existing, 'task')}"]
    else:
        lines = [
            f"{planned.name} is {counted(created + existing, 'task')}, {created} of them new (tt group status {planned.name})"
        ]
    for number, stage in enumerate(planned.stages, 1):
        lines.append(f"stage {number}")
        for id_ in stage:
            details = tasks[id_].details
            held = f", {details['held']}" if details.get("held") else ""
            lines.append(f"  {id_}  {details['title']}  ({details['agent'] or 'backlog'}{held})")
    return [*lines, *planned.remarks]


def town_directory(context: CliContext) -> Path | None:
    """The root of the command's town; None outside of one, unless one was named."""
    try:
        return find_town(Path(context.town) if context.town else None)
    except NotFound:
        if context.town:
            raise
        return None
