"""``tt-bd worktree``: git worktrees of the repository, in which the town is found like in its own directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import click
import msgspec
from tinytown.errors import TinytownError, UsageError
from tinytown.identity import GIT_VARIABLES
from tinytown.model.text import shown

from tinytown_gastown.bd.output import Output, common_options, pass_output

_GIT_S = 300.0


class _Worktree(msgspec.Struct, frozen=True):
    name: str
    path: str
    branch: str


@click.group("worktree")
@common_options
def worktree() -> None:
    """Worktrees that a person makes. Tasks get worktrees of their own by tinytown-git."""


@worktree.command("create")
@click.argument("name", metavar="PATH")
@click.option("--branch", default="", help="The new branch.  [default: the last part of PATH]")
@common_options
@pass_output
def create(out: Output, name: str, branch: str) -> None:
    """Make a worktree on a new branch."""
    out.refuse_readonly()
    branch = branch or Path(name).name
    _git(out, "worktree", "add", "--quiet", "-b", branch, "--", name)
    path = (Path(out.directory or ".") / name).resolve()
    out.answer({"path": str(path), "branch": branch}, [f"✓ Created worktree: {path}", f"  Branch: {branch}"])


@worktree.command("list")
@common_options
@pass_output
def list_(out: Output) -> None:
    """List the worktrees."""
    found = _worktrees(out)
    out.answer([msgspec.to_builtins(each) for each in found], [f"{each.branch:<30} {each.path}" for each in found])


@worktree.command("info")
@common_options
@pass_output
def info(out: Output) -> None:
    """Show the worktree that this directory is in."""
    top = _git(out, "rev-parse", "--show-toplevel").strip()
    found = next((each for each in _worktrees(out) if each.path == top), None)
    if found is None:
        raise UsageError("not in a worktree")
    out.answer(msgspec.to_builtins(found), [f"Worktree: {found.path}", f"  Branch: {found.branch}"])


@worktree.command("remove")
@click.argument("name", metavar="PATH")
@click.option("-f", "--force", is_flag=True, help="With everything that is not committed in it.")
@common_options
@pass_output
def remove(out: Output, name: str, force: bool) -> None:
    """Remove a worktree. Its branch stays; one with changes that are not committed is refused."""
    out.refuse_readonly()
    _git(out, "worktree", "remove", *(["--force"] if force else []), "--", name)
    out.answer({"removed": name}, f"✓ Removed worktree: {name}")


def _worktrees(out: Output) -> list[_Worktree]:
    found: list[_Worktree] = []
    for entry in _git(out, "worktree", "list", "--porcelain").strip().split("\n\n"):
        pairs = (line.partition(" ") for line in entry.splitlines())
        words = {name: value for name, _, value in pairs}
        branch = words.get("branch", "").removeprefix("refs/heads/") or "(detached)"
        found.append(_Worktree(Path(words["worktree"]).name, words["worktree"], branch))
    return found


def _git(out: Output, *words: str) -> str:
    """What git prints. Raises: TinytownError with its last words."""
    variables = {name: value for name, value in os.environ.items() if name not in GIT_VARIABLES}
    try:
        ended = subprocess.run(
            ["git", *words],
            cwd=out.directory,
            env=variables,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_GIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TinytownError(f"git cannot be run: {error}") from error
    if ended.returncode:
        *_, last = ended.stderr.strip().splitlines() or ["no output"]
        raise TinytownError(f"git {words[0]} failed: {shown(last, 300)}")
    return ended.stdout
