"""Hooks that a distribution other than the core offers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import pytest
from tinytown.config import Config
from tinytown.entry_points import installed
from tinytown.plugin import PluginReport, Plugins, survey_plugins
from tinytown_testing.installed import install_distribution

SPECS = """
from typing import NamedTuple
from tinytown.hookspecs import Contribution, hookspec

class Badge(NamedTuple):
    name: str

def check(badge):
    if badge.name != badge.name.upper():
        raise ValueError(f"upper case as name, got {badge.name!r}")

CONTRIBUTIONS = {"badges": Contribution("tinytown_badges", Badge, check=check)}

@hookspec
def tinytown_badges(settings):
    "Badges."

@hookspec(firstresult=True)
def tinytown_motto(agent):
    "A motto."
"""
PLUGIN = """
from tinytown.hookspecs import hookimpl
TINYTOWN_HOOK_API = 2
"""


class Site:
    """A directory on the path in which distributions are installed; other plugins are blocked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.modules: list[str] = []
        self.others = tuple(entry.name for entry in installed("tinytown"))

    def install(self, name: str, source: str, group: str = "tinytown") -> str:
        """A distribution whose module holds `source` and is named in `group`; the module's name."""
        module = f"{name}_{uuid4().hex[:8]}"
        (self.directory / f"{module}.py").write_text(source)
        install_distribution(self.directory, module, f"[{group}]\n{name} = {module}\n")
        importlib.invalidate_caches()
        self.modules.append(module)
        return module

    def survey(self) -> Plugins:
        return survey_plugins(Config(name="t", blocked_plugins=self.others), self.directory)

    def report(self, name: str) -> PluginReport:
        return next(report for report in self.survey().reports if report.name == name)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Site]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    made = Site(tmp_path)
    yield made
    for module in made.modules:
        sys.modules.pop(module, None)


def test_objects_of_another_distributions_hook_are_collected_by_name(site: Site) -> None:
    specs = site.install("badges", SPECS, "tinytown.hookspecs")
    site.install(
        "first",
        f"{PLUGIN}from {specs} import Badge\n"
        "@hookimpl\ndef tinytown_badges():\n    return [Badge('GOLD')]\n"
        "@hookimpl\ndef tinytown_motto(agent):\n    return f'{agent} works'\n",
    )
    plugins = site.survey()
    assert plugins.problems == ()
    assert list(plugins.contributed("badges")) == ["GOLD"]
    assert plugins.first_answer("tinytown_motto", {"agent": "ada"}, str, "a text") == "ada works"
    assert plugins.owner(plugins.contributed("badges")["GOLD"]) == "first"
    assert site.report("first").contributions == {"badges": ("GOLD",)}


def test_what_breaks_the_rules_of_another_distributions_hook_is_that_plugins_fault(site: Site) -> None:
    specs = site.install("badges", SPECS, "tinytown.hookspecs")
    site.install(
        "quiet", f"{PLUGIN}from {specs} import Badge\n@hookimpl\ndef tinytown_badges():\n    return [Badge('tin')]"
    )
    site.install("odd", f"{PLUGIN}@hookimpl\ndef tinytown_badges():\n    return ['TIN']")
    site.install("eager", f"{PLUGIN}@hookimpl\ndef tinytown_badges(agent):\n    return []")
    assert site.report("quiet").reason.endswith("expected upper case as name, got 'tin'")
    assert "expected a Badge, got str" in site.report("odd").reason
    assert site.report("eager").reason == "tinytown_badges has no argument 'agent'"
    assert site.survey().contributed("badges") == {}


@pytest.mark.parametrize("source", ["1 / 0", "import no_such_module_anywhere", "raise SystemExit(3)"])
def test_hooks_that_cannot_be_imported_are_reported_and_the_kernels_hooks_work(site: Site, source: str) -> None:
    site.install("broken", source, "tinytown.hookspecs")
    site.install("needs", f"{PLUGIN}@hookimpl\ndef tinytown_badges():\n    return []")
    site.install("well", f"{PLUGIN}@hookimpl\ndef tinytown_gates():\n    return []")
    assert site.report("well").status == "active"
    assert site.report("needs").reason.startswith("there is no hook tinytown_badges")
    assert any("'broken'" in problem.message and "hookspecs" in problem.message for problem in site.survey().problems)
