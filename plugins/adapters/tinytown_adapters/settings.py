"""What a person may choose for a coding CLI: the part that is the same for all of them, and presets, which are further kinds.

A plugin's settings type is a subclass of `CliSettings` with fields of its own. Nothing here starts anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from tinytown.config import CONFIG_FILE, convert_settings
from tinytown.errors import ConfigError, UsageError
from tinytown.model.ids import check_agent_name

Permissions = Literal["read", "write", "full"]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000_000)]


class CliSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a coding CLI. Times in seconds; empty or 0 means: as the adapter, the CLI or the town has it.

    - `command`: how to start the CLI, as a list of words or a path; arguments of ours are added.
    - `model`: which model; what it may be called is the CLI's business.
    - `permissions`: ``read`` looks and answers, ``write`` also changes files in its workspace, ``full`` does everything
      that you can do.
    - `extra_args`: arguments added to each start, for whatever has no setting here.
    - `env`: variables added to the environment. `env_allow`: names (or patterns, ``AWS_*``) of variables that are let
      through though they look like secrets.
    - `state`: where the CLI keeps login, settings and sessions: a directory of the ``agent``'s own, or the ``user``'s.
      ``auto`` takes the agent's where the environment holds a key to log in with, else the user's.
    - `trust_project`: whether hooks, MCP servers and plugins that the workspace itself configures may run although
      `permissions` are not ``full``.
    - `resume`: whether a round continues with the CLI's session of the round before.
    - `town_tools`: whether the town's own tools are offered to a CLI that takes MCP servers.
    - `timeout_s`: in place of the town's limit for a round. `patience_s`: how long the CLI may continue trying again
      after errors of the model's server. `stall_s`: how long the model may let it wait for a sign.
    - `ask`: of a CLI that can ask (Claude Code, Codex): with ``permissions = "full"`` it works as with ``write``, and what goes
      beyond that is asked of whoever answers questions in this town: another plugin, or the supervisor (``tt questions``). What
      matches a pattern in `ask_deny` or `ask_allow`, such as ``"run: git push*"``, is answered by that. After `ask_s` seconds
      without an answer, `ask_default` is the answer.
    - `presets`: further kinds of agents, each a table of settings that differ from these.
    """

    command: str | tuple[str, ...] = ()
    model: str = ""
    permissions: Permissions | None = None
    extra_args: tuple[str, ...] = ()
    env: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    env_allow: tuple[str, ...] = ()
    state: Literal["auto", "agent", "user"] = "auto"
    trust_project: bool = False
    resume: bool = True
    town_tools: bool = True
    timeout_s: NotNegative = 0.0
    patience_s: NotNegative = 120.0
    stall_s: NotNegative = 900.0
    ask: bool = False
    ask_allow: tuple[str, ...] = ()
    ask_deny: tuple[str, ...] = ()
    ask_s: NotNegative = 600.0
    ask_default: Literal["allow", "deny"] = "deny"
    presets: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict[str, dict[str, Any]])


S = TypeVar("S", bound=CliSettings)


def settings_by_kind(
    plugin: str, kind: str, settings: S, root: Path, presets: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, S]:
    """The settings of each kind: `kind` itself, the adapter's own `presets`, and those that the person wrote.

    What a preset says goes before ``[plugins.<plugin>]``; its `env` is added to that one's. A table of the person's
    for one of the adapter's presets changes it. Raises: ConfigError naming the key.
    """
    path = root / CONFIG_FILE
    base: dict[str, Any] = msgspec.to_builtins(settings)
    written: dict[str, dict[str, Any]] = base.pop("presets")
    found = {kind: settings}
    tables = {name: {**ours, **written.get(name, {})} for name, ours in (presets or {}).items()}
    for name, table in {**tables, **written, **tables}.items():
        key = f"plugins.{plugin}.presets.{name}"
        try:
            check_agent_name(name)
        except UsageError as error:
            raise ConfigError(f"{path}: {error.message} at {key}", hint=error.hint, path=str(path), key=key) from error
        if name == kind or "presets" in table:
            what = f"{name!r} is the plugin's own kind" if name == kind else "a preset has no presets"
            raise ConfigError(f"{path}: {what}, at {key}", hint="give it another name", path=str(path), key=key)
        env: Any = table.get("env", {})
        merged: dict[str, Any] = {**base, **table}
        merged["env"] = {**base["env"], **env} if isinstance(env, dict) else env
        found[name] = convert_settings(type(settings), merged, path, key)
    return found
