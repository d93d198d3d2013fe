"""Roles: what a word like ``reviewer`` means for an agent. They are data: of every town, of plugins, of the town itself.

A role is what `--role` says and never guessed from a name. A word that is no role is a free label: it is matched with
the backlog like any other, and brings no instructions. Knows nothing of agents and prompts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec

from tinytown.config import Config, RoleConfig, read_config
from tinytown.entry_points import IndexedEntryPoint, installed
from tinytown.errors import NotFound, UsageError
from tinytown.model.text import shown
from tinytown.packages import default_kind, distribution_of, install_hint

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


def start_of_agent(
    config: Config, role: str, *, cli: str | None, tags: Sequence[str], kinds: Collection[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """Kind and tags of a new agent: those given, else its role's, else `choose_kind` of the `kinds` that are offered."""
    known = load_roles(config).get(role) or Role(name=role)
    return cli or known.cli or choose_kind(config, kinds), tuple(tags) or known.tags


def check_kind(kind: str, kinds: Collection[str]) -> None:
    """Raises: NotFound with code ``unknown_kind`` if `kind` is not among the `kinds` that hosts or installed plugins offer."""
    if kind not in kinds:
        raise NotFound(
            f"unknown kind of agent {shown(kind)!r}; available kinds: {', '.join(sorted(kinds)) or 'none'}",
            hint=install_hint("kinds", kind, "install its plugin, then restart the kernel"),
            code="unknown_kind",
            kinds=sorted(kinds),
        )


def choose_kind(config: Config, kinds: Collection[str]) -> str:
    """The kind of agents that are spawned without one: ``default_cli``, else the only one of `kinds`, else the standard one.

    Raises: UsageError with code ``no_default_kind`` if there is none.
    """
    if config.default_cli:
        return config.default_cli
    if len(kinds) == 1:
        return next(iter(kinds))
    standard = default_kind()
    distribution = distribution_of("kinds", standard)
    if standard in kinds or (not kinds and distribution in {entry.distribution for entry in installed("tinytown")}):
        return standard
    raise UsageError(
        f"expected a kind of agents, because the town has no default; available kinds: {', '.join(sorted(kinds)) or 'none'}",
        hint="name one with --cli, or set default_cli in tinytown.toml" if kinds else install_hint("kinds", standard),
        code="no_default_kind",
        kinds=sorted(kinds),
    )
