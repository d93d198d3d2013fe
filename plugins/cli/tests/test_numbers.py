"""Numbers that are none, or that nothing can bear, are usage errors at every option of every command."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import metadata
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import click
import msgspec
import pytest
from hypothesis import given, strategies as st
from tinytown.config import Config
from tinytown.errors import TinytownError
from tinytown_cli.framework import LARGEST, make_root

NO_NUMBERS = ("nan", "-nan", "inf", "-inf", "1e999", "9" * 5_000, "1" + "0" * 400, "0x10", "", "1e400", "--", "1,5")
MOMENTS = ("99999-01-01", "9" * 400 + "d", "1e999h", "nanm", "9999999999999999d", "10000-01-01T00:00:00Z", "")


def commands(group: click.Group, context: click.Context, words: str) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, click.Context(command, parent=context, info_name=name), f"{words} {name}")
        elif command is not None:
            yield f"{words} {name}", command


ROOT = make_root()
COMMANDS = dict(commands(ROOT, click.Context(ROOT, info_name="tt"), "tt"))
NUMERIC = [
    (name, command, param.opts[-1])
    for name, command in COMMANDS.items()
    for param in command.params
    if isinstance(param, click.Option) and isinstance(param.type, click.types.IntParamType | click.types.FloatParamType)
]
TIMES = [
    (name, command, param.opts[-1])
    for name, command in COMMANDS.items()
    for param in command.params
    if isinstance(param, click.Option) and param.metavar == "TIME"
]


def parse(name: str, command: click.Command, option: str, text: str) -> None:
    required = ["x" for param in command.params if isinstance(param, click.Argument) and param.required]
    command.make_context(name, [*required, f"{option}={text}"])


def test_there_are_such_options() -> None:
    assert len(NUMERIC) > 20
    assert TIMES


@pytest.mark.parametrize("text", NO_NUMBERS, ids=lambda text: text[:12])
def test_what_is_no_number_is_refused_by_every_option(text: str) -> None:
    for name, command, option in NUMERIC:
        with pytest.raises(click.UsageError) as caught:
            parse(name, command, option, text)
        assert option in caught.value.format_message(), f"{name} {option}"


@given(st.floats(min_value=LARGEST, exclude_min=True) | st.integers(min_value=LARGEST + 1))
def test_what_is_too_large_is_refused_by_every_option(number: float) -> None:
    for name, command, option in NUMERIC:
        with pytest.raises(click.UsageError):
            parse(name, command, option, str(number))


@pytest.mark.parametrize("text", MOMENTS, ids=lambda text: text[:12])
def test_a_moment_that_no_calendar_has_is_no_internal_error(text: str) -> None:
    for name, command, option in TIMES:
        try:
            parse(name, command, option, text)
        except (click.UsageError, TinytownError):
            continue


# -- settings: in the town's file, and in the tables of plugins -------------------------------------------


def numeric_settings(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of the settings that are numbers; a table of any names has one called ``k``."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield from numeric_settings(field.type, (*path, field.encode_name))
    elif get_origin(kind) is Annotated:
        yield from numeric_settings(get_args(kind)[0], path)
    elif get_origin(kind) is dict:
        yield from numeric_settings(get_args(kind)[1], (*path, "k"))
    elif get_origin(kind) in (Union, UnionType):
        yield from dict.fromkeys(each for member in get_args(kind) for each in numeric_settings(member, path))
    elif kind in (int, float):
        yield path


def settings_types() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    yield "tinytown.toml", Config
    for plugin in metadata.entry_points(group="tinytown"):
        if (settings := getattr(plugin.load(), "tinytown_settings_type", None)) is not None:
            yield f"plugins.{plugin.name}", settings()


SETTINGS = [(name, kind, path) for name, kind in settings_types() for path in numeric_settings(kind)]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 10**400, 1e308, 10**19, -1e12], ids=str)
def test_every_setting_that_is_a_number_refuses_one_that_is_none_or_too_large(number: float) -> None:
    assert len(SETTINGS) > 60
    for name, kind, path in SETTINGS:
        table: dict[str, Any] = {"name": "n"} if kind is Config else {}
        below = table
        for part in path[:-1]:
            below = below.setdefault(part, {})
        below[path[-1]] = number
        with pytest.raises(msgspec.ValidationError) as caught:
            msgspec.convert(table, kind)
        # msgspec refuses the first error that it meets: a missing key of this table is as good a place.
        assert path[0] in str(caught.value), f"{name}: {'.'.join(path)}: {caught.value}"
