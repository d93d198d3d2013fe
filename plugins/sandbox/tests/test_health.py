"""What ``tt doctor`` says of boxes."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tinytown.config import Config
from tinytown_cli.contracts import Finding
from tinytown_sandbox.bubblewrap import Bubblewrap
from tinytown_sandbox.health import SandboxCheck
from tinytown_sandbox.settings import Settings


def findings(root: Path, **config: Any) -> dict[str, Finding]:
    town: Any = SimpleNamespace(root=root, config=Config(name="t", **config))
    return {finding.check: finding for finding in SandboxCheck(Bubblewrap(Settings(), root), Settings()).check(town)}


def test_programs_that_agents_may_change_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "programs" not in findings(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/node_modules/.bin{os.pathsep}{os.environ['PATH']}")
    assert f"{tmp_path}/node_modules/.bin" in findings(tmp_path)["programs"].found


def test_a_sandbox_that_is_missing_is_a_problem_where_agents_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert findings(tmp_path)["sandbox"].level == "note"
    assert findings(tmp_path, permissions="write")["sandbox"].level == "problem"
    assert "apt-get install bubblewrap" in findings(tmp_path)["sandbox"].found


def test_a_sandbox_that_works_says_what_it_holds(bubblewrap: None, tmp_path: Path) -> None:
    found = findings(tmp_path)
    assert "bubblewrap makes boxes" in found["sandbox"].found
    assert "running processes" in found["sandbox limits"].found
