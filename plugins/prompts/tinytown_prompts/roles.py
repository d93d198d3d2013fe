"""Roles: what a word like ``reviewer`` means for an agent. They are data: of every town, of plugins, of the town itself.

A word that is no role is a free label: it is matched with the backlog like any other, and brings no instructions. Knows
nothing of agents and prompts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec
from tinytown.config import Config, RoleConfig, read_config
from tinytown.entry_points import IndexedEntryPoint, installed

_DATA = Path(__file__).with_name("roles.toml")
#: Entry points of this group are named as their plugin; the value names a file beside the plugin's module: ``module:roles.toml``.
ROLES_GROUP = "tinytown.roles"


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """What a role brings: a `purpose` of one line, `instructions` for the prompt, and what its agents get unless the person says
    otherwise: `tags`, a backend (`cli`) and `authority`. ``origin``: built in, a plugin's, changed by the town, or its own.
    """

    name: str
    purpose: str = ""
    instructions: str = ""
    tags: tuple[str, ...] = ()
    cli: str | None = None
    authority: Literal["agent", "conductor"] = "agent"
    origin: Literal["built-in", "plugin", "changed", "town"] = "town"


@cache
def _built_in() -> Mapping[str, Role]:
    tables = tomllib.loads(_DATA.read_text("utf-8"))["roles"]
    return {name: msgspec.convert(table | {"name": name, "origin": "built-in"}, Role) for name, table in tables.items()}


@cache
def roles_of_plugin(entry: IndexedEntryPoint) -> Mapping[str, Role]:
    """The roles that an entry point of `ROLES_GROUP` brings. Imports no plugin. Raises: whatever is wrong with its file."""
    module, _, file = entry.value.partition(":")
    path = Path(str(getattr(find_spec(module), "origin", ""))).with_name(file)
    tables = read_config({"name": "roles", **tomllib.loads(path.read_text("utf-8"))}, path).roles
    return {name: _changed(Role(name=name, origin="plugin"), table, "plugin") for name, table in tables.items()}


def load_roles(config: Config) -> dict[str, Role]:
    """The roles of a town by name: those that are built in, plugins' under other names, and the town's own and changes.
    A plugin's file that cannot be read brings none; ``tt plugins`` says why."""
    roles = dict(_built_in())
    for entry in installed(ROLES_GROUP):
        with suppress(Exception):
            roles |= {} if config.blocking(entry.name) else {**roles_of_plugin(entry), **roles}
    for name, table in config.roles.items():
        before = roles.get(name) or Role(name=name)
        roles[name] = _changed(before, table, "town" if before.origin == "town" else "changed")
    return roles


def _changed(role: Role, table: RoleConfig, origin: str) -> Role:
    """The role with what a table says of it, if that is something."""
    changed = {key: value for key in RoleConfig.__struct_fields__ if (value := getattr(table, key)) is not None}
    return msgspec.structs.replace(role, **changed, origin=origin) if changed else role


def defaults_of_role(config: Config, role: str) -> tuple[str | None, tuple[str, ...]]:
    """The kind, if it names one, and the tags of agents of this role; nothing for a word that is no role."""
    known = load_roles(config).get(role) or Role(name=role)
    return known.cli, known.tags
