"""The list of a user's towns, ``towns.toml`` beside their settings: ``[[towns]]`` with path and name.

A list that cannot be read is never written. Changes are atomic, made under a lock, and leave the rest of the file unchanged.
Source: the format of Tinytown 0.10 for Rust.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path

import msgspec
from tinytown.config import user_directory
from tinytown.errors import ConfigError
from tinytown.model.text import check_utf8

from tinytown_cli.text_files import locked, make_user_directory, read_text_file, replace_text_file


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A town on the list: its directory, and its name when it was registered."""

    path: str
    name: str = ""


class _Registry(msgspec.Struct, frozen=True, kw_only=True):
    towns: tuple[Registered, ...] = ()


def registry_path() -> Path:
    """The path of the list."""
    return user_directory() / "towns.toml"


def read_registry() -> tuple[Registered, ...]:
    """The towns on the list, in its order. Raises: ConfigError for a list that cannot be read."""
    return _read(read_text_file(registry_path()))


def register_town(root: Path, name: str) -> None:
    """Put a town on the list, or update its name there.

    Raises: ConfigError for a list that cannot be read, or a path that is not UTF-8; TinytownError if it cannot be written.
    """
    path = registry_path()
    where = check_utf8(str(root))
    make_user_directory()
    with locked(path.with_suffix(".lock")):
        text = read_text_file(path)
        towns = _read(text)
        number = next((number for number, town in enumerate(towns) if town.path == where), len(towns))
        entry = {"path": where, "name": name}
        if number == len(towns):
            _write(path, text, [(("towns", number), entry)])
        elif towns[number].name != name:
            _write(path, text, [(("towns", number, "name"), name)])


def forget_towns(paths: Collection[str]) -> tuple[Registered, ...]:
    """Remove the towns at `paths` from the list; returns those that were on it. Raises like `register_town`."""
    path = registry_path()
    if not paths:
        return ()
    with locked(path.with_suffix(".lock")):
        text = read_text_file(path)
        towns = _read(text)
        gone = [number for number, town in enumerate(towns) if town.path in paths]
        if gone:
            _write(path, text, [(("towns", number), None) for number in reversed(gone)])
        return tuple(towns[number] for number in gone)


def _read(text: str | None) -> tuple[Registered, ...]:
    path = registry_path()
    try:
        return msgspec.convert(tomllib.loads(text or ""), _Registry).towns
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not a valid list of towns: {error}", hint="fix it, or move it away", path=str(path)
        ) from error


def _write(path: Path, text: str | None, changes: list[tuple[tuple[str | int, ...], object]]) -> None:
    from tinytown_cli.toml_edit import edit  # late: reading the list does not need it

    replace_text_file(path, edit(text or "", changes), was=text, private=True)
