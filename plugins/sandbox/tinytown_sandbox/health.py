"""What ``tt doctor`` says of boxes: whether there can be one, and what enforces its limits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinytown.contracts import Sandbox
from tinytown.model.text import counted
from tinytown_cli.client import TownClient
from tinytown_cli.contracts import Finding, HealthCheck

from tinytown_sandbox import confine, limits
from tinytown_sandbox.settings import Settings


class SandboxCheck(HealthCheck):
    """The sandbox of this machine."""

    name = "sandbox"

    def __init__(self, sandbox: Sandbox, settings: Settings) -> None:
        self._sandbox = sandbox
        self._settings = settings

    def check(self, town: TownClient) -> Sequence[Finding]:
        return [*self._findings(needed=town.config.permissions in ("read", "write")), *_writable_programs(town.root)]

    def _findings(self, *, needed: bool) -> Iterator[Finding]:
        if problem := self._sandbox.problem():
            fix = (
                'until then, agents with the permissions "read" or "write" do not start, unless their CLI has a sandbox'
            )
            yield Finding("sandbox", "problem" if needed else "note", problem, fix)
            return
        yield Finding("sandbox", "ok", f"{self._sandbox.name} makes boxes; network: {self._network()}")
        if sys.platform != "linux":
            return
        for what in confine.missing():
            yield Finding("sandbox", "note", f"boxes do without {what}")
        yield self._limits()

    def _network(self) -> str:
        network = self._settings.network
        return network if isinstance(network, str) else ", ".join(network) or "no host"

    def _limits(self) -> Finding:
        controlled = {name for controllers in limits.places().values() for name in controllers}
        words = {
            "pids": (f"at most {self._settings.processes} running processes", self._settings.processes),
            "memory": (f"{counted(self._settings.memory_bytes, 'byte')} of memory", self._settings.memory_bytes),
        }
        held, per_process, lost = list[str](), list[str](), list[str]()
        for name, (text, bound) in words.items():
            if bound:
                by_root = name == "pids" and os.geteuid() == 0  # whom the system does not count
                (held if name in controlled else lost if by_root else per_process).append(text)
        parts = [f"by control groups: {', '.join(held)}"] if held else []
        parts += (
            [f"by limits of processes (memory for each one alone): {', '.join(per_process)}"] if per_process else []
        )
        parts += [f"not enforced for root without control groups: {', '.join(lost)}"] if lost else []
        fix = "run the kernel as another user, or where it may make control groups" if lost else ""
        return Finding("sandbox limits", "note" if lost else "ok", "; ".join(parts) or "none is set", fix)


def _writable_programs(root: Path) -> Iterator[Finding]:
    """Directories of PATH in which agents may write: a program there is run outside of boxes, too."""
    for name in dict.fromkeys(os.environ.get("PATH", "").split(os.pathsep)):
        directory = root / name
        if directory.resolve().is_relative_to(root.resolve()) and not directory.resolve().is_relative_to(sys.prefix):
            yield Finding(
                "programs",
                "note",
                f"PATH names {directory}, in which agents may write; you and the kernel run what they put there",
                "take it from PATH where you start the kernel, or use absolute paths there",
            )
