"""macOS: a box made by ``sandbox-exec`` from a profile in the language of seatbelt. Never run: see the README.

A profile says what is denied, the last rule that fits decides. Limits and lists of hosts it does not have.
Source: sandbox-exec(1), and the profiles that macOS brings in ``/System/Library/Sandbox/Profiles``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinytown.contracts import Box, Sandbox

from tinytown_sandbox.places import Access, accesses
from tinytown_sandbox.settings import Settings

_PROGRAM = "/usr/bin/sandbox-exec"
_TEMPORARY = ("/private/tmp", "/private/var/folders", "/private/var/tmp")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/tty", "/dev/dtracehelper")
#: Services that act outside of the box for whoever asks.
_SERVICES = ("com.apple.coreservices.launchservicesd", "com.apple.coreservices.appleevents", "com.apple.SecurityServer")


class Seatbelt(Sandbox):
    """Boxes by seatbelt."""

    name = "seatbelt"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def problem(self) -> str:
        if sys.platform != "darwin" or not os.path.exists(_PROGRAM):
            return f"{_PROGRAM} is not here"
        if self._settings.hosts is not None:
            return 'seatbelt knows no hosts: set network of [plugins.sandbox] to "on" or "off"'
        return ""

    def wrap(self, command: Sequence[str], *, box: Box, environment: Mapping[str, str]) -> Sequence[str]:
        places = accesses(box, self._settings, environment)
        return [_PROGRAM, "-p", profile(places, box.sockets, network=self._settings.network == "on"), *command]


def profile(places: Mapping[Path, Access], sockets: Sequence[Path], *, network: bool) -> str:
    """The text of the profile."""
    rules = ["(version 1)", "(allow default)"]
    rules += ["(deny file-write*)", *(f"(allow file-write* {_below(place)})" for place in _TEMPORARY)]
    rules += [f"(allow file-write* (literal {_quoted(device)}))" for device in _DEVICES]
    rules += ["(deny signal)", "(allow signal (target same-sandbox))", "(deny process-info* (target others))"]
    rules += [f"(deny mach-lookup (global-name {_quoted(service)}))" for service in _SERVICES]
    rules += ["(deny appleevent-send)", "(deny job-creation)"]
    for path in sorted(places, key=lambda path: len(path.parts)):
        where = _below(str(path))
        match places[path]:
            case "write":
                rules += [f"(allow file-read* file-write* {where})"]
            case "read":
                rules += [f"(allow file-read* {where})", f"(deny file-write* {where})"]
            case _:
                rules += [f"(deny file-read* file-write* {where})"]
    rules += ["(deny network-outbound (remote unix-socket))"]
    if not network:
        rules += ["(deny network*)"]
    rules += [f"(allow network-outbound (remote unix-socket (path-literal {_quoted(str(path))})))" for path in sockets]
    rules += ['(allow network-outbound (literal "/private/var/run/mDNSResponder"))'] if network else []
    return "\n".join(rules)


def _below(path: str) -> str:
    return f"(subpath {_quoted(path)})"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
