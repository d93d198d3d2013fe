"""Rescue refs: what is in a worktree, kept under ``refs/tinytown/rescue/<task>/<time>`` before anything can happen to it.

A snapshot is a commit of all files that git does not ignore, on top of the commit that is checked out; further parents are
commits that the worktree had and that no ref names any more. Nothing of the worktree is touched: it is read with an index of
its own, and its configuration is not read. Ignored files are not kept.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trio

from tinytown_git.git import Git, GitFailed
from tinytown_git.repository import ABSENT, TOWN_EMAIL, TOWN_NAME, Repository

PREFIX = "refs/tinytown/rescue/"
_NESTED_FILE_BYTES = 100 << 20
_OBJECT = re.compile(r"[0-9a-f]{40,64}")


@dataclass(frozen=True, slots=True)
class Rescue:
    """One rescue ref: `name` is ``<task>/<time>``. `files` says whether it holds files that were in no commit."""

    name: str
    task: str
    commit: str
    at: str
    reason: str
    files: bool

    @property
    def ref(self) -> str:
        return PREFIX + self.name


@dataclass(frozen=True, slots=True)
class State:
    """What a snapshot found: the commit checked out (None if there is none), the tree of all files, commits no ref names.

    `named` says whether a ref leads to the commit that is checked out; `left_out` are nested repositories, whose own history is
    not kept.
    """

    head: str | None
    tree: str
    changed: bool
    lost: tuple[str, ...] = ()
    named: bool = True
    left_out: tuple[str, ...] = ()


async def take_snapshot(
    repository: Repository, task: str, work_tree: Path, admin: Path, *, reason: str, branch: str
) -> tuple[Rescue | None, State]:
    """Keep what is in `work_tree` under a rescue ref of `task`; none if all of it is on refs already, or in the newest one.

    `admin` is git's directory for the worktree; without it the files count as changes on top of `branch`.
    Raises: GitFailed; OSError.
    """
    async with repository.quarantine() as inside:
        state = await read_state(inside, work_tree, admin, branch)
        commit = await _rescue_commit(inside, task, state, reason)
        if commit is not None:
            await inside.keep_objects()
    return (await _name(repository, task, commit, reason, state.changed) if commit else None), state


async def keep_commit(repository: Repository, task: str, commit: str, *, reason: str, but: str = "") -> None:
    """Keep a commit under a rescue ref of `task`, unless a ref other than `but` leads to it. Raises: GitFailed."""
    if not await _is_named(repository, commit, but):
        await _name(repository, task, commit, reason, files=False)


async def _rescue_commit(repository: Repository, task: str, state: State, reason: str) -> str | None:
    """A commit of what was found; None if all of it is on refs, or in the newest rescue of the task."""
    if not state.changed and not state.lost and state.named:
        return None
    parents = [*([] if state.head is None else [state.head]), *state.lost]
    newest = next(iter(await list_rescues(repository, task)), None)
    if newest is not None:
        kept = await repository.git("rev-parse", f"{newest.commit}^{{tree}}", f"{newest.commit}^@")
        if kept.text.splitlines() == [state.tree, *parents]:
            return None
    message = f"{reason}\n\nTinytown-Task: {task}\nTinytown-Files: {'yes' if state.changed else 'no'}\n"
    return await repository.make_commit(state.tree, parents, message, author=(TOWN_NAME, TOWN_EMAIL))


async def _name(repository: Repository, task: str, commit: str, reason: str, files: bool) -> Rescue:
    """Name a commit by a new rescue ref."""
    while True:
        at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        rescue = Rescue(f"{task}/{at}", task, commit, at, reason, files)
        if await repository.set_ref(rescue.ref, commit, ABSENT, reason=reason):
            return rescue


async def _is_named(repository: Repository, commit: str, but: str) -> bool:
    """Whether a ref other than `but` leads to the commit."""
    found = await repository.git("for-each-ref", "--count=2", f"--contains={commit}", "--format=%(refname)")
    return any(name != but for name in found.text.splitlines())


async def read_state(repository: Repository, work_tree: Path, admin: Path, branch: str) -> State:
    """What is in a worktree, with all of it written into the object store, best a quarantine. Raises: GitFailed; OSError."""
    logged = _logged_names(admin)
    heads = [f"{name}^{{{kind}}}" for name in (f"worktrees/{admin.name}/HEAD", branch) for kind in ("commit", "tree")]
    own, own_tree, tip, tip_tree, *there = await repository.resolve(*heads, *(f"{name}^{{commit}}" for name in logged))
    head, head_tree = (own, own_tree) if own else (tip, tip_tree)
    async with index_of(repository, work_tree, admin, head) as git:
        left_out = await _add_nested(git, work_tree, head)
        tree = (await git("write-tree")).text
    changed = tree != (head_tree or (await repository.git("mktree")).text)
    lost, named = await _unnamed_commits(repository, [name for name in there if name], head)
    return State(head, tree, changed, lost, named, left_out)


@asynccontextmanager
async def index_of(repository: Repository, work_tree: Path, admin: Path, head: str | None) -> AsyncGenerator[Git]:
    """Git in `work_tree` with a temporary index in which all its files are, also those that were never added."""
    with tempfile.TemporaryDirectory(prefix="tinytown-index-", ignore_cleanup_errors=True) as place:
        git = repository.git_in(work_tree, index=Path(place, "index"))
        try:
            # It knows which files have not changed, so that they need not be read. With its time: a file that was changed in the
            # second in which an index was written is taken for unchanged by one that seems to be younger.
            with suppress(OSError):
                await trio.to_thread.run_sync(shutil.copy2, admin / "index", Path(place, "index"))
            await _add_all(git)
        except GitFailed:  # damaged, or split in two files
            Path(place, "index").unlink(missing_ok=True)
            await git("read-tree", *([head] if head else ["--empty"]))
            await _add_all(git)
        yield git


async def _add_all(git: Git) -> None:
    """Add what is there, also beside files that cannot be read and repositories that have no commit."""
    added = await git("add", "--all", "--ignore-errors", "--", ".", expected=(0, 1, 128))
    if added.status == 128:
        nested = [f":(exclude,top,literal){name}" for name in await _nested(git)]
        await git("add", "--all", "--ignore-errors", "--", ".", *nested, expected=(0, 1))


async def _nested(git: Git) -> list[str]:
    """Directories with a repository of their own, which git does not look into."""
    listed = await git("ls-files", "-z", "-t", "--stage", "--others", "--exclude-standard")
    found = {item[2:].rstrip("/") for item in listed.items if item.startswith("? ") and item.endswith("/")}
    found |= {item.partition("\t")[2] for item in listed.items if item[2:].startswith("160000 ")}
    return sorted(found)


async def _add_nested(git: Git, work_tree: Path, head: str | None) -> tuple[str, ...]:
    """Add the files of repositories inside of the worktree; the names of these repositories. Submodules stay links."""
    nested = [name for name in await _nested(git) if (work_tree / name / ".git").exists()]
    if not nested:
        return ()
    known = await git("ls-tree", "-z", head, "--", *nested) if head else None
    modules = {item.partition("\t")[2] for item in known.items if " commit " in item} if known else set[str]()
    lines: list[bytes] = []
    for name in nested:
        if name in modules:
            continue
        lines.append(f"0 {ABSENT}\t".encode() + os.fsencode(name) + b"\0")
        for path, mode, content in await trio.to_thread.run_sync(_files_below, work_tree / name):
            made = await git("hash-object", "-w", "--no-filters", "--stdin", stdin=content)
            lines.append(f"{mode} {made.text}\t".encode() + os.fsencode(path.relative_to(work_tree)) + b"\0")
    await git("update-index", "-z", "--index-info", stdin=b"".join(lines))
    return tuple(nested)


def _files_below(directory: Path) -> list[tuple[Path, str, bytes]]:
    """The files of a nested repository: path, mode and content; what is too large to hold is left out."""
    found: list[tuple[Path, str, bytes]] = []
    for place, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if name != ".git"]
        for path in (Path(place, name) for name in (*files, *directories) if name != ".git"):
            with suppress(OSError):
                status = path.lstat()
                if stat.S_ISLNK(status.st_mode):
                    found.append((path, "120000", os.fsencode(os.readlink(path))))
                elif stat.S_ISREG(status.st_mode) and status.st_size <= _NESTED_FILE_BYTES:
                    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                        mode = "100755" if status.st_mode & 0o100 else "100644"
                        found.append((path, mode, file.read()))
    return found


async def last_commit(repository: Repository, admin: Path) -> str | None:
    """The commit that was checked out last in a worktree, by its log."""
    there = await repository.resolve(*(f"{name}^{{commit}}" for name in _logged_names(admin)))
    return next((name for name in there[::-1] if name), None)


def _logged_names(admin: Path) -> list[str]:
    """The commits that were checked out in a worktree, in the order of its log. They may be gone."""
    try:
        log = (admin / "logs" / "HEAD").read_bytes().decode("utf-8", "replace")
    except OSError:
        return []
    words = (word for line in log.splitlines() for word in line.split()[:2])
    return [word for word in dict.fromkeys(words) if _OBJECT.fullmatch(word) and word.strip("0")]


async def _unnamed_commits(repository: Repository, logged: list[str], head: str | None) -> tuple[tuple[str, ...], bool]:
    """Commits that were checked out in the worktree and that no ref leads to any more: the newest of each line; and whether a
    ref leads to its `head`."""
    there = [*logged, *([head] if head and head not in logged else [])]
    if not there:
        return (), True
    # A commit that is checked out in a worktree is not safe by that: `--all` alone would count it.
    unnamed = await repository.git(
        "rev-list", "--stdin", "--not", "--single-worktree", "--all", stdin="\n".join(there).encode()
    )
    beyond = [name for name in there if name in set(unnamed.text.split())]
    if not beyond:
        return (), True
    heads = (await repository.git("merge-base", "--independent", *beyond)).text.split()
    return tuple(name for name in heads if name != head), head not in beyond


async def list_rescues(repository: Repository, task: str = "") -> list[Rescue]:
    """The rescue refs, of one task or of all, the newest first."""
    wanted = "%(refname)%00%(objectname)%00%(contents:subject)%00%(contents:trailers:key=Tinytown-Files,valueonly)%00"
    listed = await repository.git("for-each-ref", f"--format={wanted}", f"{PREFIX}{task}/" if task else PREFIX)
    parts = os.fsdecode(listed.stdout).split("\0")
    found: list[Rescue] = []
    for ref, commit, subject, files in zip(parts[0::4], parts[1::4], parts[2::4], parts[3::4], strict=False):
        name = ref.strip().removeprefix(PREFIX)
        of, _, at = name.rpartition("/")
        found.append(Rescue(name, of, commit, at, subject, files.strip() == "yes"))
    return sorted(found, key=lambda rescue: rescue.at, reverse=True)


async def find_rescue(repository: Repository, name: str) -> Rescue | None:
    """The rescue of this name, or the newest one of the task of this name (or of a unique beginning of it)."""
    rescues = await list_rescues(repository)
    exact = [rescue for rescue in rescues if name in (rescue.name, rescue.ref, rescue.task)]
    if exact:
        return exact[0]
    begun = [rescue for rescue in rescues if rescue.name.startswith(name)]
    return begun[0] if len({rescue.task for rescue in begun}) == 1 else None


async def restore_files(repository: Repository, work_tree: Path, rescue: Rescue) -> list[str]:
    """Write the files of a rescue into a worktree, as changes that are not committed; the names of what was written.

    Files that are not in the rescue stay. The index of the worktree stays as it is.
    """
    with tempfile.TemporaryDirectory(prefix="tinytown-index-", ignore_cleanup_errors=True) as place:
        git = repository.git_in(work_tree, index=Path(place, "index"))
        parent = await repository.commit(f"{rescue.commit}^")
        base = parent or (await repository.git("mktree")).text
        changed = await git("diff-tree", "-r", "-z", "--name-status", "--no-renames", base, rescue.commit)
        words = changed.items
        names = {name: status for status, name in zip(words[0::2], words[1::2], strict=True)}
        await git("read-tree", rescue.commit)
        kept = [name for name, status in names.items() if status != "D"]
        listing = b"".join(os.fsencode(name) + b"\0" for name in kept)
        await git("checkout-index", "--force", "-z", "--stdin", stdin=listing)
        for path in (work_tree / name for name in names.keys() - set(kept)):
            with suppress(OSError):
                if path.parent.resolve().is_relative_to(work_tree):  # not through a link that leads out
                    path.unlink()
    return sorted(names)


async def prune_rescues(repository: Repository, rescues: Sequence[Rescue]) -> list[Rescue]:
    """Delete these rescue refs; those that were deleted. Their objects go with git's own garbage collection."""
    return [rescue for rescue in rescues if await repository.delete_ref(rescue.ref, rescue.commit)]
