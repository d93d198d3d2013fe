"""Any command line as an agent: the kind `shell`, and one kind for each table ``[agent_clis.NAME]`` of the town.

What a person wrote into such a table wins over what another plugin brings under the same name.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from tinytown.config import CONFIG_FILE, AgentCli, Config
from tinytown.contracts import AgentBackend
from tinytown.errors import ConfigError
from tinytown.hookspecs import hookimpl

from tinytown_shell.backends import CommandBackend, ScriptBackend
from tinytown_shell.words import shell_syntax, split_words

TINYTOWN_HOOK_API = 2


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.shell]``: with a `command`, agents of the kind `shell` run that, with the prompt on standard input."""

    command: str | tuple[str, ...] = ""


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl(tryfirst=True)
def tinytown_agent_backends(settings: Settings, config: Config, root: Path) -> list[AgentBackend]:
    path = root / CONFIG_FILE
    backends: dict[str, AgentBackend] = {"shell": ScriptBackend()}
    if settings.command:
        words = _words(settings.command, path, "plugins.shell.command")
        backends["shell"] = CommandBackend("shell", words, AgentCli(command=words))
    for kind, cli in config.agent_clis.items():
        backends[kind] = CommandBackend(kind, _words(cli.command, path, f"agent_clis.{kind}.command"), cli)
    return list(backends.values())


def _words(command: str | tuple[str, ...], path: Path, key: str) -> tuple[str, ...]:
    """A command as a list. Raises: ConfigError for a text that cannot be split into words, or that only a shell understands."""
    if isinstance(command, str) and (syntax := shell_syntax(command)):
        raise ConfigError(
            f"{path}: expected a command without shell syntax at {key}, because no shell runs it, got {syntax!r}",
            hint=f'write a list: ["sh", "-c", {json.dumps(command, ensure_ascii=False)}]',
            path=str(path),
            key=key,
        )
    try:
        words = split_words(command) if isinstance(command, str) else command
    except ValueError as error:
        raise ConfigError(
            f"{path}: cannot split {key} into words: {error}",
            hint="close the quotes, or write a list of words",
            path=str(path),
            key=key,
        ) from error
    if not words or not words[0]:
        raise ConfigError(f"{path}: expected a command at {key}, got none", path=str(path), key=key)
    return words
