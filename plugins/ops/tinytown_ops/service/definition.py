"""What is written for a service manager: a systemd user unit, or a launchd property list. Pure.

Both run the kernel in the foreground, restart it when it fails, and let it finish its rounds when they end it. Source:
systemd.service(5), systemd.exec(5), systemd.syntax(7), launchd.plist(5).
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinytown.errors import UsageError

#: The first words of what we write: a file without them is somebody else's.
MARK = "Made by `tt service install`"

#: Exit codes after which starting again changes nothing: usage, nothing there, refused.
_FINAL_CODES = (2, 3, 4)
_RESTART_S = 5
_SLACK_S = 30


@dataclass(frozen=True, kw_only=True)
class Service:
    """The service of one town. `drain_s`: how long its rounds may take to finish; `environment` is written down: no secrets."""

    id: str
    town: str
    root: Path
    python: str
    log: Path
    drain_s: float
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def name(self) -> str:
        """What it is called among other services."""
        return f"tinytown-{self.id}"

    def command(self, *words: str) -> list[str]:
        """A command of Tinytown about this town."""
        return [self.python, "-m", "tinytown", *words, "--town", str(self.root)]

    def check(self) -> None:
        """Raises: UsageError for a value that no definition can hold."""
        for value in (str(self.root), self.python, *self.environment.values()):
            if not value.isprintable():
                raise UsageError(f"expected printable text in a service, got {value!r}")


def systemd_unit(service: Service) -> str:
    """The text of the unit.

    Only the kernel gets the first SIGTERM (``KillMode=mixed``): it ends its rounds itself, and their mail goes back.
    """
    service.check()
    stop = [*service.command("stop"), "--timeout", f"{service.drain_s:g}"]
    lines = [
        f"# {MARK}; `tt service uninstall` removes it.",
        "[Unit]",
        f"Description=Tinytown: the kernel of town {service.town}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"WorkingDirectory={str(service.root).replace('%', '%%')}",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(service.environment.items())),
        f"ExecStart={_command_line(service.command('start'))}",
        f"ExecStop={_command_line(stop)}",
        "ExecReload=/bin/kill -USR1 $MAINPID",
        "KillMode=mixed",
        f"TimeoutStopSec={service.drain_s + _SLACK_S:g}",
        "Restart=on-failure",
        f"RestartSec={_RESTART_S}",
        f"RestartPreventExitStatus={' '.join(map(str, _FINAL_CODES))}",
        "# A process of a round that runs out of memory is no reason to end the town.",
        "OOMPolicy=continue",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def launchd_plist(service: Service) -> str:
    """The text of the property list."""
    service.check()
    job: dict[str, Any] = {
        "Label": service.name,
        "ProgramArguments": service.command("start"),
        "WorkingDirectory": str(service.root),
        "EnvironmentVariables": dict(service.environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": _RESTART_S,
        "ExitTimeOut": int(service.drain_s + _SLACK_S),
        "StandardOutPath": str(service.log),
        "StandardErrorPath": str(service.log),
    }
    head, line, rest = plistlib.dumps(job, sort_keys=False).decode().partition("<plist")
    return f"{head}<!-- {MARK}; `tt service uninstall` removes it. -->\n{line}{rest}"


def _command_line(words: list[str]) -> str:
    return " ".join(_quoted(word.replace("$", "$$")) for word in words)


def _quoted(text: str) -> str:
    """A word of a unit: quoted, and without the specifiers that begin with a percent sign."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
