"""Work that is proposed instead of merged, with ``merge = "pr"``: pushes its branch, asks a forge, and waits for its answer.

Each step is recorded when it is done and may be done twice: a push of the same commit, a request for the same branch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import msgspec
import trio
from tinytown.config import Config
from tinytown.errors import TinytownError
from tinytown.model.text import shown
from tinytown.process import ProcessSupervisor
from tinytown.town import Town

from tinytown_git.forge import CommandForge, Forge, ForgeFailed, Proposal
from tinytown_git.git import GitFailed
from tinytown_git.repository import Repository
from tinytown_git.settings import Settings
from tinytown_git.submit import message_of
from tinytown_git.work import Records, Work

T = TypeVar("T")

_log = logging.getLogger("tinytown.git")

_PUSH_S = 120.0
_FORGE_S = 300.0
_LONGEST_ADDRESS = 2_000


class Proposals:
    """The work of a town that is proposed on a forge."""

    def __init__(
        self, settings: Settings, config: Config, town: Town, repository: Repository, processes: ProcessSupervisor
    ) -> None:
        self._settings = settings
        self._config = config
        self._town = town
        self._repository = repository
        self._processes = processes
        self._records = Records(town.operations, town.run)
        self._forge: Forge | None = None
        self._asked_s = float("-inf")

    async def work(self, works: Sequence[Work]) -> None:
        """Propose what is queued, and look after what was proposed. A forge that fails is asked again with the next call."""
        now_s = trio.current_time()
        is_due = now_s - self._asked_s >= self._settings.forge_poll_s
        self._asked_s = now_s if is_due else self._asked_s
        for each in works:
            try:
                if each.stage == "queued":
                    await self._propose(each)
                elif each.stage == "proposed" and is_due:
                    await self._follow(each)
            except Exception as error:  # another plugin's forge may raise anything
                reason = str(error) or type(error).__name__
                if not isinstance(error, TinytownError):
                    _log.exception("the forge failed")
                if each.reason != reason:
                    await self._records.change(each, msgspec.structs.replace(each, reason=reason))

    async def _propose(self, work: Work) -> None:
        forge, remote, base = await self._open_forge(), *await self._place(work)
        branch = work.branch.removeprefix("refs/heads/")
        try:
            # What the branch has there is of this task's earlier rounds; the town's ref of it says what that was.
            await self._repository.git_with_remotes(
                "push", "--quiet", "--no-verify", "--force", "--receive-pack=git-receive-pack", "--end-of-options",
                remote, f"{work.commit}:{work.branch}", timeout_s=_PUSH_S,
            )  # fmt: skip
        except GitFailed as error:
            raise ForgeFailed(f"{branch} could not be pushed to {remote}: {error.message}") from error
        body = message_of(work.task, work.title, work.agent, self._settings)
        proposal = Proposal(
            task=work.task,
            agent=work.agent,
            title=work.title,
            body=body,
            branch=branch,
            base=base,
            remote=remote,
            commit=work.commit,
        )
        address = _address(forge, await _in_time(forge, forge.propose(proposal)))
        proposed = msgspec.structs.replace(work, stage="proposed", place=address, reason="", since_ms=_now_ms())
        event = ("git_proposed", {"task": work.task, "agent": work.agent, "commit": work.commit, "address": address})
        await self._records.change(work, proposed, event)

    async def _follow(self, work: Work) -> None:
        forge = await self._open_forge()
        state: object = await _in_time(forge, forge.state(work.place))
        if state not in ("open", "merged", "closed"):
            raise _unexpected(forge, "open, merged or closed", state)
        if state == "merged":
            merged = msgspec.structs.replace(work, stage="merged", reason="", since_ms=_now_ms())
            members = {"task": work.task, "agent": work.agent, "commit": work.commit, "branch": work.place}
            await self._records.change(work, merged, ("git_merged", members))
        elif state == "closed":
            reason = f"its pull request was closed: {work.place}"
            refused = msgspec.structs.replace(work, stage="refused", reason=reason, since_ms=_now_ms())
            event = ("git_refused", {"task": work.task, "agent": work.agent, "reason": reason})
            await self._records.change(work, refused, event)
        elif work.reason:
            await self._records.change(work, msgspec.structs.replace(work, reason=""))

    async def _place(self, work: Work) -> tuple[str, str]:
        """The remote of the target, and its branch there. Raises: ForgeFailed."""
        if work.target:
            asked = await self._repository.git(
                "for-each-ref", "--format=%(upstream:remotename)%00%(upstream:remoteref)", "--", work.target
            )
            remote, _, name = asked.text.partition("\0")
            if remote and name:
                return remote, name.removeprefix("refs/heads/")
            remotes = (await self._repository.git("remote")).text.split()
            if len(remotes) == 1:
                return remotes[0], work.target.removeprefix("refs/heads/")
        raise ForgeFailed(
            f"{work.target or 'HEAD'} has no upstream to propose work for",
            hint="git branch --set-upstream-to REMOTE/BRANCH",
        )

    async def _open_forge(self) -> Forge:
        """The forge of the settings. Raises: ForgeFailed."""
        settings = self._settings
        if self._forge is None and settings.forge == "command":
            self._forge = CommandForge(settings.forge_create, settings.forge_state, self._town.root, self._processes)
        if self._forge is None:
            from tinytown.plugin import survey_plugins

            plugins = await trio.to_thread.run_sync(survey_plugins, self._config, self._town.root)
            forges = plugins.contributed("git_forges")
            self._forge = forges.get(settings.forge)
            if self._forge is None:
                raise ForgeFailed(
                    f"expected plugins.git.forge to name one of {', '.join(['command', *forges])}, got {settings.forge!r}"
                )
        return self._forge


async def _in_time(forge: Forge, answer: Awaitable[T]) -> T:
    """What a forge answers. Raises: ForgeFailed if it does not, so that it blocks others for a short time only."""
    with trio.move_on_after(_FORGE_S):
        return await answer
    raise ForgeFailed(f"the forge {forge.name} did not answer within {_FORGE_S:g} s")


def _address(forge: Forge, answer: object) -> str:
    """The answer of another plugin, if it can be one. Raises: ForgeFailed."""
    if not isinstance(answer, str) or not answer.strip() or len(answer) > _LONGEST_ADDRESS:
        raise _unexpected(forge, "the address of a pull request", answer)
    return answer


def _unexpected(forge: Forge, expected: str, answer: object) -> ForgeFailed:
    return ForgeFailed(f"expected {expected} from the forge {forge.name}, got {shown(repr(answer), 200)}")


def _now_ms() -> int:
    return int(time.time() * 1000)
