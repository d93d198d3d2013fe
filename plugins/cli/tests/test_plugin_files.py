"""Plugins that are files of the project: loaded as a person has trusted them, and not otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from tinytown.config import CONFIG_FILE, Config
from tinytown.entry_points import installed, loading_state
from tinytown.errors import NotFound, UsageError
from tinytown.model.agents import Agent
from tinytown.plugin import PluginReport, Plugins, load_plugins
from tinytown.state import state_directory
from tinytown_cli.plugin_files import trust_file, trusted_files

RULES = """
from tinytown.hookspecs import hookimpl
TINYTOWN_HOOK_API = 2

@hookimpl
def tinytown_prompt_sections(agent, root):
    return [f"rules of {root.name} for {agent.name}"]
"""
ADA = Agent(id="a", name="ada", cli="none")


class Project:
    """A town's directory, in which no installed plugin is active."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self) -> Plugins:
        blocked = tuple(entry.name for entry in installed("tinytown"))
        return load_plugins(Config(name="town", blocked_plugins=blocked), self.directory)

    def report(self, name: str) -> PluginReport:
        (report,) = [report for report in self.load().reports if report.name == name]
        return report


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("TINYTOWN_BLOCK", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "town").mkdir()
    (tmp_path / "town" / "tinytown.toml").write_text('name = "town"\n')
    return Project(tmp_path / "town")


@pytest.fixture
def rules(project: Project) -> Path:
    path = project.directory / "plugins" / "rules.py"
    path.parent.mkdir()
    path.write_text(RULES)
    return path


def test_a_file_is_no_plugin_until_it_is_trusted(project: Project, rules: Path) -> None:
    assert project.load().prompt_sections(ADA, None) == ()
    before = loading_state(project.directory / CONFIG_FILE)
    trust_file(project.directory, rules)
    assert loading_state(project.directory / CONFIG_FILE) != before
    plugins = project.load()
    assert plugins.prompt_sections(ADA, None) == (f"rules of {project.directory.name} for ada",)
    (report,) = [report for report in plugins.reports if report.name == "rules"]
    assert (report.status, report.distribution) == ("active", "plugins/rules.py")
    trust_file(project.directory, rules, trusted=False)
    assert trusted_files(project.directory) == ()
    assert project.load().prompt_sections(ADA, None) == ()


def test_a_file_that_was_changed_since_is_refused_and_not_run(project: Project, rules: Path) -> None:
    trust_file(project.directory, rules)
    rules.write_text("raise AssertionError('run')")
    report = project.report("rules")
    assert (report.status, report.reason) == ("refused", "plugins/rules.py was changed since it was trusted")
    rules.write_text(RULES)
    assert project.report("rules").status == "active"
    rules.unlink()
    report = project.report("rules")
    assert report.status == "faulty"
    assert "cannot read the plugin" in report.reason


def test_a_file_that_fails_is_a_faulty_plugin_by_its_name(project: Project, rules: Path) -> None:
    rules.write_text("import nothing_like_it")
    trust_file(project.directory, rules)
    report = project.report("rules")
    assert report.status == "faulty"
    assert "nothing_like_it" in report.reason


@pytest.mark.parametrize(
    "name", ["rules.py", "plugins/deep/rules.py", "plugins/rules.txt", "plugins/two words.py", "plugins/../x.py"]
)
def test_only_modules_directly_among_the_plugins_can_be_trusted(project: Project, rules: Path, name: str) -> None:
    path = project.directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(RULES)
    with pytest.raises(UsageError, match=r"expected a file .*/plugins/NAME.py, got"):
        trust_file(project.directory, path)


def test_a_link_out_of_the_directory_or_a_missing_file_is_not_trusted(project: Project, rules: Path) -> None:
    link, outside = rules.with_name("linked.py"), project.directory / "outside.py"
    outside.write_text(RULES)
    link.symlink_to(outside)
    with pytest.raises(UsageError):
        trust_file(project.directory, link)
    with pytest.raises(NotFound):
        trust_file(project.directory, rules.with_name("missing.py"))


def test_damage_to_what_is_trusted_trusts_nothing(project: Project, rules: Path) -> None:
    trust_file(project.directory, rules)
    (state_directory(project.directory) / "trusted-plugins.json").write_text("{")
    assert trusted_files(project.directory) == ()
