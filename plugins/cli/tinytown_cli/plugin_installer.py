"""Installs Tinytown's own plugins with the installer of the environment that ``tt`` runs in. No other name reaches an index.

Sources: the documentation of pipx (``pipx_metadata.json``), of uv (``uv-receipt.toml``), and PEP 668 (``EXTERNALLY-MANAGED``).
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinytown.errors import NotFound, Refused
from tinytown.packages import packages

from tinytown_cli.clone import name_directories

#: What of a distribution's table people look for.
_SHOWN = ("kinds", "plugins", "commands", "formats")


@dataclass(frozen=True, slots=True)
class Python:
    """An environment that packages are installed into: the prefix and the interpreter of it."""

    prefix: Path
    executable: Path
    has_pip: bool
    is_virtual: bool
    is_managed: bool

    @classmethod
    def current(cls) -> Python:
        """The one that runs this."""
        marker = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
        return cls(
            prefix=Path(sys.prefix),
            executable=Path(sys.executable),
            has_pip=importlib.util.find_spec("pip") is not None,
            is_virtual=sys.prefix != sys.base_prefix,
            is_managed=marker.exists(),
        )


def available() -> dict[str, str]:
    """Tinytown's own distributions by name, each with what it brings."""
    found: dict[str, str] = {}
    for distribution, table in sorted(packages().items()):
        parts = [f"{what}: {', '.join(table[what])}" for what in _SHOWN if table.get(what)]
        found[distribution] = "; ".join(parts)
    return found


def distributions(names: Sequence[str]) -> list[str]:
    """The distributions that these names mean, with or without ``tinytown-``. Raises: NotFound for what is not Tinytown's own."""
    known, found = packages(), dict[str, None]()
    for name in names:
        distribution = name if name in known else f"tinytown-{name}"
        if distribution not in known:
            raise NotFound(
                f"Tinytown has no plugin {name!r}",
                hint="tt plugins list --available lists them; install any other with the installer of your environment",
            )
        found[distribution] = None
    return list(found)


def install_command(names: Sequence[str], python: Python) -> list[str]:
    """The command that installs these distributions into `python`. Raises: Refused where none may."""
    sources = [_source(name) for name in names]
    if (python.prefix / "pipx_metadata.json").is_file():
        return ["pipx", "inject", python.prefix.name, *sources]
    receipt = python.prefix / "uv-receipt.toml"
    if receipt.is_file():
        settings: dict[str, Any] = tomllib.loads(receipt.read_text("utf-8"))["tool"]
        tool, *others = map(_requirement, settings["requirements"])
        extra = [word for each in dict.fromkeys([*others, *sources]) for word in ("--with", each)]
        version = ["--python", str(settings["python"])] if "python" in settings else []
        return ["uv", "tool", "install", *version, tool, *extra]
    if not python.is_virtual and python.is_managed:
        raise Refused(
            f"{python.executable} belongs to the system, which installs its packages itself",
            hint="install Tinytown into an environment of its own: pipx install tinytown, or uv tool install tinytown",
            code="externally_managed",
        )
    if python.has_pip:
        return [str(python.executable), "-m", "pip", "install", *sources]
    return ["uv", "pip", "install", "--python", str(python.executable), *sources]


def _source(distribution: str) -> str:
    """What the installer is given: the directory in the clone that this Tinytown came from, else the name."""
    (*_, source) = shlex.split(name_directories(f"pip install {distribution}"))
    return source


def _requirement(entry: Mapping[str, Any]) -> str:
    """What a tool of uv was installed from, as its receipt has it: a path, an address or a name with versions."""
    if path := entry.get("directory") or entry.get("editable") or entry.get("path"):
        return str(path)
    if url := entry.get("url") or (f"git+{entry['git']}" if "git" in entry else ""):
        return f"{entry['name']} @ {url}"
    extras = f"[{','.join(entry['extras'])}]" if entry.get("extras") else ""
    return f"{entry['name']}{extras}{entry.get('specifier', '')}"


def absent(names: Sequence[str], python: Python) -> list[str]:
    """Which of these distributions are not in the environment of `python`, after an installer said that it installed them."""
    listing = "import sys; from importlib import metadata as m; sys.stdout.writelines(f'{d.name}\\n' for d in m.distributions())"
    ran = subprocess.run([python.executable, "-I", "-c", listing], capture_output=True, text=True, check=False)
    present = {name.lower().replace("_", "-") for name in ran.stdout.split()}
    return [name for name in names if name not in present]


def missing_program(command: Sequence[str]) -> str:
    """The program that a command needs and that is nowhere; empty if there is one."""
    import shutil

    return "" if os.sep in command[0] or shutil.which(command[0]) else command[0]
