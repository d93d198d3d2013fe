"""Every test that kills or freezes is among the evidence of `docs/recovery.md`; `tests/docs/test_evidence.py` has the rest."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "evidence.md").read_text()
SOURCES = "\n".join(path.read_text() for path in sorted(HERE.glob("test_*.py")))


def test_the_session_that_does_everything_at_once_has_its_short_form() -> None:
    (named,) = set(re.findall(r"`(test_\w+)` in `tests/chaos/`", PAGE))
    assert f"def {named}(" in (HERE.parent / "chaos" / "test_chaos.py").read_text()


def test_every_fault_that_is_tested_is_on_the_page() -> None:
    faults = re.findall(r"^@pytest\.mark\.faults\n(?:@.*\n)*async def (test_\w+)", SOURCES, re.MULTILINE)
    assert faults
    assert [name for name in faults if f"`{name}`" not in PAGE] == []
