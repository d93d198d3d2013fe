"""The law of the layout: who may import whom, how large the core may grow, and what it may name. Reads sources as text.

The core consists of rooms (packages) and modules directly in `tinytown`, each on a floor; an import goes down. Every import
that is written counts, whether it runs at start, inside a function or for a type checker only: what a module needs is a
dependency whenever it is loaded. A name of a module in `importlib.import_module("...")` counts too.
"""

from __future__ import annotations

import ast
import graphlib
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "tinytown"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
by_plugin = pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)

#: The floors of the core, the lowest first. An import goes to a lower floor, never to another room on the same one.
FLOORS: list[set[str]] = [
    {"interrupts"},
    {"errors", "entry_points", "packages", "exports", "files", "concurrency"},
    {"model", "process"},
    {"config"},
    {"identity", "kinds", "protocol"},
    {"state"},
    {"redis"},
    {"town"},
    {"contracts"},
    {"hookspecs"},
    {"plugin"},
    {"kernel"},
    {"__main__"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
#: `tinytown/__init__.py` is the front of all this: it may name any room. From below only what it holds itself may be taken.
FRONT = ""
FRONT_OWN_NAMES = {"__version__"}

#: The reaper outlives the kernel that started it, in an interpreter that must be small: the standard library alone.
STANDARD_LIBRARY_ONLY = {CORE / "process" / "reaper.py", CORE / "entry_points.py", CORE / "packages.py"}

#: The rooms and modules of the core that may import a third-party package. What is not named here belongs to a plugin.
THIRD_PARTY: dict[str, set[str]] = {
    "hiredis": {"redis"},
    "msgspec": {name for name in FLOOR if name not in FLOORS[0] | FLOORS[1]},
    "packaging": {"plugin"},
    "pluggy": {"hookspecs", "plugin"},
    "redis": {"redis"},
    "trio": {"concurrency", "process", "redis", "town", "kernel"},
    "trio_util": {"concurrency", "process", "redis", "town", "kernel"},
}

#: See decision 9.
CORE_LINES = 13_000
CORE_LINES_OF_CODE = 9_200
MODULE_LINES = 500
#: Modules that are longer, each with its reason; by path from the root of the repository.
LONG_MODULES: dict[str, str] = {}

#: The one file of the core that names our distributions, plugins, kinds and commands.
PACKAGES = CORE / "packages.toml"


@dataclass(frozen=True)
class Import:
    """One written import: the dotted name of what is imported, and where."""

    name: str
    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.name}"


def module_name(path: Path, top: Path) -> str:
    """The dotted name of the module in `path`, seen from the directory `top`."""
    parts = path.relative_to(top).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, top: Path) -> Iterator[Import]:
    """Every import written in `path`. `from a import b` gives `a.b`, which may be a module or a name in one."""
    package = module_name(path, top).split(".")
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, path, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(f"{source}.{alias.name}", path, node.lineno)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield Import(node.args[0].value, path, node.lineno)


def sources(directory: Path) -> list[Path]:
    """The Python files below `directory`, sorted."""
    return sorted(path for path in directory.rglob("*.py") if "__pycache__" not in path.parts)


@cache
def imports_in(path: Path, top: Path) -> tuple[Import, ...]:
    """`imports_of`, each file read once."""
    return tuple(imports_of(path, top))


def unit(name: str) -> str | None:
    """The room or module of the core that a dotted name belongs to; None for anything else."""
    top, *below = name.split(".")
    if top != "tinytown":
        return None
    return below[0] if below and below[0] in UNITS else FRONT


UNITS = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or (path.is_dir() and sources(path))} - {
    "__init__"
}
ROOMS = {path.parent.name for path in CORE.glob("*/__init__.py")}
CORE_IMPORTS = [
    (unit(module_name(path, CORE.parent)), each) for path in sources(CORE) for each in imports_in(path, CORE.parent)
]


def test_an_import_is_seen_however_it_is_written(tmp_path: Path) -> None:
    module = tmp_path / "tinytown" / "redis" / "link.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "import trio.abc\n"
        "from . import resp\n"
        "from ..model.ids import check\n"
        "if TYPE_CHECKING:\n    from tinytown import town\n"
        "def late():\n    import redis\n    importlib.import_module('tinytown.kernel')\n"
    )
    assert [(each.name, unit(each.name)) for each in imports_of(module, tmp_path)] == [
        ("trio.abc", None),
        ("tinytown.redis.resp", "redis"),
        ("tinytown.model.ids.check", "model"),
        ("tinytown.town", "town"),
        ("redis", None),
        ("tinytown.kernel", "kernel"),
    ]


