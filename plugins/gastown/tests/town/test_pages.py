"""The pages on groups, formulas and coming from Gastown: their steps work as written, and name every command there is."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from tinytown_beads.groups.commands import group
from tinytown_gastown.bd.program import program
from tinytown_gastown.formulas.model import Compose, Formula, Step
from tinytown_gastown.plugin import tinytown_commands

from ..test_migration_source import build

DOCS = Path(__file__).parents[4] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the manual is not beside the plugin")


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def steps(name: str) -> list[str]:
    """The lines that a page tells one to type."""
    blocks = re.findall(r"^```console\n(.*?)^```", page(name), re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def follow(shell: Any, name: str) -> None:
    """Type the steps of a page, one after the other, in one shell."""
    for line in steps(name):
        words = shlex.split(line)
        if words[0] == "cd":
            shell.directory = Path(os.path.expanduser(words[1]))
            continue
        program_ = Path(shell.variables["PATH"].split(os.pathsep)[0]) / words[0]
        done = subprocess.run(
            [program_, *map(os.path.expanduser, words[1:])],
            cwd=shell.directory, env=shell.variables, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


def test_the_way_from_gastown_can_be_gone_as_written(tt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tt.directory.parent / "person"
    build(home / "gt")
    monkeypatch.setenv("HOME", str(home))
    tt.variables["HOME"] = str(home)
    follow(tt, "coming-from-gastown")
    town = home / "towns" / "shop"
    assert tt.json("task", "show", "sh-2", "--town", str(town))["assigned_to"] == "ash"
    assert (
        "Write the release notes"
        in (tt.json("task", "list", "--tag", "docs", "--town", str(town))["tasks"][0]["title"])
    )


@pytest.mark.parametrize("name", ["groups", "formulas"])
def test_the_steps_of_a_page_work_as_written(tt: Any, name: str) -> None:
    tt("init", "--name", "pages")
    follow(tt, name)


def test_every_command_of_gastown_is_on_the_page() -> None:
    text = page("coming-from-gastown")
    for command in tinytown_commands():
        assert f"tt {command.name}" in text, command.name


def test_every_command_and_option_of_groups_and_formulas_is_on_its_page() -> None:
    formula = importlib.import_module("tinytown_gastown.formulas.commands").formula
    for name, commands in (("groups", group), ("formulas", formula)):
        for word, command in commands.commands.items():
            assert f"tt {commands.name} {word}" in page(name), word
            for option in command.params:
                if isinstance(option, click.Option) and option.expose_value and option.name != "no_start":
                    assert option.opts[0] in page(name), (word, option.opts)


def test_every_key_of_the_format_is_on_the_page() -> None:
    text = page("formulas")
    keys = {
        *Formula.__struct_fields__,
        *Step.__struct_fields__,
        *(f"compose.{key}" for key in Compose.__struct_fields__),
    }
    answer = {"compose", "vars"}
    assert {key for key in keys if f"`{key}" not in text and key not in answer} == set()


def test_every_command_of_the_shim_is_on_the_page() -> None:
    text = page("reference/bd")
    context = click.Context(program)
    for word in program.list_commands(context):
        assert f"| `{word}" in text, word
