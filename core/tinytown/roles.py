"""Roles: what a word like ``reviewer`` means for an agent. Those that every town knows are data, and a town adds its own.

A role is what `--role` says and never guessed from a name. A word that is no role is a free label: it is matched with
the backlog like any other, and brings no instructions. Knows nothing of agents and prompts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from tinytown.config import Config, RoleConfig
from tinytown.entry_points import installed
from tinytown.errors import NotFound, UsageError
from tinytown.model.text import shown
from tinytown.packages import default_kind, distribution_of, install_hint

_DATA = Path(__file__).with_name("roles.toml")


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """What a role brings: a `purpose` of one line, `instructions` for the prompt, and what its agents get unless the
    person says otherwise, `tags`, a backend (`cli`) and `authority`. ``origin``: built in, built in and changed, or the town's.
    """

    name: str
    purpose: str = ""
    instructions: str = ""
    tags: tuple[str, ...] = ()
    cli: str | None = None
    authority: Literal["agent", "conductor"] = "agent"
    origin: Literal["built-in", "changed", "town"] = "town"


@cache
def _built_in() -> Mapping[str, Role]:
    tables = tomllib.loads(_DATA.read_text("utf-8"))["roles"]
    return {name: msgspec.convert(table | {"name": name, "origin": "built-in"}, Role) for name, table in tables.items()}


def load_roles(config: Config) -> dict[str, Role]:
    """The roles of a town by name: those that are built in, as the town has changed them, then its own."""
    roles = dict(_built_in())
    for name, table in config.roles.items():
        before = roles.get(name) or Role(name=name)
        changed = {key: value for key in RoleConfig.__struct_fields__ if (value := getattr(table, key)) is not None}
        origin = "town" if name not in _built_in() else "changed" if changed else "built-in"
        roles[name] = msgspec.structs.replace(before, **changed, origin=origin)
    return roles


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
