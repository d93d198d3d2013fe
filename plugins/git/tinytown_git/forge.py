"""The contract `Forge`: where work is proposed as a pull request instead of being merged by the queue; and a forge by commands.

Offered by a plugin's hook `tinytown_git_forges`. The one here runs what ``[plugins.git]`` names, such as ``gh``.
"""

from __future__ import annotations

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from tinytown.errors import TinytownError
from tinytown.model.text import shown
from tinytown.process import ProcessSupervisor

from tinytown_git.git import git_environment

RequestState: TypeAlias = Literal["open", "merged", "closed"]

_COMMAND_S = 120.0
_URL = re.compile(r"https?://\S+")
_ERROR = 500


class ForgeFailed(TinytownError):
    """A forge that did not do what it was asked. The work waits, and it is asked again."""

    code = "forge_failed"


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Work to be proposed: the `branch`, which is on the `remote` at `commit`, is to be merged into its branch `base`."""

    task: str
    agent: str
    title: str
    body: str
    branch: str
    base: str
    remote: str
    commit: str


class Forge(ABC):
    """A service with pull requests. `name` is what ``plugins.git.forge`` names it by.

    Called in the merge queue's task, one at a time, for at most five minutes. Whatever is raised, or is no answer, is reported,
    and the call is repeated later.
    """

    name: str

    @abstractmethod
    async def propose(self, proposal: Proposal) -> str:
        """The address of the pull request for a branch: the one that is open for it, or else a new one."""

    @abstractmethod
    async def state(self, address: str) -> RequestState:
        """What became of a pull request."""


class CommandForge(Forge):
    """A forge by two commands of the person's settings, run in the directory of the town.

    ``{branch}``, ``{base}``, ``{title}``, ``{body}`` and ``{url}`` are replaced in their words, after these were split: no shell
    sees them. `create` prints the address of the request, also in its error if there is one already; `state` prints open, merged
    or closed, in any case.
    """

    name = "command"

    def __init__(self, create: str, state: str, root: Path, processes: ProcessSupervisor) -> None:
        self._create = shlex.split(create)
        self._state = shlex.split(state)
        self._root = root
        self._processes = processes

    async def propose(self, proposal: Proposal) -> str:
        values = {name: getattr(proposal, name) for name in ("branch", "base", "title", "body")}
        status, stdout, stderr = await self._run(self._create, values)
        found = _URL.findall(stdout) or (_URL.findall(stderr) if "already exists" in stderr else [])
        if not found or (status and "already exists" not in stderr):
            raise ForgeFailed(
                f"expected the address of a pull request from {self._create[0]}, got exit status {status}: "
                + shown((stderr or stdout).strip(), _ERROR),
                hint="plugins.git.forge_create",
            )
        return str(found[-1])

    async def state(self, address: str) -> RequestState:
        status, stdout, stderr = await self._run(self._state, {"url": address})
        match stdout.strip().lower():
            case "open":
                return "open"
            case "merged":
                return "merged"
            case "closed":
                return "closed"
            case _:
                raise ForgeFailed(
                    f"expected open, merged or closed from {self._state[0]}, got exit status {status}: "
                    + shown((stderr or stdout).strip(), _ERROR),
                    hint="plugins.git.forge_state",
                )

    async def _run(self, words: list[str], values: Mapping[str, str]) -> tuple[int | None, str, str]:
        def filled(word: str) -> str:
            return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), word)

        ended = await self._processes.run(
            [filled(word) for word in words],
            cwd=self._root,
            env=git_environment(),
            on_line=lambda _: None,
            timeout_s=_COMMAND_S,
        )
        return ended.status, ended.stdout_tail, ended.stderr_tail
