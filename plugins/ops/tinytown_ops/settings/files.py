"""The two files of settings, a town's and the user's own: read, checked, and changed without disturbing what else is in them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from tinytown.config import (
    CONFIG_FILE,
    PASSWORD_VARIABLE,
    Config,
    UserConfig,
    convert_settings,
    read_config,
    user_directory,
)
from tinytown.errors import ConfigError, NotFound, Refused, UsageError
from tinytown.identity import TOWN_VARIABLE
from tinytown.kinds import check_kind
from tinytown_cli.caller import caller_in
from tinytown_cli.secrets import has_password
from tinytown_cli.suggestions import did_you_mean
from tinytown_cli.text_files import make_user_directory, read_text_file, replace_text_file

from tinytown_ops.settings.keys import Key

#: Settings whose values or keys are kinds of agents.
_NAMING_KINDS = ("default_cli", "rates", "roles")


class Level(NamedTuple):
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

    def write(self, key: Key, value: Any) -> bool:
        """Set `key` to `value`, or remove it (None); whether the file has changed.

        Raises: TinytownError for what `check` does not allow, and inside an agent's round; then the file is as it was.
        """
        from tinytown_cli.toml_edit import edit  # late: only changes need it

        town = self.root or Path(os.environ.get(TOWN_VARIABLE, "."))
        caller_in(town).refuse_agents("may not change settings", "only people change settings")
        text, before = self.read()
        edited = edit(text or "", [(key, value)])
        self.check(key, before, tomllib.loads(edited))
        if edited == text:
            return False
        if self.root is None:
            make_user_directory()
        replace_text_file(self.path, edited, was=text, private=self.root is None)
        return True

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
