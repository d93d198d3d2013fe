"""``tt roles``: the roles of a town; and the warning about a role that looks misspelt."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from tinytown.config import Config
from tinytown.errors import NotFound
from tinytown.model.text import shown
from tinytown_prompts.roles import Role, load_roles

from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import ROLE
from tinytown_cli.plugin_commands import config_here
from tinytown_cli.plugin_roles import problems_with_roles
from tinytown_cli.suggestions import did_you_mean


@click.command(cls=TownCommand, examples=["tt roles", "tt roles reviewer", "tt roles --json"], scope="town.read")
@click.argument("role", required=False, type=ROLE)
@pass_cli_context
def roles(context: CliContext, role: str | None) -> None:
    """List the roles that agents may have, or show ROLE in full. Outside of a town: those that are built in or a plugin's."""
    config = config_here(context)
    known = load_roles(config)
    for problem in problems_with_roles(config):
        context.warn(f"warning: {problem}")
    if role is None:
        chosen = [*known.values()]
        rows = [(role.name, role.origin, role.cli or "", ",".join(role.tags), role.purpose) for role in chosen]
        lines = table(("role", "origin", "kind", "tags", "purpose"), rows)
    elif role in known:
        chosen = [known[role]]
        lines = _details(known[role])
    else:
        raise NotFound(
            f"no role called {shown(role)!r}; available roles: {', '.join(known)}",
            hint=did_you_mean(role, known, f"define it in a table [roles.{shown(role)}] of tinytown.toml"),
        )
    context.emit({"roles": [_shape(role) for role in chosen]}, lines)


def warn_of_role(context: CliContext, config: Config, word: str) -> None:
    """Warn about a role that looks misspelt. It is used as given."""
    if not word or word in (roles := load_roles(config)):
        return
    if hint := did_you_mean(word, roles, most=1, likeness=0.75):
        context.warn(f"note: no role is called {word!r}, so it is only a label; {hint}")


def _shape(role: Role) -> dict[str, Any]:
    shape: dict[str, Any] = msgspec.to_builtins(role)
    return shape


def _details(role: Role) -> list[str]:
    facts = {
        "role": role.name,
        "purpose": role.purpose,
        "tags": ", ".join(role.tags),
        "kind": role.cli,
        "authority": role.authority if role.authority != "agent" else "",
        "origin": role.origin,
    }
    lines = [f"{name:9} {value}" for name, value in facts.items() if value]
    return [*lines, "", *role.instructions.strip().splitlines()] if role.instructions else lines
