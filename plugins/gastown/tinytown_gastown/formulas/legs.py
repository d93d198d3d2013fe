"""The steps of a convoy: one for each leg, and one for the synthesis of them all. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinytown.errors import UsageError

from tinytown_gastown.formulas.cooked import CookedStep
from tinytown_gastown.formulas.go_template import TemplateError, render
from tinytown_gastown.formulas.model import Formula, Leg


def leg_steps(
    formula: Formula, values: dict[str, str], run: str, chosen: Sequence[str], preset: str
) -> list[CookedStep]:
    every = {leg.id: leg for leg in (*formula.legs, *formula.aspects)}
    wanted = _chosen_legs(formula, every, chosen, preset)
    known = _convoy_values(formula, values, run)
    prompt = formula.prompts.get("base") or formula.prompts.get("leg") or "{{.leg.description}}"
    note = "\n\nReview and report only: do not change code." if formula.review_only else ""
    steps = [
        CookedStep(
            id=leg.id,
            title=leg.title or leg.id,
            description=(_rendered(prompt, _leg_values(leg, formula, known), f"leg {leg.id!r}").strip() or leg.id)
            + note,
            assignee=leg.agent,
        )
        for leg in (every[id_] for id_ in wanted)
    ]
    if formula.synthesis:
        after = [id_ for id_ in (formula.synthesis.depends_on or every) if id_ in wanted]
        if unknown := [id_ for id_ in formula.synthesis.depends_on if id_ not in every]:
            raise ValueError(f"the synthesis depends on {unknown[0]!r}, which is not a leg")
        text = formula.prompts.get("synthesis") or formula.synthesis.description or formula.synthesis.title
        steps.append(
            CookedStep(
                id="synthesis",
                title=formula.synthesis.title,
                description=_rendered(
                    text, {**known, "legs": [_leg_value(every[id_]) for id_ in wanted]}, "synthesis"
                ).strip()
                + note,
                needs=tuple(after),
                assignee=formula.synthesis.agent,
            )
        )
    return steps


def _chosen_legs(formula: Formula, every: Mapping[str, Leg], chosen: Sequence[str], preset: str) -> list[str]:
    if preset:
        if preset not in formula.presets:
            known = ", ".join(formula.presets) or "none"
            raise UsageError(f"formula {formula.formula} has no preset {preset[:80]!r}", hint=f"its presets: {known}")
        chosen = [*formula.presets[preset].legs, *chosen]
    for id_ in chosen:
        if id_ not in every:
            raise UsageError(f"formula {formula.formula} has no leg {id_[:80]!r}", hint=f"its legs: {', '.join(every)}")
    return list(dict.fromkeys(chosen)) or list(every)


def _convoy_values(formula: Formula, values: Mapping[str, str], run: str) -> dict[str, Any]:
    """The values in the texts of legs: the inputs, and what Gastown derives from them."""
    lists = {name: value.replace(",", " ").split() for name, value in values.items() if name == "files"}
    target = "; ".join(f"{name} {value}" for name, value in values.items() if value)
    known: dict[str, Any] = {
        **values,
        **lists,
        "formula_name": formula.formula,
        "review_id": run,
        "target_description": target or "the project",
        "pr_number": values.get("pr", ""),
    }
    directory = _rendered(formula.output.directory, known, "output.directory")
    known["output"] = {"directory": directory, "synthesis": formula.output.synthesis}
    return known


def _leg_value(leg: Leg) -> dict[str, str]:
    return {"id": leg.id, "title": leg.title or leg.id, "focus": leg.focus, "description": leg.description.strip()}


def _leg_values(leg: Leg, formula: Formula, known: Mapping[str, Any]) -> dict[str, Any]:
    values = {**known, "leg": _leg_value(leg)}
    name = _rendered(formula.output.leg_pattern, values, "output.leg_pattern")
    values["output_path"] = f"{known['output']['directory']}/{name}" if name else ""
    values["leg"]["description"] = _rendered(leg.description.strip(), values, f"leg {leg.id!r}")
    return values


def _rendered(text: str, values: Mapping[str, Any], what: str) -> str:
    try:
        return render(text, values)
    except TemplateError as error:
        raise ValueError(f"the text of {what} is invalid: {error}") from error
