"""From a formula and its variables to steps, in the order of beads' own ``cook``. Pure.

Inheritance, loops and branches, own advice, expansions, aspects, conditions; then texts are filled in. A convoy
becomes one step for each leg and one for the synthesis. Errors name the formula and the step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from tinytown.errors import UsageError
from tinytown_cli.public import find_cycle

from tinytown_gastown.formulas.cooked import Cooked, CookedStep
from tinytown_gastown.formulas.legs import leg_steps
from tinytown_gastown.formulas.loops import STEPS
from tinytown_gastown.formulas.model import Compose, Formula, Gate
from tinytown_gastown.formulas.transforms import (
    NESTING,
    Draft,
    apply_advice,
    apply_branch,
    draft_steps,
    expand_step,
    matches,
)
from tinytown_gastown.formulas.variables import evaluate_condition, fill_placeholders, resolve_variables

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

#: The end of each text of a formula with `review_only`.
REVIEW_ONLY = "Review and report only: do not change code."

#: Finds a formula by its name.
Find = Callable[[str], Formula]


def cook(
    formula: Formula,
    find: Find,
    *,
    given: Mapping[str, str],
    run: str = "",
    legs: Sequence[str] = (),
    preset: str = "",
    strict: bool = True,
) -> Cooked:
    """The steps of `formula`, called `run` where its texts ask for a name.

    `legs` or a `preset` choose some of a convoy's legs. Unless `strict`, values may be missing. Raises: UsageError with code
    ``bad_formula`` or ``missing_variables``, and what `find` raises.
    """
    try:
        whole = _inherited(formula, find, ())
        values = resolve_variables(whole, given, strict=strict)
        remarks = _remarks(whole)
        if (legs or preset) and not (whole.legs or whole.aspects):
            raise UsageError(f"formula {whole.formula} has no legs to choose")
        if whole.legs or whole.aspects:
            steps = leg_steps(whole, values, run or whole.formula, legs, preset)
        else:
            steps = _steps(whole, find, values, remarks)
        _check(steps)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"formula {formula.formula}: {error}", code="bad_formula") from error
    name = values.get("title") if "title" in whole.variables else ""
    return Cooked(
        formula=formula.formula,
        title=name or formula.formula,
        kind=whole.kind,
        values=values,
        steps=tuple(steps),
        remarks=tuple(dict.fromkeys(remarks)),
    )


# -- inheritance -----------------------------------------------------------------------------------------


def _inherited(formula: Formula, find: Find, behind: tuple[str, ...]) -> Formula:
    """The formula with what its parents have: steps of the same id are replaced in their place, new ones follow."""
    if formula.formula in behind:
        raise ValueError(f"it extends itself: {' -> '.join((*behind, formula.formula))}")
    whole: Formula | None = None
    for name in formula.extends:
        parent = _inherited(find(name), find, (*behind, formula.formula))
        whole = parent if whole is None else _merged(whole, parent)
    return formula if whole is None else _merged(whole, formula)


def _merged(parent: Formula, child: Formula) -> Formula:
    def by_id(first: Sequence[Any], second: Sequence[Any]) -> tuple[Any, ...]:
        return tuple({**{item.id: item for item in first}, **{item.id: item for item in second}}.values())

    compose = Compose(
        **{name: (*getattr(parent.compose, name), *getattr(child.compose, name)) for name in Compose.__struct_fields__}
    )
    return msgspec.structs.replace(
        child,
        type=child.type or parent.type,
        vars={**parent.vars, **child.vars},
        inputs={**parent.inputs, **child.inputs},
        steps=by_id(parent.steps, child.steps),
        template=by_id(parent.template, child.template),
        legs=by_id(parent.legs, child.legs),
        aspects=by_id(parent.aspects, child.aspects),
        advice=(*parent.advice, *child.advice),
        pointcuts=(*parent.pointcuts, *child.pointcuts),
        prompts={**parent.prompts, **child.prompts},
        presets={**parent.presets, **child.presets},
        output=child.output if child.output.directory else parent.output,
        synthesis=child.synthesis or parent.synthesis,
        compose=compose,
        agent=child.agent or parent.agent,
        review_only=child.review_only or parent.review_only,
    )


def _remarks(formula: Formula) -> list[str]:
    if formula.compose.hooks:
        raise ValueError("compose.hooks attaches formulas at run time, which is not supported")
    remarks: list[str] = []
    if formula.compose.bond_points:
        remarks.append("compose.bond_points has no effect: formulas are not joined at run time")
    if formula.agent:
        remarks.append(f"agent = {formula.agent!r} has no effect: use --agent")
    return remarks


# -- workflows -------------------------------------------------------------------------------------------


def _steps(formula: Formula, find: Find, values: dict[str, str], remarks: list[str]) -> list[CookedStep]:
    steps = draft_steps(formula.steps, values, remarks)
    if not steps and formula.template:
        goal = Draft(id="main", title=values.get("title") or formula.formula, description=formula.description.strip())
        steps = expand_step([goal], "main", formula, values, remarks)
    if not steps:
        raise ValueError("it has no steps of its own; it only extends other formulas")
    for branch in formula.compose.branch:
        steps = apply_branch(steps, branch.from_, branch.steps, branch.join)
    for gate in formula.compose.gate:
        if not any(step.id == gate.before for step in steps):
            raise ValueError(f"compose.gate names {gate.before!r}, which is not a step")
        waiting = Gate(type="conditional", condition=gate.condition)
        steps = [replace(step, gate=waiting) if step.id == gate.before else step for step in steps]
    steps = apply_advice(steps, formula.advice, formula.pointcuts)
    steps = _with_expansions(steps, formula.compose, find, remarks)
    for name in formula.compose.aspects:
        aspect = _inherited(find(name), find, ())
        if not aspect.advice:
            raise ValueError(f"formula {name!r} has no advice, so it is not an aspect")
        steps = apply_advice(steps, aspect.advice, aspect.pointcuts)
    kept = _wanted(steps, values)
    review = REVIEW_ONLY if formula.review_only else ""
    return [_cooked(step, values, kept, review) for step in kept]


def _with_expansions(steps: list[Draft], compose: Compose, find: Find, remarks: list[str]) -> list[Draft]:
    for _ in range(NESTING):
        inline = [step for step in steps if step.expand]
        for step in inline:
            given = dict(step.expand_vars)
            steps = expand_step(steps, step.id, find(step.expand), given, remarks)
        if not inline:
            break
    else:
        raise ValueError(f"expansions are nested deeper than {NESTING}")
    for expansion in compose.expand:
        steps = expand_step(steps, expansion.target, find(expansion.with_), expansion.vars, remarks)
    for mapped in compose.map:
        chosen = [step.id for step in steps if matches(mapped.select, step.id)]
        for id_ in chosen:
            steps = expand_step(steps, id_, find(mapped.with_), mapped.vars, remarks)
    if len(steps) > STEPS:
        raise ValueError(f"more than {STEPS:,} steps")
    return steps


def _wanted(steps: list[Draft], values: Mapping[str, str]) -> list[Draft]:
    """The steps whose condition holds; dependants of an omitted step get its needs."""
    remaining = steps
    for step in steps:
        try:
            keeps = not step.condition or evaluate_condition(step.condition, values)
        except ValueError as error:
            raise ValueError(f"step {step.id!r}: invalid condition: {error}") from error
        if not keeps:
            needs = next(other.needs for other in remaining if other.id == step.id)
            remaining = [
                replace(
                    other,
                    needs=tuple(
                        dict.fromkeys(n for need in other.needs for n in (needs if need == step.id else (need,)))
                    ),
                )
                for other in remaining
                if step.id not in (other.id, other.parent)
            ]
    return remaining


def _cooked(step: Draft, values: Mapping[str, str], steps: Sequence[Draft], review: str) -> CookedStep:
    children = tuple(other.id for other in steps if other.parent == step.id)
    inherited = _needs_of_parents(step, {other.id: other for other in steps})
    title = fill_placeholders(step.title, values)
    description = fill_placeholders(step.description, values).strip() or title
    gate = step.gate
    if gate is not None:
        gate = msgspec.structs.replace(
            gate,
            id=fill_placeholders(gate.id, values),
            await_id=fill_placeholders(gate.await_id, values),
            condition=fill_placeholders(gate.condition, values),
        )
    return CookedStep(
        id=step.id,
        title=title,
        description="\n\n".join(filter(None, (description, fill_placeholders(step.sections, values), review))),
        type="epic" if children else step.type,
        priority=step.priority,
        labels=tuple(dict.fromkeys(fill_placeholders(label, values) for label in step.labels)),
        metadata=dict(step.metadata),
        # A step with children is done when they are.
        needs=tuple(dict.fromkeys((*step.needs, *inherited, *children))),
        parent=step.parent,
        assignee=fill_placeholders(step.assignee, values),
        gate=gate,
    )


def _needs_of_parents(step: Draft, by_id: Mapping[str, Draft]) -> tuple[str, ...]:
    needs: list[str] = []
    seen = {step.id}
    parent = step.parent
    while parent in by_id and parent not in seen:
        seen.add(parent)
        needs += by_id[parent].needs
        parent = by_id[parent].parent
    return tuple(needs)


# -- checks ----------------------------------------------------------------------------------------------


def _check(steps: Sequence[CookedStep]) -> None:
    seen: set[str] = set()
    for step in steps:
        if not _ID.fullmatch(step.id):
            raise ValueError(f"expected letters, digits, '.', '_' or '-' as the id of a step, got {step.id[:80]!r}")
        if step.id in seen:
            raise ValueError(f"two steps have the id {step.id!r}")
        seen.add(step.id)
        if step.priority is not None and not 0 <= step.priority <= 4:
            raise ValueError(f"step {step.id!r}: expected a priority of 0 to 4, got {step.priority}")
    for step in steps:
        if unknown := [need for need in step.needs if need not in seen]:
            raise ValueError(f"step {step.id!r} needs {unknown[0]!r}, which is not a step")
    if cycle := find_cycle({step.id: step.needs for step in steps}):
        raise ValueError(f"steps form a cycle: {' -> '.join((*cycle, cycle[0]))}"[:500])
