"""Who may import whom, and how large the kernel may grow. Reads the source as text; imports none of it.

Modules stand on floors, and an import goes down or stays on its floor, never up. What counts is every import that
is written, whether it runs at start, inside a function or for a type checker only: an idea that a module needs is a
dependency whenever it is loaded. Names of modules in strings (`importlib.import_module("tinytown.kernel")`) count too.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "core" / "tinytown"

#: Each module of the kernel, or the package it lies in, and its floor. A module that is in neither table fails.
FLOORS = {
    "errors": 0,
    "names": 0,
    "records": 1,
    "messages": 1,
    "tasks": 1,
    "agents": 1,
    "events": 1,
    "round_records": 1,
    "config": 2,
    "protocol": 3,
    "redis": 4,
    "processes": 4,
    "process_output": 4,
    "round_files": 4,
    "keeper": 4,
    "orphans": 4,
    "clock": 4,
    "disk": 4,
    "kernel_lock": 4,
    "background": 4,
    "town": 5,
    "contracts": 6,
    "hookspecs": 6,
    "plugin_registry": 6,
    "prompts": 6,
    "desk": 7,
    "settlement": 7,
    "judging": 7,
    "rounds": 7,
    "hosting": 7,
    "noticeboard": 7,
    "recovery": 7,
    "pricing": 7,
    "kernel": 8,
    "testing": 9,
    "demo": 9,
    "snapshots": 9,
    "migration": 9,
    "toml_text": 9,
    "plans": 9,
    "ledger": 9,
    "cli": 9,
    "command_line": 9,
    "adapters": 9,
    "roles": 2,
    "__main__": 9,
}
#: `tinytown/__init__.py` is the public front of all this: it may name any module below the command line. From below,
#: only what it holds itself may be taken from it.
FRONT = ""
FRONT_FLOOR = 8
FRONT_OWN_NAMES = {"__version__"}

#: The test kit is for everybody's plugins: it may not lean on the command line or on the demo. Plans are values.
NEVER = {
    "testing": {"cli", "demo", "__main__"},
    "demo": {"cli", "__main__", "testing"},
    "toml_text": {"cli", "demo", "plans", "__main__", "testing"},
    "plans": {"cli", "demo", "__main__", "testing"},
}

#: The keeper outlives the kernel that started it, in an interpreter that must be small: the standard library alone.
STANDARD_LIBRARY_ONLY = {"keeper"}

#: Where a third-party package may be imported: on these floors and above, or in these modules only.
LOWEST_FLOOR = {"trio": 4, "trio_util": 4}
ONLY_IN: dict[str, set[str]] = {
    "redis": {"redis"},
    "hiredis": {"redis"},
    "pluggy": {"hookspecs", "plugin_registry"},
    "tomlkit": {"toml_text"},
    "pytest": set(),
}

#: What a plugin may see of the kernel; its tests may use the kit and anything an ordinary user may import.
PLUGINS_SEE = {
    FRONT,
    "contracts",
    "hookspecs",
    "messages",
    "tasks",
    "agents",
    "events",
    "errors",
    "config",
    "processes",
    "disk",
    "town",
    "command_line",
    "adapters",
}
PLUGIN_TESTS_SEE = PLUGINS_SEE | {"testing"}

MODULE_LINES = 500
#: Lines of code, without blank lines, comments and docstrings. What a town is and does (everything below the command
#: line but floor 4) is for reading in an afternoon; how bytes and processes are handled (floor 4) has its own bound.
KERNEL_LINES = 6_500
MACHINERY_LINES = 3_000
MACHINERY_FLOOR = 4
#: Modules that are longer, each with its reason.
LONG_MODULES: dict[str, str] = {
    "protocol/calls.py": "one method per operation, a page to look things up in, with nothing between them to understand",
    "protocol/library/30_tasks.lua": "local functions cannot be shared between files of a library in pieces that make sense",
    "processes.py": "one class that owns a run from its pipes to its end; its halves cannot be understood apart",
}


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
        elif isinstance(node, ast.Operation) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield Import(node.args[0].value, path, node.lineno)


def sources(directory: Path) -> list[Path]:
    """The Python files below `directory`, sorted."""
    return sorted(path for path in directory.rglob("*.py") if "__pycache__" not in path.parts)


def unit(name: str) -> str | None:
    """The row of the table that a dotted name below `tinytown` belongs to; None for anything outside of Tinytown."""
    top, *below = name.split(".")
    if top != "tinytown":
        return None
    return below[0] if below and below[0] in KERNEL_UNITS else FRONT


def floor(name: str) -> int:
    """The floor of a row of the table, or of the front."""
    return FRONT_FLOOR if name == FRONT else FLOORS[name]


HAVE_FLOOR = {*FLOORS, FRONT}
KERNEL_UNITS = set(FLOORS) | {
    path.stem for path in KERNEL.iterdir() if path.suffix == ".py" or (path.is_dir() and sources(path))
} - {"__init__"}
KERNEL_IMPORTS = [
    (unit(module_name(path, KERNEL.parent)), each)
    for path in sources(KERNEL)
    for each in imports_of(path, KERNEL.parent)
]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))


def test_an_import_is_seen_however_it_is_written(tmp_path: Path) -> None:
    module = tmp_path / "tinytown" / "redis" / "link.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "import trio.abc\n"
        "from . import wire\n"
        "from ..names import check\n"
        "if TYPE_CHECKING:\n    from tinytown import town\n"
        "def late():\n    import redis\n    importlib.import_module('tinytown.kernel')\n"
    )
    assert [(each.name, unit(each.name)) for each in imports_of(module, tmp_path)] == [
        ("trio.abc", None),
        ("tinytown.redis.resp", "redis"),
        ("tinytown.model.ids.check", "names"),
        ("tinytown.town", "town"),
        ("redis", None),
        ("tinytown.kernel", "kernel"),
    ]


def test_every_module_of_the_kernel_has_a_floor() -> None:
    strangers = KERNEL_UNITS - set(FLOORS)
    assert not strangers, f"say in FLOORS on which floor these modules stand: {', '.join(sorted(strangers))}"


def test_an_import_in_the_kernel_never_goes_up() -> None:
    wrong = []
    for importer, each in KERNEL_IMPORTS:
        imported = unit(each.name)
        if importer not in HAVE_FLOOR or imported not in HAVE_FLOOR:
            continue
        if imported == FRONT and each.name.removeprefix("tinytown.") in FRONT_OWN_NAMES:
            continue
        if floor(imported) > floor(importer):
            wrong.append(f"{each}: from floor {floor(importer)} up to floor {floor(imported)}")
        elif imported in NEVER.get(importer, ()):
            wrong.append(f"{each}: {importer} may not know {imported}")
    assert not wrong, "\n".join(wrong)


def test_modules_import_each_other_in_no_circle() -> None:
    modules = {module_name(path, KERNEL.parent): path for path in sources(KERNEL)}
    below: dict[str, set[str]] = {}
    for importer, path in modules.items():
        for each in imports_of(path, KERNEL.parent):
            imported = each.name
            if imported.removeprefix("tinytown.") in FRONT_OWN_NAMES:
                continue
            while imported and imported not in modules:
                imported = imported.rpartition(".")[0]
            if imported and imported != importer:
                below.setdefault(importer, set()).add(imported)
    graphlib.TopologicalSorter(below).prepare()


@pytest.mark.parametrize("package", LOWEST_FLOOR)
def test_this_package_appears_only_from_its_floor_up(package: str) -> None:
    wrong = [
        f"{each}: only from floor {LOWEST_FLOOR[package]} up"
        for importer, each in KERNEL_IMPORTS
        if each.name.split(".")[0] == package and importer in HAVE_FLOOR and floor(importer) < LOWEST_FLOOR[package]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", ONLY_IN)
def test_this_package_is_imported_only_where_it_belongs(package: str) -> None:
    wrong = [
        f"{each}: only {', '.join(sorted(ONLY_IN[package])) or 'nobody'} may"
        for importer, each in KERNEL_IMPORTS
        if each.name.split(".")[0] == package and importer not in ONLY_IN[package]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ONLY)
def test_this_module_needs_the_standard_library_alone(name: str) -> None:
    wrong = [
        str(each)
        for importer, each in KERNEL_IMPORTS
        if importer == name and each.name.split(".")[0] not in sys.stdlib_module_names
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_sees_of_the_kernel_only_what_is_public(plugin: Path) -> None:
    wrong = []
    for path in sources(plugin):
        in_tests = "tests" in path.relative_to(plugin).parts[:1]
        seen = PLUGIN_TESTS_SEE if in_tests else PLUGINS_SEE
        wrong += [str(each) for each in imports_of(path, plugin) if unit(each.name) not in {None} | seen]
    assert not wrong, "\n".join([*wrong, f"plugins see: {', '.join(sorted(PLUGINS_SEE - {FRONT}))}"])


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_no_other_plugin(plugin: Path) -> None:
    own = {path.name for path in plugin.glob("tinytown_*")}
    wrong = [
        str(each)
        for path in sources(plugin)
        for each in imports_of(path, plugin)
        if (top := each.name.split(".")[0]).startswith("tinytown_") and top not in own
    ]
    assert not wrong, "\n".join(wrong)


def test_the_kernel_knows_no_plugin_by_name() -> None:
    wrong = [str(each) for _, each in KERNEL_IMPORTS if each.name.startswith("tinytown_")]
    assert not wrong, "\n".join(wrong)


def lines_by_module() -> dict[str, int]:
    """All lines of every Python and Lua file but the test kit's, by path below `core/tinytown`."""
    paths = {path.relative_to(KERNEL): path for suffix in ("*.py", "*.lua") for path in KERNEL.rglob(suffix)}
    return {
        name.as_posix(): len(path.read_text().splitlines())
        for name, path in paths.items()
        if name.parts[0] != "testing"
    }


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


@pytest.mark.parametrize("machinery", [False, True], ids=["kernel", "machinery"])
def test_the_kernel_stays_small(machinery: bool) -> None:
    chosen = {name for name, each in FLOORS.items() if each < FLOORS["cli"] and (each == MACHINERY_FLOOR) == machinery}
    lines = {
        path.relative_to(KERNEL).as_posix(): lines_of_code(path)
        for suffix in ("*.py", "*.lua")
        for path in KERNEL.rglob(suffix)
        if path.relative_to(KERNEL).with_suffix("").parts[0] in chosen
    }
    total = sum(lines.values())
    largest = ", ".join(f"{name} {lines[name]}" for name in sorted(lines, key=lambda name: -lines[name])[:8])
    assert total < (MACHINERY_LINES if machinery else KERNEL_LINES), f"{total}; largest: {largest}"


def test_a_module_above_the_size_limit_has_a_reason() -> None:
    long = {name: count for name, count in lines_by_module().items() if count > MODULE_LINES}
    assert set(long) == set(LONG_MODULES), f"longer than {MODULE_LINES} lines: {long}; with a reason: {LONG_MODULES}"