def test_every_room_and_module_of_the_core_has_a_floor() -> None:
    assert set(FLOOR) == UNITS


def test_an_import_in_the_core_goes_down() -> None:
    wrong = []
    for importer, each in CORE_IMPORTS:
        imported = unit(each.name)
        if importer is None or imported is None or imported == importer or importer == FRONT:
            continue
        if imported == FRONT:
            if each.name.removeprefix("tinytown.") not in FRONT_OWN_NAMES:
                wrong.append(f"{each}: only the front itself knows what it exports")
        elif FLOOR[imported] >= FLOOR[importer]:
            wrong.append(f"{each}: from floor {FLOOR[importer]} to floor {FLOOR[imported]}")
    assert not wrong, "\n".join(wrong)


def modules_below(top: Path, package: Path) -> dict[str, set[str]]:
    """Each module of a package, with those of its own modules that it imports."""
    modules = {module_name(path, top): path for path in sources(package)}
    below: dict[str, set[str]] = {name: set() for name in modules}
    for importer, path in modules.items():
        if (path.name == "__init__.py" and path.parent.parent == CORE) or path == CORE / "__init__.py":
            continue  # a front imports what it exports when it is first used
        for each in imports_in(path, top):
            imported = each.name
            while imported and imported not in modules:
                imported = imported.rpartition(".")[0]
            if imported and imported != importer and not importer.startswith(f"{imported}."):
                below[importer].add(imported)
    return below


@pytest.mark.parametrize(
    "package", [CORE, *(each for plugin in PLUGINS for each in plugin.glob("tinytown_*"))], ids=lambda path: path.name
)
def test_modules_import_each_other_in_no_cycle(package: Path) -> None:
    graphlib.TopologicalSorter(modules_below(package.parent, package)).prepare()


def test_a_third_party_package_is_imported_where_it_belongs() -> None:
    wrong = [
        f"{each}: expected in {', '.join(sorted(THIRD_PARTY.get(package, {'no room of the core'})))}"
        for importer, each in CORE_IMPORTS
        if (package := each.name.split(".")[0]) not in (*sys.stdlib_module_names, "tinytown")
        and importer not in THIRD_PARTY.get(package, ())
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", sorted(STANDARD_LIBRARY_ONLY), ids=lambda path: path.stem)
def test_this_module_needs_the_standard_library_alone(path: Path) -> None:
    names = {each.name.split(".")[0] for each in imports_in(path, CORE.parent)}
    assert names <= sys.stdlib_module_names


# -- what plugins may import -----------------------------------------------------------------------------


def exports(stub: Path) -> set[str]:
    """The names that the front of a package declares to type checkers."""
    imports = [node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)]
    return {alias.name for each in imports for alias in each.names}


#: What the front of each room exports. All modules of `model` are public.
EXPORTS = {room: exports(CORE / room / "__init__.pyi") for room in ROOMS - {"model"}}


def is_public(name: str) -> bool:
    """Whether a plugin may import this dotted name of the core."""
    _, *below = name.split(".")
    if not below or below[0] not in EXPORTS:
        return not below or below[0] != "__main__"
    return len(below) == 1 or below[1] in EXPORTS[below[0]]


@by_plugin
def test_a_plugin_and_its_tests_import_what_the_core_makes_public(plugin: Path) -> None:
    wrong = [
        str(each)
        for path in sources(plugin)
        for each in imports_in(path, plugin)
        if each.name.split(".")[0] == "tinytown" and not is_public(each.name)
    ]
    assert not wrong, "\n".join(wrong)


@cache
def project(directory: Path) -> dict[str, Any]:
    """The parsed pyproject.toml of a distribution."""
    return tomllib.loads((directory / "pyproject.toml").read_text())


@by_plugin
def test_a_plugin_imports_of_other_distributions_what_it_declares(plugin: Path) -> None:
    settings = project(plugin)
    extra = settings.get("dependency-groups", {}).get("test", [])
    declared = {Requirement(each).name.replace("-", "_") for each in settings["project"]["dependencies"]}
    in_tests = {Requirement(each).name.replace("-", "_") for each in extra} | {"tinytown_testing", "tinytown_server"}
    own = {path.name for path in plugin.glob("tinytown_*")}
    wrong = []
    for path in sources(plugin):
        allowed = declared | own | (in_tests if path.relative_to(plugin).parts[0] == "tests" else set())
        wrong += [
            f"{each}: {plugin.name} does not declare it"
            for each in imports_in(path, plugin)
            if (top := each.name.split(".")[0]).startswith("tinytown_") and top not in allowed
        ]
    assert not wrong, "\n".join(wrong)


