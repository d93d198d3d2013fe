"""Expansions, advice and branches: how the steps of a formula are rewritten before it runs. Pure.

Steps are a flat list in file order; `Draft.parent` is the parent of a child. Each function returns a new list. Errors are
ValueErrors that name the step.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tinytown_gastown.formulas.loops import STEPS, loop_passes
from tinytown_gastown.formulas.model import Advice, AdviceStep, AdviceSteps, Formula, Gate, Pointcut, Step
from tinytown_gastown.formulas.variables import substitute

NESTING = 5


@dataclass(frozen=True, slots=True)
class Draft:
    """A step before it becomes a task.

    `sections` are its design, acceptance criteria and notes as the end of its text, which `{target.description}` does not
    repeat. `from_advice`: added by advice, so no advice applies to it.
    """

    id: str
    title: str = ""
    description: str = ""
    sections: str = ""
    type: str = "task"
    priority: int | None = None
    labels: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    needs: tuple[str, ...] = ()
    assignee: str = ""
    condition: str = ""
    gate: Gate | None = None
    parent: str = ""
    expand: str = ""
    expand_vars: Mapping[str, str] = field(default_factory=dict[str, str])
    from_advice: bool = False


def draft_steps(steps: Sequence[Step], values: Mapping[str, str], remarks: list[str]) -> list[Draft]:
    """The steps of a formula with their children and all passes of their loops."""
    drafts: list[Draft] = []
    loops: dict[str, tuple[str, ...]] = {}
    for step in steps:
        _add(drafts, step, "", values, remarks, loops)
    return [replace(draft, needs=_after_loops(draft.needs, loops)) for draft in drafts] if loops else drafts


def _after_loops(needs: Sequence[str], loops: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The needs, with the last pass of a loop in the place of the loop; a pass may end with a loop, too."""
    whole: dict[str, None] = {}
    pending, seen = list(needs), set[str]()
    while pending:
        need = pending.pop(0)
        if need not in loops:
            whole[need] = None
        elif need not in seen:
            seen.add(need)
            pending = [*loops[need], *pending]
    return tuple(whole)


def _add(
    drafts: list[Draft], step: Step, parent: str, values: Mapping[str, str], remarks: list[str],
    loops: dict[str, tuple[str, ...]],
) -> None:  # fmt: skip
    if len(drafts) > STEPS:
        raise ValueError(f"more than {STEPS:,} steps")
    if step.on_complete:
        raise ValueError(f"step {step.id!r}: on_complete creates steps at run time, which is not supported")
    if step.loop:
        passes, loops[step.id] = loop_passes(step, step.loop, values)
        for loop_pass in passes:
            _add(drafts, loop_pass, parent, values, remarks, loops)
        return
    if not (step.title or step.expand):
        raise ValueError(f"step {step.id!r} has no title")
    needs = (*step.needs, *step.depends_on)
    if step.waits_for:
        needs += _waited_for(step, remarks)
    drafts.append(
        Draft(
            id=step.id,
            title=step.title or step.id,
            description=step.description.strip(),
            sections=_sections(step),
            type=step.type,
            priority=step.priority,
            labels=step.labels,
            metadata=step.metadata,
            needs=tuple(dict.fromkeys(needs)),
            assignee=step.assignee,
            condition=step.condition,
            gate=step.gate,
            parent=parent,
            expand=step.expand,
            expand_vars=step.expand_vars,
        )
    )
    for child in step.children:
        _add(drafts, child, step.id, values, remarks, loops)


def _sections(step: Step) -> str:
    texts = (("Design", step.design), ("Acceptance", step.acceptance), ("Notes", step.notes))
    return "\n\n".join(f"## {heading}\n\n{text.strip()}" for heading, text in texts if text.strip())


def _waited_for(step: Step, remarks: list[str]) -> tuple[str, ...]:
    if named := re.fullmatch(r"children-of\(([^)]+)\)", step.waits_for):
        needed: tuple[str, ...] = (named[1].strip(),)
    elif step.waits_for == "all-children":
        needed = (step.needs or step.depends_on)[:1]
    else:
        raise ValueError(
            f"step {step.id!r} waits for {step.waits_for!r}; all-children and children-of(STEP) are supported"
        )
    remarks.append(f"step {step.id!r} waits for the children in the formula; children created later do not count")
    return needed


# -- expansions ------------------------------------------------------------------------------------------


