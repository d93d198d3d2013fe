"""``tt config``: shows and changes settings, in the town's file or the user's own. A change is checked before it is written."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import click
from tinytown.config import (
    CONFIG_FILE,
    PASSWORD_VARIABLE,
    Config,
    UserConfig,
    convert_settings,
    load_config,
    load_user_config,
    read_config,
    user_directory,
)
from tinytown.errors import ConfigError, NotFound, Refused, TinytownError, UsageError
from tinytown.identity import TOWN_VARIABLE
from tinytown.kernel import running_kernel
from tinytown.roles import check_kind
from tinytown_cli.caller import caller_in
from tinytown_cli.client import connect
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownGroup
from tinytown_cli.secrets import has_password
from tinytown_cli.suggestions import did_you_mean
from tinytown_cli.text_files import make_user_directory, read_text_file, replace_text_file

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

#: Settings whose values or keys are kinds of agents.
_NAMING_KINDS = ("default_cli", "rates", "roles")

user_option = click.option("--user", is_flag=True, help="Your own settings for every town, instead of this town's.")


class _Level(NamedTuple):
    """One of the two files: ``root`` is the town's, None for the user's own."""

    root: Path | None

    @property
    def name(self) -> str:
        return "town" if self.root else "user"

    @property
    def path(self) -> Path:
        return self.root / CONFIG_FILE if self.root else user_directory() / "config.toml"

    @property
    def kind(self) -> Any:
        return Config if self.root else UserConfig

    def read(self) -> tuple[str | None, dict[str, Any]]:
        """The file's text and its table. Raises: ConfigError."""
        text = read_text_file(self.path)
        try:
            return text, tomllib.loads(text or "")
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(
                f"{self.path} is not valid TOML: {error}", hint="fix that line", path=str(self.path)
            ) from error

    def check(self, key: Key, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Check a change of `key` that turns the table `before` into `after`. Raises: TinytownError if it is not allowed."""
        if self.root:
            settings = read_config(after, self.path)
        else:
            user = convert_settings(UserConfig, after, self.path, "")
            settings = Config(name="new", agent_clis=user.agent_clis, plugins=user.plugins)
        url = after.get("redis", {}).get("url")
        if url and url != before.get("redis", {}).get("url") and has_password(url) and self.root:
            raise UsageError(
                "the server's password must not be in the town's file",
                hint=f"leave it out of the URL and set the variable {PASSWORD_VARIABLE}, or use --user",
            )
        if self.root and after.get("name") != before.get("name"):
            raise Refused(
                "the name selects the town's data on its server: renamed, the town would be empty",
                hint=f"to do it anyway, edit {self.path}",
            )
        if key[0] in ("plugins", "agent_clis", *_NAMING_KINDS):
            from tinytown_cli.plugin_commands import load_town_plugins  # late: imports every plugin

            kinds = load_town_plugins(self.root or Path.cwd(), settings).backends
            for kind in _kinds_named(key, after):
                _check_kind(kind, kinds)


def _kinds_named(key: Key, table: dict[str, Any]) -> list[str]:
    """The kinds of agents that the setting `key` names in this table of settings."""
    match key:
        case ("default_cli",):
            return [table["default_cli"]] if "default_cli" in table else []
        case ("rates", kind, *_) if kind in table.get("rates", {}):
            return [kind]
        case ("roles", role, *_):
            kind = table.get("roles", {}).get(role, {}).get("cli")
            return [kind] if kind else []
        case _:
            return []


def _check_kind(kind: str, kinds: Collection[str]) -> None:
    """Raises: NotFound, with the kind that was probably meant, for one that no installed plugin has."""
    try:
        check_kind(kind, kinds)
    except NotFound as error:
        error.hint = did_you_mean(kind, kinds, error.hint)
        raise


def _level(context: CliContext, *, user: bool) -> _Level:
    return _Level(None if user else context.town_root())


@click.group(
    cls=TownGroup,
    alone="list",
    examples=["tt config", "tt config get redis.url", "tt config set round.timeout_s 1800"],
)
def config() -> None:
    """Show and change settings. Keys are dotted: round.timeout_s, agent_clis.linter.command."""


@config.command("get", examples=["tt config get default_cli", "tt config get redis --json"])
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


@config.command("list", examples=["tt config list", "tt config list --user --json"])
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


def _effective(level: _Level) -> Config | UserConfig:
    return load_config(level.root) if level.root else load_user_config()


class _Sources:
    def __init__(self, level: _Level) -> None:
        self._town = level.read()[1] if level.root else {}
        self._user = _Level(None).read()[1]
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


def _change(context: CliContext, level: _Level, key: Key, value: Any) -> None:
    """Set `key` to `value`, or remove it (None), and report it."""
    town = level.root or Path(os.environ.get(TOWN_VARIABLE, "."))
    caller_in(town).refuse_agents("may not change settings", "only people change settings")
    from tinytown_cli.toml_edit import edit  # late: only changes need it

    text, before = level.read()
    edited = edit(text or "", [(key, value)])
    level.check(key, before, tomllib.loads(edited))
    if edited != text:
        if level.root is None:
            make_user_directory()
        replace_text_file(level.path, edited, was=text, private=level.root is None)
        _report_effect(context, level, key)
    shown = redact_value(key, value)
    line = f"{key_text(key)} = {toml_text(shown)}" if value is not None else f"{key_text(key)} is no longer set"
    shape = {"key": key_text(key), "value": shown, "level": level.name, "file": str(level.path)}
    context.emit({**shape, "changed": edited != text}, f"{line}, in {level.path}")


def _report_effect(context: CliContext, level: _Level, key: Key) -> None:
    """Apply a change of budgets now; warn on stderr if another change has no effect yet."""
    try:
        root = level.root or context.town_root()
        source = _Sources(_Level(root)).of(key)
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