@by_plugin
def test_a_plugin_imports_no_command_of_the_command_line(plugin: Path) -> None:
    wrong = [
        str(each)
        for path in sources(plugin)
        for each in imports_in(path, plugin)
        if plugin.name != "cli" and each.name.startswith("tinytown_cli.commands")
    ]
    assert not wrong, "\n".join(wrong)


# -- what the core may name ------------------------------------------------------------------------------


def strings(path: Path) -> Iterator[tuple[int, str, bool]]:
    """The line, the text, and whether it is a docstring, of every string in a file; of a Lua file its lines."""
    if path.suffix != ".py":
        yield from ((number, line, False) for number, line in enumerate(path.read_text().splitlines(), 1))
        return
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value, id(node) in docs


def named(what: str) -> set[str]:
    """What all entries of the table of packages have under `what`, but what the command line brings itself."""
    tables = tomllib.loads(PACKAGES.read_text()).values()
    return {name for table in tables for name in table.get(what, ())}


def test_the_core_names_no_plugin() -> None:
    hooks = set(re.findall(r"^def (tinytown_\w+)", (CORE / "hookspecs.py").read_text(), re.MULTILINE))
    distribution = re.compile(r"tinytown[-_][a-z_]+")
    kinds, plugins = named("kinds"), named("plugins")
    command = re.compile(rf"\btt ({'|'.join(sorted(named('commands')))})\b")
    setting = re.compile(rf"plugins\.({'|'.join(sorted(plugins))})\b|--cli ({'|'.join(sorted(kinds))})\b")
    wrong = []
    for path in sorted(each for suffix in ("*.py", "*.lua", "*.toml") for each in CORE.rglob(suffix)):
        if path == PACKAGES:
            continue
        for line, text, is_docstring in strings(path):
            found = {each for each in distribution.findall(text) if each not in hooks | {"tinytown-core", "tinytown_"}}
            if not is_docstring:
                found |= {match.group() for each in (command, setting) for match in each.finditer(text)}
                # `cli` is a field of agents, `notify` a function.
                found |= {text} & (kinds | plugins - {"cli", "notify"}) if path.suffix == ".py" else set()
            wrong += [f"{path.relative_to(ROOT)}:{line} names {each}" for each in sorted(found)]
    assert not wrong, "\n".join(wrong)


# -- size ------------------------------------------------------------------------------------------------


def lines_of_code(path: Path) -> int:
    """Lines that do something: no blank lines, comments or docstrings."""
    lines = path.read_text().splitlines()
    comment = "--" if path.suffix == ".lua" else "#"
    silent = {number for number, line in enumerate(lines, 1) if not line.strip() or line.strip().startswith(comment)}
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                silent.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines) - len(silent)


def test_lines_of_code_are_told_from_words(tmp_path: Path) -> None:
    python = tmp_path / "a.py"
    python.write_text('"""Words.\n\nMore.\n"""\n\n# why\ndef f():\n    """Words."""\n    return """\n"""\n')
    lua = tmp_path / "a.lua"
    lua.write_text("-- why\n\nlocal a = 1 -- so\n")
    assert (lines_of_code(python), lines_of_code(lua)) == (3, 1)


def files(*directories: Path) -> list[Path]:
    """The Python and Lua files below some directories, sorted."""
    return sorted(
        path
        for directory in directories
        for suffix in ("*.py", "*.lua")
        for path in directory.rglob(suffix)
        if "__pycache__" not in path.parts
    )


@pytest.mark.parametrize("code", [False, True], ids=["lines", "lines of code"])
def test_the_core_stays_small(code: bool) -> None:
    bound = CORE_LINES_OF_CODE if code else CORE_LINES
    sizes = {
        path.relative_to(CORE).as_posix(): lines_of_code(path) if code else len(path.read_text().splitlines())
        for path in files(CORE)
    }
    total = sum(sizes.values())
    largest = ", ".join(f"{name} {sizes[name]}" for name in sorted(sizes, key=lambda name: -sizes[name])[:12])
    assert total <= bound, f"{total}; largest: {largest}"


def test_a_module_above_the_size_limit_has_a_reason() -> None:
    packages = [CORE, *(each for plugin in PLUGINS for each in plugin.glob("tinytown_*"))]
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in files(*packages)}
    long = {name: count for name, count in lines.items() if count > MODULE_LINES}
    assert set(long) == set(LONG_MODULES), f"longer than {MODULE_LINES} lines: {long}; with a reason: {LONG_MODULES}"
