"""What people and agents see of worktrees and the queue elsewhere: prompts, events, ``tt status``, ``tt doctor``, ``tt init``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinytown.config import Config
from tinytown.model.agents import Agent
from tinytown.model.events import Event, OtherEvent
from tinytown.model.tasks import Task
from tinytown.model.text import counted, shown
from tinytown_cli.contracts import Finding, HealthCheck, SectionContent, StatusSection
from tinytown_cli.public import TownClient

from tinytown_git.git import git_version, has_commit
from tinytown_git.merging import NEEDED_VERSION
from tinytown_git.repository_files import has_repository
from tinytown_git.reservations import RESERVATIONS_FIELD, describe, read_reservations
from tinytown_git.settings import Settings
from tinytown_git.work import FINAL, LEDGER_FIELD, PLUGIN, QUEUE_FIELD, notice, queue_state, works_in

_RESERVATIONS_SHOWN = 20
_GIB = 1 << 30
_SIZED = 200_000  # files whose sizes are added up at most


def section_for(agent: Agent, task: Task, settings: Settings) -> str:
    """The paragraph of a prompt about where the agent works and what becomes of its commits."""
    lines = [
        "## Your worktree",
        "",
        "The current directory is a git worktree of your own, on a branch made for this task. Commit your work there, in small "
        "commits whose messages say why. Do not switch branches, and leave other worktrees, tags and remotes alone.",
    ]
    if settings.uncommitted == "commit":
        lines.append("What you leave uncommitted at the end is committed for you.")
    if settings.checks:
        commands = "; ".join(f"`{command}`" for command in settings.checks.values())
        lines.append(f"When you report the task as done, these have to succeed on your commits alone: {commands}.")
    if settings.forbidden:
        lines.append(f"Change nothing in {', '.join(settings.forbidden)}.")
    if settings.merge == "queue":
        lines.append(
            "Work that passes is merged for you; if it conflicts, the task comes back to you with the files in conflict."
        )
    if settings.merge == "pr":
        lines.append("Work that passes is proposed for you as a pull request: push nothing.")
    return "\n".join(lines)


def reservations_for(agent: Agent, data: Mapping[str, Any]) -> list[str]:
    """The paragraph of a prompt about what others are about to change, and how to say the same; none if nothing is reserved."""
    now_ms = int(time.time() * 1000)
    others = [each for each in read_reservations(data.get(RESERVATIONS_FIELD), now_ms) if each.agent != agent.name]
    if not others:
        return []
    lines = [
        "## Reserved by others",
        "",
        "Others are about to change these paths. If your task needs one of them, ask with `tt send` before you change it. Say "
        "what you are about to change with `tt reserve PATH...`.",
        "",
        *(f"- {describe(each, now_ms)}" for each in others[:_RESERVATIONS_SHOWN]),
    ]
    if len(others) > _RESERVATIONS_SHOWN:
        lines.append(f"- and {len(others) - _RESERVATIONS_SHOWN} more: `tt reservations`")
    return ["\n".join(lines)]


def event_text(event: Event) -> str | None:
    """One line about an event of the plugin's own."""
    if not isinstance(event, OtherEvent) or not event.type.startswith("git_"):
        return None
    said = event.fields
    task, agent = said.get("task", "")[:8], said.get("agent", "")
    match event.type:
        case "git_submitted":
            stage = {"review": "for a review", "queued": "to be merged"}.get(said.get("stage", ""), "")
            return f"{agent} submitted its work on task {task} {stage}".rstrip() + f" ({said.get('commit', '')[:12]})"
        case "git_merged":
            return f"the work of {agent} on task {task} is merged into {said.get('branch', '')} ({said.get('commit', '')[:12]})"
        case "git_proposed":
            return f"the work of {agent} on task {task} is proposed: {said.get('address', '')}"
        case "git_refused":
            return f"the work of {agent} on task {task} goes back: {shown(said.get('reason', ''), 200)}"
        case "git_reviewed":
            verdict = "approves" if said.get("approved") == "yes" else "rejects"
            return f"{agent} {verdict} the work on task {task}"
        case "git_reserved":
            return f"{agent} reserves {shown(said.get('paths', '').replace(chr(10), ', '), 200)}"
        case "git_released":
            return (
                f"{agent} releases {shown(said.get('paths', '').replace(chr(10), ', '), 200) or 'all that it reserved'}"
            )
        case "git_queue_paused":
            return f"the merge queue is paused: {shown(said.get('reason', ''), 200)}"
        case _:
            return None


