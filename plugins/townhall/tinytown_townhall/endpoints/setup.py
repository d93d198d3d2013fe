"""What the town is set up with: roles, plugins, settings, budgets. Each is what a command prints with ``--json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from tinytown_ops.costs.costs_command import budget
from tinytown_ops.costs.ledger import Budget
from tinytown_ops.settings.command import list_settings as list_effective_settings
from tinytown_prompts.roles import Role

from tinytown_townhall.routing import Call, Endpoints

SETUP = Endpoints("setup")


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """The roles that agents may have."""

    roles: Sequence[Role]


class PluginView(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin, and the names of what it adds by kind; `reason` says why it is not active."""

    name: str
    distribution: str
    version: str
    status: str
    reason: str
    hooks: Sequence[str]
    contributions: Mapping[str, Sequence[str]]


class Plugins(msgspec.Struct, frozen=True, kw_only=True):
    """The plugins of the machine that serves, what is wrong with them, and the warnings of kinds of agents."""

    plugins: Sequence[PluginView]
    problems: Sequence[str]
    warnings: Mapping[str, Sequence[str]]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting and where it comes from: town, user, environment or default. Passwords are hidden."""

    key: str
    value: Any
    source: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The effective settings."""

    settings: Sequence[Setting]


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of the budgets; `changed` were changed now, and `as_in_file` says that they are those of tinytown.toml."""

    budgets: Sequence[Budget]
    changed: Sequence[str]
    as_in_file: bool


@SETUP.get("/v1/roles")
async def list_roles(call: Call) -> Roles:
    """The roles that agents may have, with their instructions."""
    return await call.command("roles", Roles, role=None)


@SETUP.get("/v1/plugins")
async def list_plugins(call: Call) -> Plugins:
    """The installed plugins: what each adds, and its problems."""
    return await call.command("plugins list", Plugins)


@SETUP.get("/v1/settings", "admin")
async def list_settings(call: Call) -> Settings:
    """All effective settings with their source."""
    return await call.command(list_effective_settings, Settings)


@SETUP.get("/v1/budgets")
async def list_budgets(call: Call) -> Budgets:
    """What is left of the budgets."""
    return await call.command(budget, Budgets)


@SETUP.post("/v1/budgets/apply", "admin")
async def apply_budgets(call: Call) -> Budgets:
    """Apply the budgets of tinytown.toml now."""
    return await call.command(budget, Budgets, apply=True)
