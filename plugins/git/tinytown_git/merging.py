"""Merges of commits into commits, in the object store alone: no files, no index, no ref, so that nothing can be half done.

What is made is named by nobody until a ref is moved to it. Source: git-merge-tree(1), ``--write-tree``, of git 2.38 and newer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tinytown.model.text import shown

from tinytown_git.git import GitFailed
from tinytown_git.repository import Repository

#: The oldest git that can merge without a worktree.
NEEDED_VERSION = (2, 38)

Strategy: TypeAlias = Literal["merge", "rebase", "squash"]

_FILES_SHOWN = 20
_COMMITS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two commits that cannot be merged: in these files, or for another `reason`."""

    files: tuple[str, ...]
    reason: str = ""


async def combine(repository: Repository, onto: str, commit: str, strategy: Strategy, message: str) -> str | Conflict:
    """A commit that has `onto` and the work of `commit`; `onto` itself if it has that already.

    A branch that holds merges is merged where it should be rebased: their resolutions would be lost. Raises: GitFailed.
    """
    if await repository.is_ancestor(commit, onto):
        return onto
    if strategy == "rebase" and not await repository.count("--merges", f"{onto}..{commit}"):
        return await _rebase(repository, onto, commit)
    tree = await _merged_tree(repository, onto, commit)
    if isinstance(tree, Conflict):
        return tree
    if strategy == "squash":
        if tree == await repository.tree(onto):
            return onto
        author = await repository.git("show", "--no-patch", "--format=%an%n%ae", commit, "--")
        name, email = author.text.splitlines()
        return await repository.make_commit(tree, [onto], message, author=(name, email))
    return await repository.make_commit(tree, [onto, commit], message)


async def _merged_tree(repository: Repository, ours: str, theirs: str) -> str | Conflict:
    try:
        merged = await repository.git(
            "merge-tree", "--write-tree", "--no-messages", "--name-only", "-z", ours, theirs, expected=(0, 1)
        )
    except GitFailed as error:
        if "unrelated histories" in error.stderr:
            return Conflict((), "they have no commit in common")
        raise
    tree, *files = merged.items
    return Conflict(tuple(dict.fromkeys(files))) if merged.status else tree


async def _rebase(repository: Repository, onto: str, commit: str) -> str | Conflict:
    """Each commit of the branch anew on top of `onto`, with its author and message."""
    listed = await repository.git("rev-list", "--reverse", "--topo-order", f"{onto}..{commit}", "--")
    for each in listed.text.split():
        parent = await repository.commit(f"{each}^")
        if parent == onto:
            onto = each
            continue
        if parent is None:
            return Conflict((), "they have no commit in common")
        # Of two commits on a common one that stands for the parent, git merges just what this commit has changed.
        base = await repository.make_commit(await repository.tree(parent), [], "base")
        sides = [await repository.make_commit(await repository.tree(side), [base], "side") for side in (onto, each)]
        tree = await _merged_tree(repository, *sides)
        if isinstance(tree, Conflict):
            return tree
        if tree == await repository.tree(onto):
            continue  # it is there already
        about = await repository.git("show", "--no-patch", "--format=%an%n%ae%n%aD%n%B", each, "--")
        name, email, date, *message = about.text.split("\n")
        onto = await repository.make_commit(
            tree, [onto], "\n".join(message).rstrip() + "\n", author=(name, email), date=date
        )
    return onto


async def describe_conflict(
    repository: Repository, conflict: Conflict, onto: str, place: str, commit: str, branch: str
) -> str:
    """What the author of `branch` has to know to resolve a conflict with `place`: the files, both sides, and what to type."""
    head = f"{branch} cannot be merged into {place}"
    if not conflict.files:
        return f"{head}: {conflict.reason}"
    files = [shown(name, 200) for name in conflict.files]
    more = f" and {len(files) - _FILES_SHOWN} more" if len(files) > _FILES_SHOWN else ""
    lines = [f"conflicts in {', '.join(files[:_FILES_SHOWN])}{more}: {head}", ""]
    for name, commits in ((place, f"{commit}..{onto}"), (branch, f"{onto}..{commit}")):
        paths = [f":(top,literal){path}" for path in conflict.files]
        log = await repository.git(
            "log", "--no-merges", f"--max-count={_COMMITS_SHOWN}", "--format=%h %an: %s", commits, "--", *paths
        )
        lines += [f"On {name}:", *(f"  {shown(line, 200)}" for line in log.text.splitlines()), ""]
    lines.append(
        f"Type `git merge {place}` in your worktree, resolve the conflicts so that what both sides wanted still works, "
        "test, commit, and report the task as done again."
    )
    return "\n".join(lines)
