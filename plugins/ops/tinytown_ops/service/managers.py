"""The service managers of a user's session, systemd and launchd: where a definition belongs, and how a service is run.

Each is asked through its own program. Nothing here writes a definition or knows a town.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from typing import ClassVar, Literal, NamedTuple

from tinytown.errors import TinytownError

from tinytown_ops.service.definition import Service, launchd_plist, systemd_unit

ManagerName = Literal["systemd", "launchd"]

_TIMEOUT_S = 120.0
_ASK_TIMEOUT_S = 10.0


class ServiceState(NamedTuple):
    """What a manager says of a service: `state` in its own words, the process that runs, and whether it starts at login."""

    state: str
    pid: int | None
    at_login: bool


class Manager(ABC):
    """A service manager. Its methods raise TinytownError with code ``service_manager`` and what the program said."""

    name: ClassVar[ManagerName]

    @abstractmethod
    def path(self, service: Service) -> Path:
        """The file that defines the service."""

    @abstractmethod
    def definition(self, service: Service) -> str:
        """What is to be in it."""

    @abstractmethod
    def check(self) -> None:
        """Raises: TinytownError with code ``no_service_manager`` if there is none to talk to in this session."""

    @abstractmethod
    def enable(self, service: Service, *, start: bool) -> None:
        """Have the service, whose definition is written, start at login, and now."""

    @abstractmethod
    def disable(self, service: Service) -> None:
        """End the service and start it no more. The definition is there, or is not."""

    @abstractmethod
    def state(self, service: Service) -> ServiceState:
        """How the service is."""

    @abstractmethod
    def log_command(self, service: Service) -> str:
        """What shows what the service prints."""

    def stays_after_logout(self) -> bool | None:
        """Whether services continue without a session of the user; None if that is not known."""
        return None


class Systemd(Manager):
    """The user manager of systemd."""

    name = "systemd"

    def path(self, service: Service) -> Path:
        return _config_home() / "systemd" / "user" / f"{service.name}.service"

    def definition(self, service: Service) -> str:
        return systemd_unit(service)

    def check(self) -> None:
        try:
            _run(["systemctl", "--user", "show-environment"], timeout_s=_ASK_TIMEOUT_S)
        except TinytownError as error:
            hint = "log in directly, not by su or sudo, or run: loginctl enable-linger; " if which("systemctl") else ""
            raise _no_manager(f"systemd runs no services of your user here: {error.message}", hint) from error

    def enable(self, service: Service, *, start: bool) -> None:
        self._control("daemon-reload")
        self._control("enable", *(["--now"] if start else []), f"{service.name}.service")

    def disable(self, service: Service) -> None:
        if self.path(service).exists():
            self._control("disable", "--now", f"{service.name}.service")

    def state(self, service: Service) -> ServiceState:
        names = ("ActiveState", "MainPID", "UnitFileState")
        text = self._control("show", *(f"--property={name}" for name in names), f"{service.name}.service")
        pairs = (line.partition("=") for line in text.splitlines())
        values = {name: value for name, _, value in pairs}
        pid = int(values.get("MainPID") or 0) or None
        return ServiceState(values.get("ActiveState", "unknown"), pid, values.get("UnitFileState") == "enabled")

    def log_command(self, service: Service) -> str:
        return f"journalctl --user --unit {service.name}"

    def stays_after_logout(self) -> bool | None:
        try:
            answer = _run(["loginctl", "show-user", str(os.getuid()), "--property=Linger"], timeout_s=_ASK_TIMEOUT_S)
        except TinytownError:
            return None
        return answer.strip() == "Linger=yes"

    def _control(self, *words: str) -> str:
        return _run(["systemctl", "--user", "--no-pager", *words])


class Launchd(Manager):
    """launchd of macOS, in the session of the user who is logged in at the screen."""

    name = "launchd"

    def path(self, service: Service) -> Path:
        return Path.home() / "Library" / "LaunchAgents" / f"{service.name}.plist"

    def definition(self, service: Service) -> str:
        return launchd_plist(service)

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

    def check(self) -> None:
        try:
            _run(["launchctl", "print", self._domain], timeout_s=_ASK_TIMEOUT_S)
        except TinytownError as error:
            hint = "log in at the screen, then try again; "
            raise _no_manager(f"launchd has no session of your user here: {error.message}", hint) from error

    def enable(self, service: Service, *, start: bool) -> None:
        if start:  # else it is loaded with the next login
            _run(["launchctl", "bootstrap", self._domain, str(self.path(service))])

    def disable(self, service: Service) -> None:
        if self.state(service).state != "not loaded":
            _run(["launchctl", "bootout", f"{self._domain}/{service.name}"])

    def state(self, service: Service) -> ServiceState:
        at_login = self.path(service).exists()
        try:
            text = _run(["launchctl", "print", f"{self._domain}/{service.name}"], timeout_s=_ASK_TIMEOUT_S)
        except TinytownError:
            return ServiceState("not loaded", None, at_login)
        state = re.search(r"^\s*state = (.+)$", text, re.MULTILINE)
        pid = re.search(r"^\s*pid = (\d+)$", text, re.MULTILINE)
        return ServiceState(state[1] if state else "unknown", int(pid[1]) if pid else None, at_login)

    def log_command(self, service: Service) -> str:
        return f"tail {service.log}"


MANAGERS: dict[ManagerName, type[Manager]] = {"systemd": Systemd, "launchd": Launchd}


def manager_here(name: ManagerName | None = None) -> Manager:
    """The service manager `name`, by default the one of this operating system."""
    return MANAGERS[name or ("launchd" if sys.platform == "darwin" else "systemd")]()


def _no_manager(message: str, hint: str) -> TinytownError:
    text = f"{hint}give `tt service install --print` to the supervisor that you have, or run tt start --background"
    return TinytownError(message, hint=text, code="no_service_manager")


def _run(command: Sequence[str], timeout_s: float = _TIMEOUT_S) -> str:
    """What the program of a service manager prints. Raises: TinytownError with code ``service_manager``."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError as error:
        raise TinytownError(f"no program {command[0]} on the PATH", code="service_manager") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TinytownError(f"cannot run {command[0]}: {error}", code="service_manager") from error
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())
        raise TinytownError(f"{command[0]}: {words or f'ended with status {done.returncode}'}", code="service_manager")
    return done.stdout


def _config_home() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(home) if os.path.isabs(home) else Path.home() / ".config"
