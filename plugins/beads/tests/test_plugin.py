"""The plugin as the registry finds it: its hooks, its settings, and commands that can be imported."""

from __future__ import annotations

import importlib
import importlib.metadata

import click
import pytest
from tinytown.contracts import Command
from tinytown_beads import TINYTOWN_HOOK_API, tinytown_commands, tinytown_settings_type
from tinytown_beads.settings import Settings


def test_the_hooks_are_of_this_version() -> None:
    assert TINYTOWN_HOOK_API == 1
    assert tinytown_settings_type() is Settings


def test_no_two_commands_have_one_name() -> None:
    names = [command.name for command in tinytown_commands()]
    assert len(names) == len(set(names))


def test_the_entry_points_name_just_these_commands() -> None:
    hints = importlib.metadata.distribution("tinytown-beads").entry_points.select(group="tinytown.commands")
    assert {each.name: each.value for each in hints} == {each.name: each.target for each in tinytown_commands()}


@pytest.mark.parametrize("command", tinytown_commands(), ids=lambda command: command.name)
def test_a_command_is_where_the_table_says(command: Command) -> None:
    module, _, attribute = command.target.partition(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)
