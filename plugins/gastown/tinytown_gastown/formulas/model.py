"""The format of a formula file as frozen values. Pure; `cook` and `transforms` implement the keys.

Source: the formula format of beads and Gastown, as both of their parsers read it. Every key of either is here, so that any
other key is an error and can be named.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

FormulaType = Literal["workflow", "expansion", "aspect", "convoy"]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Variable(_Table, frozen=True, kw_only=True):
    """``[vars.NAME]`` and ``[inputs.NAME]``. One that is required and has a default is as good as given."""

    description: str = ""
    default: str | int | float | bool | None = None
    required: bool = False
    required_unless: tuple[str, ...] = ()
    enum: tuple[str, ...] = ()
    pattern: str = ""
    type: Literal["string", "int", "number", "bool", "boolean"] = "string"


class Gate(_Table, frozen=True, kw_only=True):
    """What a step waits for besides its needs. `timeout` is a duration such as ``30m``, or nanoseconds."""

    type: str
    id: str = ""
    await_id: str = ""
    timeout: str | int = ""
    condition: str = ""
    approvers: tuple[str, ...] = ()


class Loop(_Table, frozen=True, kw_only=True):
    """A body of steps that is repeated, one pass after the other."""

    body: tuple[Step, ...]
    count: int | str | None = None
    range: str = ""
    var: str = ""
    until: str = ""
    max: int | None = None


class Step(_Table, frozen=True, kw_only=True):
    """``[[steps]]`` and ``[[template]]``."""

    id: str
    title: str = ""
    description: str = ""
    design: str = ""
    notes: str = ""
    acceptance: str = ""
    type: str = "task"
    priority: int | None = None
    labels: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    needs: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    waits_for: str = ""
    assignee: str = ""
    expand: str = ""
    expand_vars: dict[str, str] = {}
    condition: str = ""
    children: tuple[Step, ...] = ()
    gate: Gate | None = None
    loop: Loop | None = None
    on_complete: dict[str, Any] | None = None
    parallel: bool = False
    interactive: bool = False


class AdviceStep(_Table, frozen=True, kw_only=True):
    """A step that advice adds."""

    id: str
    title: str = ""
    description: str = ""
    type: str = "task"
    args: dict[str, Any] = {}
    output: dict[str, Any] = {}


AdviceSteps = AdviceStep | tuple[AdviceStep, ...]


class Around(_Table, frozen=True, kw_only=True):
    """``[advice.around]``"""

    before: AdviceSteps = ()
    after: AdviceSteps = ()


class Advice(_Table, frozen=True, kw_only=True):
    """``[[advice]]``: steps to put before or after each step that `target`, a glob, means."""

    target: str = "*"
    before: AdviceSteps = ()
    after: AdviceSteps = ()
    around: Around = Around()


class Pointcut(_Table, frozen=True, kw_only=True):
    """``[[pointcuts]]``: which steps advice is for."""

    glob: str = ""
    type: str = ""
    label: str = ""


class Expand(_Table, frozen=True, kw_only=True):
    """``[[compose.expand]]``"""

    target: str
    with_: str = msgspec.field(name="with")
    vars: dict[str, str] = {}


class Map(_Table, frozen=True, kw_only=True):
    """``[[compose.map]]``"""

    select: str
    with_: str = msgspec.field(name="with")
    vars: dict[str, str] = {}


class Branch(_Table, frozen=True, kw_only=True):
    """``[[compose.branch]]``: steps side by side between two others."""

    from_: str = msgspec.field(name="from")
    steps: tuple[str, ...]
    join: str


class ConditionGate(_Table, frozen=True, kw_only=True):
    """``[[compose.gate]]``"""

    before: str
    condition: str


class Compose(_Table, frozen=True, kw_only=True):
    """``[compose]``"""

    expand: tuple[Expand, ...] = ()
    map: tuple[Map, ...] = ()
    branch: tuple[Branch, ...] = ()
    gate: tuple[ConditionGate, ...] = ()
    aspects: tuple[str, ...] = ()
    bond_points: tuple[dict[str, Any], ...] = ()
    hooks: tuple[dict[str, Any], ...] = ()


class Leg(_Table, frozen=True, kw_only=True):
    """``[[legs]]`` and ``[[aspects]]``: one of several parallel views of the same subject."""

    id: str
    title: str = ""
    focus: str = ""
    description: str = ""
    agent: str = ""


class Output(_Table, frozen=True, kw_only=True):
    """``[output]``: where legs and their synthesis write."""

    directory: str = ""
    leg_pattern: str = ""
    synthesis: str = ""


class Synthesis(_Table, frozen=True, kw_only=True):
    """``[synthesis]``: the step after all legs."""

    title: str = "Synthesis"
    description: str = ""
    depends_on: tuple[str, ...] = ()
    agent: str = ""


class Preset(_Table, frozen=True, kw_only=True):
    """``[presets.NAME]``: a choice of legs."""

    legs: tuple[str, ...]
    description: str = ""


class Formula(_Table, frozen=True, kw_only=True):
    """A whole file. ``pour``, ``phase`` and ``squash`` have no effect: every step becomes a task, and retention applies."""

    formula: str
    description: str = ""
    version: int = 1
    type: FormulaType | None = None
    extends: tuple[str, ...] = ()
    vars: dict[str, Variable | str | int | float | bool] = {}
    steps: tuple[Step, ...] = ()
    template: tuple[Step, ...] = ()
    compose: Compose = Compose()
    advice: tuple[Advice, ...] = ()
    pointcuts: tuple[Pointcut, ...] = ()
    phase: Literal["", "liquid", "vapor"] = ""
    pour: bool = False
    squash: dict[str, Any] = {}
    agent: str = ""
    review_only: bool = False
    inputs: dict[str, Variable | str | int | float | bool] = {}
    prompts: dict[str, str] = {}
    output: Output = Output()
    legs: tuple[Leg, ...] = ()
    aspects: tuple[Leg, ...] = ()
    synthesis: Synthesis | None = None
    presets: dict[str, Preset] = {}

    @property
    def kind(self) -> FormulaType:
        """The type, given or derived from the content."""
        if self.type:
            return self.type
        if self.steps or self.extends:
            return "workflow"
        return "convoy" if self.legs else "expansion" if self.template else "aspect"

    @property
    def variables(self) -> dict[str, Variable]:
        """Variables and inputs by name; a plain value is a default."""
        given = {**self.inputs, **self.vars}
        return {
            name: value if isinstance(value, Variable) else Variable(default=value) for name, value in given.items()
        }