def expand_step(
    steps: list[Draft], target: str, formula: Formula, given: Mapping[str, str], remarks: list[str]
) -> list[Draft]:
    """The steps with `target` replaced by the template of an expansion.

    Its first steps get the target's needs; dependants of the target need its last steps, which get its sections.
    """
    place = next((number for number, step in enumerate(steps) if step.id == target), None)
    if place is None:
        raise ValueError(f"there is no step {target!r} to expand")
    goal = steps[place]
    defaults = {
        name: str(variable.default) for name, variable in formula.variables.items() if variable.default is not None
    }
    words = {
        **defaults, **given,
        "target": goal.id, "target.id": goal.id, "target.title": goal.title, "target.description": goal.description,
    }  # fmt: skip
    made = draft_steps(formula.template, {**defaults, **given}, remarks)
    if not made:
        raise ValueError(f"formula {formula.formula!r} has no template to put in place of {target!r}")
    named = {inner.id: _named(inner.id, goal.id, words) for inner in made}
    inside = [
        replace(
            inner,
            id=named[inner.id],
            title=substitute(inner.title, words),
            description=substitute(inner.description, words),
            sections=substitute(inner.sections, words),
            needs=tuple(named.get(need, substitute(need, words)) for need in inner.needs),
            parent=named.get(inner.parent, goal.parent),
            assignee=substitute(inner.assignee, words) or goal.assignee,
            priority=goal.priority if inner.priority is None else inner.priority,
            labels=(*goal.labels, *inner.labels),
        )
        for inner in made
    ]
    own = {inner.id for inner in inside}
    needed = {need for inner in inside for need in inner.needs}
    last = tuple(inner.id for inner in inside if inner.id not in needed)
    if goal.sections:
        ending = [
            replace(inner, sections="\n\n".join(filter(None, (inner.sections, goal.sections)))) for inner in inside
        ]
        inside = [end if inner.id in last else inner for inner, end in zip(inside, ending, strict=True)]
    first = [inner if set(inner.needs) & own else replace(inner, needs=(*goal.needs, *inner.needs)) for inner in inside]
    first[0] = replace(first[0], gate=first[0].gate or goal.gate, condition=first[0].condition or goal.condition)
    others = [_rewire(step, goal.id, last) for step in steps]
    return [*others[:place], *first, *others[place + 1 :]]


def _named(id_: str, target: str, words: Mapping[str, str]) -> str:
    return substitute(id_, words) if "{target" in id_ else f"{target}.{substitute(id_, words)}"


def _rewire(step: Draft, old: str, new: Sequence[str]) -> Draft:
    if old not in step.needs:
        return step
    needs = [other for need in step.needs for other in (new if need == old else (need,))]
    return replace(step, needs=tuple(dict.fromkeys(needs)))


# -- advice and branches ---------------------------------------------------------------------------------


def matches(glob: str, id_: str) -> bool:
    """Whether a glob matches a step id."""
    return fnmatch.fnmatchcase(id_, glob)


def apply_advice(steps: list[Draft], advice: Sequence[Advice], pointcuts: Sequence[Pointcut]) -> list[Draft]:
    """The steps with those that advice adds before and after matching ones."""
    for rule in advice:
        before = (*_several(rule.before), *_several(rule.around.before))
        after = (*_several(rule.around.after), *_several(rule.after))
        for step in [step for step in steps if _is_for(rule, pointcuts, step)]:
            steps = _surround(steps, step.id, before, after)
    return steps


def _several(steps: AdviceSteps) -> tuple[AdviceStep, ...]:
    return (steps,) if isinstance(steps, AdviceStep) else steps


def _is_for(advice: Advice, pointcuts: Sequence[Pointcut], step: Draft) -> bool:
    if step.from_advice or not matches(advice.target, step.id):
        return False
    return not pointcuts or any(
        (pointcut.glob and matches(pointcut.glob, step.id))
        or (pointcut.type and pointcut.type == step.type)
        or (pointcut.label and pointcut.label in step.labels)
        for pointcut in pointcuts
    )


def _surround(
    steps: list[Draft], target: str, before: Sequence[AdviceStep], after: Sequence[AdviceStep]
) -> list[Draft]:
    place = next(number for number, step in enumerate(steps) if step.id == target)
    goal = steps[place]
    words = {"step.id": goal.id, "step.title": goal.title, "step.description": goal.description}

    def made(added: AdviceStep, needs: tuple[str, ...]) -> Draft:
        words_of = {**words, **{f"args.{name}": str(value) for name, value in added.args.items()}}
        return Draft(
            id=_advised_id(added.id, goal.id, words),
            title=substitute(added.title, words_of) or substitute(added.id, words_of),
            description=substitute(added.description, words_of),
            type=added.type,
            needs=needs,
            parent=goal.parent,
            condition=goal.condition,
            from_advice=True,
        )

    needs = goal.needs
    first: list[Draft] = []
    for added in before:
        first.append(made(added, needs))
        needs = (first[-1].id,)
    inner, last = replace(goal, needs=needs), (goal.id,)
    behind: list[Draft] = []
    for added in after:
        behind.append(made(added, last))
        last = (behind[-1].id,)
    others = [_rewire(step, goal.id, last) for step in steps]
    return [*others[:place], *first, inner, *behind, *others[place + 1 :]]


def _advised_id(id_: str, target: str, words: Mapping[str, str]) -> str:
    # The same advice may meet several steps.
    return substitute(id_, words) if "{step.id}" in id_ else f"{target}.{id_}"


def apply_branch(steps: list[Draft], start: str, sides: Sequence[str], join: str) -> list[Draft]:
    """The steps with `sides` in parallel after `start`, and `join` after all of them."""
    ids = {step.id for step in steps}
    if lacking := [id_ for id_ in (start, *sides, join) if id_ not in ids]:
        raise ValueError(f"a branch names {lacking[0]!r}, which is not a step")
    branched: list[Draft] = []
    for step in steps:
        extra = (start,) if step.id in sides else tuple(sides) if step.id == join else ()
        branched.append(replace(step, needs=tuple(dict.fromkeys((*step.needs, *extra)))))
    return branched
