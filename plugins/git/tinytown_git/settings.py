"""What a person may choose for the repository of a town."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from tinytown.state import beside_state, town_id

from tinytown_git.merging import Strategy

Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000_000)]
Days = Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000_000)]

_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.git]``. Times in seconds; 0 is no limit.

    - `workspace`: ``worktree``: each task has one of its own; ``shared``: all agents work in the project itself.
    - `directory`: where worktrees lie; beside the town's state if empty. `branch_prefix`: of their branches.
    - `target`: the branch that work begins from and is merged into; empty for the one that is checked out in the project.
      `fetch`: its upstream is fetched before, so that a stale base is noticed.
    - `copy` and `link`: files and directories of the project, as patterns (``.env*``), that a worktree gets as copies or as
      symbolic links. `setup`: a command that runs once in each worktree, for at most `setup_timeout_s`.
    - `port_base`: each worktree has a number of its own from there on, in the variable ``PORT``; 0 is none.
    - `identity`: who is the author of what an agent commits: the ``agent``, or the ``person`` whom git knows.
    - `merge`: ``queue`` merges work that passed, one after another, and a task is completed once it is merged; ``branch``
      leaves it on its branch; ``pr`` pushes it and proposes it on a `forge`: one of a plugin, or ``command``, which runs
      `forge_create` and `forge_state`; it is asked every `forge_poll_s`. `strategy`: how the queue merges; `batch`: how many
      at once where checks are run on the result.
    - `uncommitted`: what a round leaves is committed for it (``commit``), or sends the task back (``refuse``). `commits`:
      ``required`` refuses work without any. `forbidden`: paths, as patterns, that no task may change; `max_files` and
      `max_lines` of one task. `trailers` of commits that the town makes: ``{task}``, ``{agent}`` and ``{title}`` are replaced.
    - `checks`: commands by name, which have to succeed in a clean worktree, each within `check_timeout_s`.
    - `review`: whose approval a task needs: of a ``person``, of an ``agent`` of the role `reviewer_role`, of ``either``, or of
      nobody (``none``). Without one for `review_timeout_s`, it is refused or approved, as `review_timeout` says.
    - `snapshot_every_s`: how often work in progress is kept under a rescue ref, beside the end of each round. Rescue refs are
      kept for `rescue_days`, worktrees of failed and cancelled tasks for `keep_days`; 0 is for ever.
    - `ledger`: tasks, outcomes, verdicts and costs are kept on the branch `ledger_branch`, with one commit every
      `ledger_every_s` in which there is something new.
    """

    workspace: Literal["worktree", "shared"] = "worktree"
    directory: str = ""
    branch_prefix: str = "tt"
    target: str = ""
    fetch: bool = True
    copy: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    setup: str = ""
    setup_timeout_s: Seconds = 600.0
    port_base: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 0
    identity: Literal["agent", "person"] = "agent"
    merge: Literal["queue", "branch", "pr"] = "queue"
    forge: str = "command"
    forge_create: str = "gh pr create --head {branch} --base {base} --title {title} --body {body}"
    forge_state: str = "gh pr view {url} --json state --jq .state"
    forge_poll_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000_000)] = 60.0
    strategy: Strategy = "merge"
    batch: Annotated[int, msgspec.Meta(ge=1, le=100)] = 8
    uncommitted: Literal["commit", "refuse"] = "commit"
    commits: Literal["optional", "required"] = "optional"
    forbidden: tuple[str, ...] = ()
    max_files: Count = 0
    max_lines: Count = 0
    trailers: tuple[str, ...] = ("Tinytown-Task: {task}", "Tinytown-Agent: {agent}")
    checks: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    check_timeout_s: Seconds = 1800.0
    review: Literal["none", "person", "agent", "either"] = "none"
    reviewer_role: str = "reviewer"
    review_timeout_s: Seconds = 0.0
    review_timeout: Literal["refuse", "approve"] = "refuse"
    snapshot_every_s: Seconds = 300.0
    rescue_days: Days = 30.0
    keep_days: Days = 14.0
    ledger: bool = False
    ledger_branch: str = "tinytown/ledger"
    ledger_every_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000_000)] = 300.0

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.branch_prefix):
            raise ValueError(f"expected a branch_prefix such as tt or agents/tt, got {self.branch_prefix!r}")
        if not _PREFIX.fullmatch(self.ledger_branch) or self.ledger_branch in ("HEAD", self.target, self.branch_prefix):
            expected = "a name such as tinytown/ledger, of a branch that is not worked on"
            raise ValueError(f"expected {expected}, as ledger_branch, got {self.ledger_branch!r}")
        for key, command in (("forge_create", self.forge_create), ("forge_state", self.forge_state)):
            if not command.strip():
                raise ValueError(f"expected a command as {key}, got {command!r}")
            shlex.split(command)
        for name, command in self.checks.items():
            if not _NAME.fullmatch(name) or not command.strip():
                raise ValueError(f'expected checks as NAME = "command", got {name!r}: {command!r}')
        for pattern in (*self.copy, *self.link):
            path = Path(pattern)
            if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0] == ".git":
                raise ValueError(f"expected a path or pattern inside of the project, got {pattern!r}")

    def worktrees_directory(self, root: Path) -> Path:
        """Where the worktrees of the town at `root` lie. Raises: as `tinytown.state.state_directory`."""
        if self.directory:
            return root / Path(self.directory).expanduser()
        # Beside the state of the town, like its snapshots: what resets the one leaves the other.
        return beside_state(town_id(root), "@worktrees")
