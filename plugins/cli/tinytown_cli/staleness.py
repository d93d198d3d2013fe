"""Whether this machine's kernel runs with other plugins or settings than it would be started with now."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tinytown.config import CONFIG_FILE
from tinytown.entry_points import loading_state
from tinytown.model.results import Host

RELOAD = "tt reload"


def why_reload(root: Path, hosts: Iterable[Host], pid: int | None) -> str:
    """What has changed since the kernel with this process id started, in words; empty for nothing, or if that is unknown."""
    host = next((host for host in hosts if host.pid == pid and host.root == str(root)), None)
    if host is None or not host.loaded_from:
        return ""
    python, installation, settings = host.loaded_from.rsplit("@", 2)
    now_python, now_installation, now_settings = loading_state(root / CONFIG_FILE).rsplit("@", 2)
    changed = ["plugins were installed, updated or removed"] * (
        python == now_python and installation != now_installation
    )
    changed += ["tinytown.toml or a trusted file was changed"] * (settings != now_settings)
    return " and ".join(changed)
