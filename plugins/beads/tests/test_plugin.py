"""The plugin as the registry finds it: its hooks, and commands that can be imported."""

from __future__ import annotations

import importlib
import importlib.metadata

import click
import pytest
from tinytown.contracts import Command
from tinytown.hookspecs import HOOK_API
from tinytown_beads.plugin import TINYTOWN_HOOK_API, tinytown_commands


def test_the_hooks_are_of_this_version() -> None:
    assert TINYTOWN_HOOK_API == HOOK_API


def test_no_two_commands_have_one_name() -> None:
    names = [command.name for command in tinytown_commands()]
    assert len(names) == len(set(names))


def test_the_entry_points_name_just_these_commands() -> None:
    announced = importlib.metadata.distribution("tinytown-beads").entry_points.select(group="tinytown.commands")
    table = {command.name.replace(" ", "."): command.target for command in tinytown_commands()}
    assert {entry_point.name: entry_point.value for entry_point in announced} == table


@pytest.mark.parametrize("command", tinytown_commands(), ids=lambda command: command.name)
def test_a_command_is_where_the_table_says(command: Command) -> None:
    module, _, attribute = command.target.partition(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)
