"""Every line of `docs/recovery.md` names tests that exist, and every test that kills or freezes is listed there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE, CHAOS = (HERE.parents[1] / "docs" / "recovery.md").read_text().split("## Everything at once\n")
SOURCES = "\n".join(path.read_text() for path in sorted(HERE.glob("test_*.py")))


def test_every_row_names_tests_that_exist() -> None:
    tests = [*HERE.parent.rglob("test_*.py"), *HERE.parents[1].glob("plugins/*/tests/**/test_*.py")]
    everything = "\n".join(path.read_text() for path in tests)
    written = set(re.findall(r"^(?:async )?def (test_\w+)", everything, re.MULTILINE))
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| what |", "|---"))]
    assert rows
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.split("|")[-2])
        assert named, row
        assert set(named) <= written, row


def test_the_session_that_does_everything_at_once_has_its_short_form() -> None:
    (named,) = set(re.findall(r"`(test_\w+)` in `tests/chaos/`", CHAOS))
    assert f"def {named}(" in (HERE.parent / "chaos" / "test_chaos.py").read_text()


def test_every_fault_that_is_tested_is_on_the_page() -> None:
    faults = re.findall(r"^@pytest\.mark\.faults\n(?:@.*\n)*async def (test_\w+)", SOURCES, re.MULTILINE)
    assert faults
    assert [name for name in faults if f"`{name}`" not in PAGE] == []
