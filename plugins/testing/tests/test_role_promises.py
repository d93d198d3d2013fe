"""Roles that keep every promise, and for each promise a file that breaks it: the kit has to name that one and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from tinytown.errors import NotFound
from tinytown_testing import PROMISES, Shell, check_roles
from tinytown_testing.installed import install_distribution

DEADLINE_S = 60.0
GOOD = "[roles.poet]\npurpose = 'writes verse'\n"
BREAKERS = [
    ("O1", "unreadable", "[roles"),
    ("O1", "misspelt", "[roles.poet]\npurpos = 'writes'\n"),
    ("O1", "empty", ""),
    ("O2", "silent", "[roles.poet]\ntags = ['verse']\n"),
    ("O2", "talkative", "[roles.poet]\npurpose = '''one\ntwo'''\n"),
    ("O3", "greedy", GOOD + "[roles.worker]\npurpose = 'writes'\n"),
]


def install(site: Path, plugin: str, text: str) -> None:
    """Install a plugin that brings the roles of this file and nothing else."""
    module = f"tinytown_{plugin}"
    entries = f"[tinytown]\n{plugin} = {module}\n[tinytown.roles]\n{plugin} = {module}:{plugin}.toml\n"
    install_distribution(site, f"tinytown-{plugin}", entries)
    (site / f"{module}.py").write_text("TINYTOWN_HOOK_API = 2\n")
    (site / f"{plugin}.toml").write_text(text)


@pytest.mark.parametrize(("promise", "plugin", "text"), BREAKERS, ids=[f"{row[0]}-{row[1]}" for row in BREAKERS])
async def test_broken_roles_break_exactly_this_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promise: str, plugin: str, text: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, plugin, text)
    with trio.fail_after(DEADLINE_S):
        report = await check_roles(plugin)
    assert [result.promise.id for result in report.broken] == [promise], str(report)


def test_every_promise_of_roles_has_something_that_breaks_it() -> None:
    assert [promise.id for promise in PROMISES["roles"]] == list(dict.fromkeys(row[0] for row in BREAKERS))


async def test_a_plugin_without_roles_is_said_to_have_none() -> None:
    with pytest.raises(NotFound, match="no plugin 'echo' brings roles"):
        await check_roles("echo")


def test_an_installed_plugin_with_roles_alone_is_checked(tt: Shell, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    install(site, "verses", GOOD)
    (report,) = tt("plugin", "test", "verses", "--json", env={"PYTHONPATH": str(site)}).json["reports"]
    assert (report["subject"], {promise["status"] for promise in report["promises"]}) == ("roles verses", {"ok"})