class MergeSection(StatusSection):
    """The queue, for ``tt status --deep``."""

    name = "merge"

    def read(self, town: TownClient) -> SectionContent | None:
        data = town.run(town.operations.plugin_data(PLUGIN))
        waiting = [work for work in works_in(data) if work.stage not in FINAL]
        state = queue_state(data.get(QUEUE_FIELD))
        said, now_ms = notice(state), int(time.time() * 1000)
        reserved = [describe(each, now_ms) for each in read_reservations(data.get(RESERVATIONS_FIELD), now_ms)]
        if not waiting and said is None and not reserved:
            return None
        stages = {
            stage: sum(work.stage == stage for work in waiting) for stage in ("review", "queued", "merging", "proposed")
        }
        lines = [f"  {counted(count, 'task')} {stage}" for stage, count in stages.items() if count]
        lines += [f"  reserved by {each}" for each in reserved]
        value = {**stages, "notice": said, "reserved": reserved}
        return SectionContent("merge queue", [*([f"  {said}"] if said else []), *lines], value)


class GitCheck(HealthCheck):
    """What ``tt doctor`` says of git, of the repository, and of what worktrees take."""

    name = "git"

    def __init__(self, settings: Settings, config: Config, root: Path) -> None:
        self._settings = settings
        self._config = config
        self._root = root

    def check(self, town: TownClient) -> Sequence[Finding]:
        return [*self._workspace(), *self._ledger(town)]

    def _ledger(self, town: TownClient) -> Iterator[Finding]:
        if not self._settings.ledger:
            return
        problem = town.run(town.operations.plugin_field(PLUGIN, LEDGER_FIELD))
        if isinstance(problem, str):
            yield Finding("ledger", "problem", f"nothing is added to the ledger: {shown(problem, 300)}", "tt ledger")
        else:
            yield Finding("ledger", "ok", f"the town's history is kept on the branch {self._settings.ledger_branch}")

    def _workspace(self) -> Sequence[Finding]:
        if self._settings.workspace != "worktree" or not has_repository(self._root):
            return [Finding("git", "ok", 'agents share one directory: no git repository, or workspace = "shared"')]
        return [*self._git(), *self._worktrees()]

    def _git(self) -> Iterator[Finding]:
        version = git_version()
        if version is None:
            yield Finding("git", "problem", "git is not installed", "install git")
        elif version < NEEDED_VERSION and self._settings.merge == "queue":
            needed, found = (".".join(map(str, each)) for each in (NEEDED_VERSION, version))
            yield Finding(
                "git", "problem", f"git {found} cannot merge without a worktree",
                f'install git {needed} or newer, or set merge = "branch" in [plugins.git]',
            )  # fmt: skip
        else:
            yield Finding("git", "ok", f"git {'.'.join(map(str, version))}; each task has a worktree of its own")

    def _worktrees(self) -> Iterator[Finding]:
        directory = self._settings.worktrees_directory(self._root)
        count, size, complete = len(list(directory.glob("*/*.json"))), 0, True
        for number, file in enumerate(_files(directory)):
            if number >= _SIZED:
                complete = False
                break
            size += file.stat(follow_symlinks=False).st_size
        text = f"{counted(count, 'worktree')}{'' if complete else ', more than'} {size / _GIB:.1f} GiB in {directory}"
        asides = [*directory.glob("*/*.aside-*"), *directory.glob("*/*.git-*")]
        yield Finding("worktrees", "ok", text)
        if asides:
            yield Finding(
                "worktrees",
                "note",
                f"directories put aside: {len(asides)}",
                "tt gc --force deletes them",
            )


def _files(directory: Path) -> Iterator[os.DirEntry[str]]:
    places = [str(directory)]
    while places:
        try:
            with os.scandir(places.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        places.append(entry.path)
                    else:
                        yield entry
        except OSError:
            continue


def init_note(settings: Settings, root: Path) -> str | None:
    """What ``tt init`` says in a git repository."""
    if settings.workspace != "worktree" or not has_repository(root):
        return None
    if not has_commit(root):
        return (
            "git: this repository has no commit yet, so agents work in this directory; once it has one, each task gets "
            "a worktree of its own"
        )
    merged = {
        "queue": "and finished work is merged into the branch that you are on",
        "pr": "and finished work is proposed as a pull request",
        "branch": "and a branch",
    }[settings.merge]
    return f'git: each task gets a worktree of its own, {merged}; workspace = "shared" in [plugins.git] changes that'
