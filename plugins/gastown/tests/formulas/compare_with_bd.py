"""Formulas as they are cooked here and by a real `bd` on PATH: the steps that differ, and in what.

``python -m plugins.gastown.tests.formulas.compare_with_bd DIR...`` compares every formula of these directories and prints the
figures of `docs/formulas.md`. Without a `bd` there is nothing to compare with.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinytown.errors import UsageError
from tinytown_gastown.formulas.cook import REVIEW_ONLY, cook
from tinytown_gastown.formulas.library import read_file
from tinytown_gastown.formulas.model import Formula, Variable

BD = shutil.which("bd")
#: Values that a variable without a default may have, whatever its pattern and type; the first that fits is taken.
_VALUES = ("x", "1", "1.2.3", "v1.2.3", "true")

_MISSING = re.compile(r"Missing: (.*?)\s+Provide", re.DOTALL)
#: What only Gastown reads: acceptance criteria, and `review_only`.
_NOT_OF_BD = re.compile(rf"(\n\n## Acceptance\n\n.*)?(\n\n{REVIEW_ONLY})?\Z", re.DOTALL)


class Comparison(NamedTuple):
    """One formula: what `bd` or this plugin refused, or the fields in which steps differ with the number of these steps."""

    name: str
    steps: int = 0
    refused_here: str = ""
    refused_there: str = ""
    differences: Mapping[str, int] = {}
    #: One line per step and field.
    details: Sequence[str] = ()


def formulas_in(directories: Iterable[Path]) -> dict[str, Path]:
    """The formula files of the directories by name; the first of a name counts."""
    files: dict[str, Path] = {}
    for directory in directories:
        for path in sorted([*directory.glob("*.formula.toml"), *directory.glob("*.formula.json")]):
            files.setdefault(path.name.rpartition(".formula.")[0], path.resolve())
    return files


def compare(files: Mapping[str, Path]) -> list[Comparison]:
    """Each formula as it is cooked by both, with the same values for all variables."""
    with tempfile.TemporaryDirectory() as workspace:
        _bd(workspace, "init", "--prefix", "tt", "--non-interactive", "--skip-hooks", "--skip-agents", "--quiet")
        return [_compare(name, files, workspace) for name in files]


def _compare(name: str, files: Mapping[str, Path], workspace: str) -> Comparison:
    def find(called: str) -> Formula:
        return read_file(files[called], called).formula

    here: dict[str, dict[str, Any]] = {}
    refused_here = ""
    given: dict[str, str] = {}
    try:
        formula = find(name)
        given = _values(_all_variables(formula, find))
        cooked = cook(formula, find, given=given)
        here = {step.id: _ours(step) for step in cooked.steps}
    except UsageError as error:
        refused_here = error.message
    done = _cook(workspace, files, name, given)
    if missing := _MISSING.search(done.stderr):  # {{else}} and {{end}} of other templates, not variables here
        given |= {word: f"{{{{{word}}}}}" for word in re.split(r"[,\s]+", missing[1])}
        done = _cook(workspace, files, name, given)
    if done.returncode:
        return Comparison(name, len(here), refused_here, " ".join(done.stderr.split("Usage:")[0].split()))
    answer = json.loads(done.stdout)
    there = _flat(answer.get("steps") or _of_expansion(answer))
    if refused_here:
        return Comparison(name, len(there), refused_here)
    details = [f"{id_}: only here" for id_ in here.keys() - there.keys()]
    details += [f"{id_}: only in bd" for id_ in there.keys() - here.keys()]
    fields = Counter({"step": len(details)}) if details else Counter[str]()
    for id_ in here.keys() & there.keys():
        for field, ours in here[id_].items():
            theirs = there[id_][field]
            if ours != theirs:
                fields[field] += 1
                details.append(f"{id_}.{field}: here {str(ours)[:200]!r}, in bd {str(theirs)[:200]!r}")
    return Comparison(name, len(here), differences=fields, details=sorted(details))


def _cook(
    workspace: str, files: Mapping[str, Path], name: str, given: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    words = [word for key, value in given.items() for word in ("--var", f"{key}={value}")]
    places = dict.fromkeys(str(path.parent) for path in files.values())
    paths = [word for place in places for word in ("--search-path", place)]
    return _bd(workspace, "cook", str(files[name]), *paths, *(words or ["--mode", "runtime"]))


def _of_expansion(answer: Mapping[str, Any]) -> Any:
    """The template of an expansion by itself, which `bd` leaves as it is, for the target `main`."""
    text = json.dumps(answer.get("template") or [])
    words = {
        "target": "main",
        "target.title": answer["formula"],
        "target.description": answer.get("description", "").strip(),
    }
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", json.dumps(value)[1:-1])
    return json.loads(text)


def _all_variables(formula: Formula, find: Any) -> dict[str, Variable]:
    """The variables of a formula and of those that it extends."""
    inherited = [_all_variables(find(parent), find) for parent in formula.extends]
    return {name: value for each in (*inherited, formula.variables) for name, value in each.items()}


def _values(variables: Mapping[str, Variable]) -> dict[str, str]:
    return {
        name: next(value for value in (*variable.enum, *_VALUES) if _fits(value, variable))
        for name, variable in variables.items()
        if variable.default is None
    }


def _fits(value: str, variable: Variable) -> bool:
    kind = {"int": r"\d+", "number": r"\d+", "bool": "true", "boolean": "true"}.get(variable.type, ".*")
    return bool(re.search(variable.pattern, value) and re.fullmatch(kind, value))


def _ours(step: Any) -> dict[str, Any]:
    return {
        "title": step.title,
        "description": _NOT_OF_BD.sub("", step.description),
        "type": step.type,
        "priority": step.priority,
        "labels": sorted(step.labels),
        "needs": sorted(step.needs),
        "parent": step.parent,
        "assignee": step.assignee,
        "gate": (step.gate.type, step.gate.id or step.gate.await_id, str(step.gate.timeout)) if step.gate else None,
    }


def _flat(steps: Iterable[Mapping[str, Any]], parent: str = "", inherited: Sequence[str] = ()) -> dict[str, Any]:
    """The steps of `bd` by id, children too, with the needs that the tree gives them, as `Cooked` has them."""
    flat: dict[str, Any] = {}
    for step in steps:
        children: Sequence[Mapping[str, Any]] = step.get("children") or ()
        needs = {*(step.get("needs") or ()), *(step.get("depends_on") or ()), *inherited}
        gate = step.get("gate")
        title = step.get("title", "")
        flat[step["id"]] = {
            "title": title,
            "description": step.get("description", "").strip() or title,
            "type": "epic" if children else step.get("type") or "task",
            "priority": step.get("priority"),
            "labels": sorted(step.get("labels") or ()),
            "needs": sorted({*needs, *(child["id"] for child in children)}),
            "parent": parent,
            "assignee": step.get("assignee", ""),
            "gate": (gate["type"], gate.get("id") or gate.get("await_id") or "", gate.get("timeout") or "")
            if gate
            else None,
        }
        flat |= _flat(children, step["id"], sorted(needs))
    return flat


def _bd(workspace: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BD or "bd", *words], cwd=workspace, capture_output=True, text=True, timeout=120, check=False)


def main() -> None:
    if BD is None:
        sys.exit("no bd is on PATH")
    kinds = Counter[str]()
    for each in compare(formulas_in(map(Path, sys.argv[1:]))):
        refused = [
            f"{side} refuses it: {why}" for side, why in (("tt", each.refused_here), ("bd", each.refused_there)) if why
        ]
        fields = ", ".join(f"{field} of {count}" for field, count in sorted(each.differences.items()))
        kinds[
            "; ".join(side[:10] for side in refused)
            or ("differs in " + "/".join(sorted(each.differences)) if fields else "equal")
        ] += 1
        print(f"{each.name}: {each.steps} steps, {'; '.join(refused) or fields or 'equal'}")
        print("".join(f"    {detail}\n" for detail in each.details[:12]), end="")
    print(", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))


if __name__ == "__main__":
    main()
