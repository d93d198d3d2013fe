"""``tt roles``: the roles of a town; and the warning about a role that looks misspelt."""

from __future__ import annotations

import difflib
from typing import Any

import click
import msgspec
from tinytown.config import Config, load_config
from tinytown.errors import NotFound
from tinytown.model.text import shown
from tinytown.roles import Role, load_roles

from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import ROLE


@click.command(cls=TownCommand, examples=["tt roles", "tt roles reviewer", "tt roles --json"])
@click.argument("role", required=False, type=ROLE)
@pass_cli_context
def roles(context: CliContext, role: str | None) -> None:
    """List the roles that agents may have, or show ROLE in full. Outside of a town: the built-in roles."""
    known = load_roles(_config(context))
    if role is None:
        chosen = [*known.values()]
        rows = [(each.name, each.origin, each.cli or "", ",".join(each.tags), each.purpose) for each in chosen]
        lines = table(("role", "origin", "kind", "tags", "purpose"), rows)
    elif role in known:
        chosen = [known[role]]
        lines = _details(known[role])
    else:
        near = difflib.get_close_matches(role.lower(), [*known], n=1)
        raise NotFound(
            f"no role called {shown(role)!r}; available roles: {', '.join(known)}",
            hint=f"did you mean {near[0]}?" if near else f"define it in a table [roles.{shown(role)}] of tinytown.toml",
        )
    context.emit({"roles": [_shape(each) for each in chosen]}, lines)


def warn_of_role(context: CliContext, config: Config, word: str) -> None:
    """Warn about a role that looks misspelt. It is used as given."""
    roles = load_roles(config)
    if not word or word in roles:
        return
    if near := difflib.get_close_matches(word.lower(), [*roles], n=1, cutoff=0.75):
        context.warn(f"note: no role is called {word!r}, so it is only a label; do you mean {near[0]!r}?")


def _config(context: CliContext) -> Config:
    try:
        return load_config(context.town_root())
    except NotFound:
        if context.town:
            raise
        return Config(name="nowhere")


def _shape(role: Role) -> dict[str, Any]:
    shape: dict[str, Any] = msgspec.to_builtins(role)
    return shape


def _details(role: Role) -> list[str]:
    facts = {
        "role": role.name,
        "purpose": role.purpose,
        "tags": ", ".join(role.tags),
        "kind": role.cli,
        "origin": role.origin,
    }
    lines = [f"{name:8} {value}" for name, value in facts.items() if value]
    return [*lines, "", *role.instructions.strip().splitlines()] if role.instructions else lines
