"""Agents out of a file in the format of the public registry of agents. Nothing is fetched: the file is the person's.

Source: FORMAT.md of github.com/agentclientprotocol/registry: ``npx`` and ``uvx`` name a package that these commands run; a
``binary`` is a program that a person has to download. A version of a package is part of its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from tinytown.errors import ConfigError

from tinytown_acp.known import KnownAgent


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent is started by one way of distribution."""

    package: str = ""
    archive: str = ""
    cmd: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """The ways in which an agent is distributed; ``binary`` by platform."""

    npx: Start | None = None
    uvx: Start | None = None
    binary: dict[str, Start] = msgspec.field(default_factory=dict[str, Start])


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An agent of the registry."""

    id: str
    name: str
    distribution: Distribution


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """``registry.json``."""

    agents: tuple[Entry, ...]


def agents_in(path: Path, key: str) -> Mapping[str, KnownAgent]:
    """The agents of a registry file by kind, ``acp-ID``. Raises: ConfigError at `key` for an invalid file."""
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=Registry).agents
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", key=key, path=str(path)) from error
    except ValueError as error:
        hint = "expected a registry.json of the public registry of agents"
        raise ConfigError(f"{path}: {error}", hint=hint, key=key, path=str(path)) from error
    return {f"acp-{entry.id}": known for entry in entries if (known := _known(entry))}


def _known(entry: Entry) -> KnownAgent | None:
    """How it is started: by npx or uvx, else as a program on the PATH; None if the file does not say."""
    distribution, title = entry.distribution, f"{entry.name} (ACP)"
    for runner, start in (("npx", distribution.npx), ("uvx", distribution.uvx)):
        if start is not None and start.package:
            options = ("--yes",) if runner == "npx" else ()
            command = (runner, *options, start.package, *start.args)
            return KnownAgent(title, command, f"install {runner}, which runs {start.package}", environment=start.env)
    for start in distribution.binary.values():
        if start.cmd:
            command = (Path(start.cmd).name, *start.args)
            return KnownAgent(title, command, f"download {start.archive or entry.name}", environment=start.env)
    return None
