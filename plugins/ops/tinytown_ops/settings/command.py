"""``tt config``: shows and changes settings, in the town's file or the user's own. A change is checked before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from tinytown.config import Config, UserConfig, load_config, load_user_config
from tinytown.errors import NotFound, TinytownError
from tinytown.kernel import running_kernel
from tinytown_cli.client import connect
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownGroup

from tinytown_ops.settings.files import Level
from tinytown_ops.settings.keys import (
    Key,
    key_text,
    kind_of,
    leaves,
    look_up,
    parse_key,
    read_value,
    redact_value,
    source_of,
    toml_text,
)

user_option = click.option("--user", is_flag=True, help="Your own settings for every town, instead of this town's.")


def _level(context: CliContext, *, user: bool) -> Level:
    return Level(None if user else context.town_root())


@click.group(
    cls=TownGroup,
    alone="list",
    examples=["tt config", "tt config get redis.url", "tt config set round.timeout_s 1800"],
)
def config() -> None:
    """Show and change settings. Keys are dotted: round.timeout_s, agent_clis.linter.command."""


@config.command(
    "get", examples=["tt config get default_cli", "tt config get redis --json"], scope="admin", local_options=["user"]
)
@click.argument("key")
@user_option
@pass_cli_context
def get(context: CliContext, key: str, user: bool) -> None:
    """Print the effective value of KEY, passwords hidden; of a table, one line for each of its keys."""
    place, level = parse_key(key), _level(context, user=user)
    kind_of(place, level.kind)
    value = redact_value(place, look_up(_effective(level), place))
    if isinstance(value, dict):
        lines = [f"{key_text(leaf)} = {toml_text(value)}" for leaf, value in leaves(value, place)]
    else:
        lines = [toml_text(value)]
    context.emit({"key": key_text(place), "value": value, "source": _Sources(level).of(place)}, lines)


@config.command(
    "list", examples=["tt config list", "tt config list --user --json"], scope="admin", local_options=["user"]
)
@user_option
@pass_cli_context
def list_settings(context: CliContext, user: bool) -> None:
    """List all effective settings with their source: town, user, environment or default."""
    level = _level(context, user=user)
    sources = _Sources(level)
    settings = [
        {"key": key_text(key), "value": redact_value(key, value), "source": sources.of(key)}
        for key, value in leaves(_effective(level))
        if not user or sources.of(key) == "user"
    ]
    rows = [(setting["key"], toml_text(setting["value"]), setting["source"]) for setting in settings]
    lines = table(("key", "value", "source"), rows) if rows else [f"nothing is set in {level.path}"]
    context.emit({"settings": settings}, lines)


def _effective(level: Level) -> Config | UserConfig:
    return load_config(level.root) if level.root else load_user_config()


class _Sources:
    def __init__(self, level: Level) -> None:
        self._town = level.read()[1] if level.root else {}
        self._user = Level(None).read()[1]
        self._is_user = level.root is None

    def of(self, key: Key) -> str:
        source = source_of(key, self._town, self._user)
        return "default" if self._is_user and source == "environment" else source


@config.command(
    "set",
    examples=[
        "tt config set round.timeout_s 1800",
        "tt config set agent_clis.linter.command 'ruff check .'",
        "tt config set blocked_plugins journal,echo",
        "tt config set --user default_cli shell",
    ],
)
@click.argument("key")
@click.argument("value")
@user_option
@pass_cli_context
def set_value(context: CliContext, key: str, value: str, user: bool) -> None:
    """Set KEY to VALUE. Text needs no quotes; a list is a,b or ['a', 'b'], a table as in TOML.

    Unknown keys, wrong types and settings that a town cannot start with are refused, and the file stays unchanged.
    Comments and order in the file are kept.
    """
    place, level = parse_key(key), _level(context, user=user)
    _change(context, level, place, read_value(value, place, kind_of(place, level.kind)))


@config.command("unset", examples=["tt config unset round.timeout_s", "tt config unset --user redis"])
@click.argument("key")
@user_option
@pass_cli_context
def unset(context: CliContext, key: str, user: bool) -> None:
    """Remove KEY from the file, so that the user's setting or the default applies again."""
    place, level = parse_key(key), _level(context, user=user)
    try:
        look_up(level.read()[1], place)
    except NotFound as error:
        raise NotFound(
            f"{key_text(place)} is not set in {level.path}", hint="tt config list shows the source of each setting"
        ) from error
    _change(context, level, place, None)


def _change(context: CliContext, level: Level, key: Key, value: Any) -> None:
    """Set `key` to `value`, or remove it (None), and report it."""
    changed = level.write(key, value)
    if changed:
        _report_effect(context, level, key)
    shown = redact_value(key, value)
    line = f"{key_text(key)} = {toml_text(shown)}" if value is not None else f"{key_text(key)} is no longer set"
    shape = {"key": key_text(key), "value": shown, "level": level.name, "file": str(level.path)}
    context.emit({**shape, "changed": changed}, f"{line}, in {level.path}")


def _report_effect(context: CliContext, level: Level, key: Key) -> None:
    """Apply a change of budgets now; warn on stderr if another change has no effect yet."""
    try:
        root = level.root or context.town_root()
        source = _Sources(Level(root)).of(key)
        if source in ("environment", "town") and source != level.name:
            context.warn(f"note: in the town at {root}, the {source} setting takes precedence")
        if key[-1] == "permissions":
            _warn_of_unenforced(context, root)
        if pid := running_kernel(root):
            if key[0] == "budgets":
                from tinytown_ops.costs.costs_command import (
                    apply_budgets,  # late: only budgets need the town
                )

                with connect(root, load_config(root), on_connect=context.explain) as town:
                    apply_budgets(town)
            else:
                context.warn(f"note: tt reload has the running kernel (process {pid}) apply it")
    except TinytownError:  # outside of a town there is nothing to report
        return


def _warn_of_unenforced(context: CliContext, root: Path) -> None:
    """Warn of each kind of agents whose permissions nothing on this machine enforces."""
    from tinytown.plugin import survey_plugins  # late: it imports every plugin
    from tinytown_cli.unenforced import unenforced_kinds

    config = load_config(root)
    for kind, why in unenforced_kinds(survey_plugins(config, root), config).items():
        context.warn(f"warning: agents of the kind {kind} will not start: {why}")
