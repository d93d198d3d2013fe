"""What quick commands may cost: an agent's shell runs them hundreds of times. Modules are counted, since times scatter."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest
from tinytown_cli.deferred_modules import defer, stop_deferring
from tinytown_testing.shell import Shell

#: How many modules a quick command may import beyond those of `import click`.
BUDGET = 75
#: Modules that take long to import and that quick commands do without.
TOO_DEAR = {
    *("argparse", "ast", "asyncio", "dataclasses", "difflib", "inspect", "json", "pathlib", "shutil", "socket", "ssl"),
    *("subprocess", "tomllib", "trio", "typing_extensions", "urllib.parse"),
    *(
        "importlib.metadata",
        "redis",
        "tinytown.config",
        "tinytown.model.events",
        "tinytown.state",
        "tinytown.plugin",
        "tinytown_server",
    ),
}
#: Runs a command line, and writes the names of the modules that it imported beyond `import click` into a file.
COUNTING = """
import json, sys
from tinytown_cli.deferred_modules import defer
defer()
import click
before = {*sys.modules}
from tinytown_cli.main import run
code = run(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump(sorted({name for name, module in sys.modules.items() if module} - before), file)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def settled(in_town: Shell) -> Shell:
    """A town whose settings have not changed for a while, with one agent."""
    in_town.variables["XDG_CACHE_HOME"] = str(in_town.directory.parent / "cache")
    long_ago = time.time() - 60
    os.utime(in_town.directory / "tinytown.toml", (long_ago, long_ago))
    os.utime(Path(in_town.variables["TINYTOWN_HOME"]) / "config.toml", (long_ago, long_ago))
    in_town("spawn", "ada", "--cli", "shell", "--no-start")
    in_town("assign", "ada", "true", "--no-start")
    return in_town


def imported(shell: Shell, *words: str) -> set[str]:
    """The modules that a command imports beyond those of `import click`."""
    file = shell.directory / "modules.json"
    shell(str(file), *words, program=("-c", COUNTING))
    return set(json.loads(file.read_text()))


@pytest.mark.parametrize(
    "words",
    [
        ("send", "ada", "hello", "--no-start"),
        ("assign", "ada", "true", "--no-start"),
        ("inbox", "ada"),
        ("status",),
        ("list",),
        ("task", "list"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_quick_command_imports_little(settled: Shell, words: tuple[str, ...]) -> None:
    imported(settled, *words)  # the first one finds the town
    modules = imported(settled, *words)
    assert modules & TOO_DEAR == set()
    assert len(modules) <= BUDGET, sorted(modules)


def test_settling_and_showing_a_task_are_quick_too(settled: Shell) -> None:
    task = settled.json("assign", "ada", "true", "--no-start")["task_id"]
    for words in (("task", "show", task), ("task", "complete", task)):
        modules = imported(settled, *words)
        assert (modules & TOO_DEAR, len(modules) <= BUDGET) == (set(), True), sorted(modules)


def test_help_and_version_need_no_town_and_no_decoder(tt: Shell) -> None:
    tt("--help")  # the first one asks the plugins for their commands
    for words in (("--help",), ("version",)):
        assert imported(tt, *words) & {*TOO_DEAR - {"inspect", "ast", "shutil"}, "msgspec", "hiredis"} == set()


def test_a_deferred_module_is_there_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("inspect", "textwrap", "msgspec.inspect"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    defer()
    try:
        import inspect
        import textwrap

        assert inspect.cleandoc("  one line") == "one line"
        assert inspect.cleandoc("one\n    two\n    three") == "one\ntwo\nthree"
        assert inspect.isfunction(test_a_deferred_module_is_there_when_it_is_used)
        assert textwrap.shorten("one two three", 10) == "one [...]"
    finally:
        stop_deferring()
    assert type(sys.modules["inspect"]).__name__ == "module"
    with pytest.raises(AttributeError, match="nothing"):
        inspect.nothing  # type: ignore[attr-defined]  # noqa: B018
