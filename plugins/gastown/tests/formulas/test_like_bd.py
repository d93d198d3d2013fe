"""A real `bd` on PATH cooks the same steps, of the shapes that are met and of the built-in formulas."""

from __future__ import annotations

from pathlib import Path

import pytest
from tinytown_gastown.formulas.library import BUILT_IN

from .compare_with_bd import BD, compare, formulas_in

SHAPES = Path(__file__).parent / "shapes"


@pytest.mark.skipif(BD is None, reason="no bd is on PATH: what the real program cooks cannot be compared")
def test_steps_are_those_that_bd_cooks() -> None:
    differing = {
        each.name: each.refused_here[:30] or each.refused_there[:9] or [*each.differences]
        for each in compare(formulas_in([SHAPES, BUILT_IN]))
        if each.refused_here or each.refused_there or each.differences
    }
    assert differing == {
        # Gastown's own legs, of which bd makes no steps.
        **{name: ["step"] for name in ("code-review", "plan-review", "review")},
        # A variable that is required and has a default.
        "mol-dance": "Error: re",
        # An aspect by itself has no steps; bd prints an empty list.
        "security-audit": "formula security-audit: it has",
        # A check before a step also waits for what that waited for, and who needs the step waits for the checks after it.
        "shiny-secure": ["needs"],
    }
