"""Moves a branch forward: as a ref, or, where a person has it checked out, together with that checkout.

A checkout is changed under the lock of its index, so that no other git changes it meanwhile, and only if nothing uncommitted is
touched: git says whether. A journal names what is under way; `recover` finishes what was cut off. Nothing is ever moved
under somebody's checkout.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import trio
from tinytown.files import replace_file
from tinytown.model.text import shown

from tinytown_git.git import Git, GitFailed
from tinytown_git.repository import Repository

#: What says in a checkout that its person is in the middle of something.
_UNDER_WAY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "sequencer")
_MARK = b"Tinytown "
_INDEX = "tinytown-index"
_REMOVED = "000000"
_REASON = "Tinytown: merge"
_MOVE_S = 300.0
_STALE_S = 600.0


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a branch cannot be moved where it is checked out, and `checkout`: where that is."""

    reason: str
    checkout: Path | None = None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """The journal: the checkout whose branch goes from the commit `old` to `new`."""

    checkout: str
    branch: str
    old: str
    new: str


async def advance(
    repository: Repository, branch: str, old: str, new: str, *, journal: Path, worktrees: Path
) -> Literal["moved", "elsewhere"] | Blocked:
    """Move `branch` (full name) to `new`, which contains it; ``elsewhere`` if it is not at `old`.

    `worktrees` is the directory of the agents' worktrees: in one of them nothing is done. Raises: GitFailed; OSError.
    """
    places = [checkout for checkout in await repository.checkouts() if checkout.branch == branch]
    if not places:
        return "moved" if await repository.set_ref(branch, new, old, reason=_REASON) else "elsewhere"
    place = places[0].path
    if len(places) > 1 or place.is_relative_to(worktrees) or not place.is_dir():
        return Blocked(f"it is checked out in {' and '.join(str(each.path) for each in places)}")
    git_dir = repository.git_at(place).git_dir
    if found := next((name for name in _UNDER_WAY if (git_dir / name).exists()), None):
        return Blocked(f"{place} is in the middle of something ({found})", place)
    intent = Intent(checkout=str(place), branch=branch, old=old, new=new)
    try:
        with _locked_index(git_dir):
            return await _move(intent, git_dir, journal)
    except FileExistsError:
        return Blocked(f"another git is at work in {place}", place)


async def _move(intent: Intent, git_dir: Path, journal: Path) -> Literal["moved", "elsewhere"] | Blocked:
    place, index = Path(intent.checkout), git_dir / _INDEX
    git, own = Git(git_dir, place, index), Repository(git_dir, place, Path())
    head = await git("symbolic-ref", "--quiet", "HEAD", expected=(0, 1))
    if head.text != intent.branch or await own.commit("HEAD") != intent.old:
        return "elsewhere"
    try:
        await trio.to_thread.run_sync(shutil.copy2, git_dir / "index", index)
        await git("update-index", "-q", "--refresh", expected=(0, 1))
        try:
            await git("read-tree", "--dry-run", "-m", "-u", intent.old, intent.new)
        except GitFailed as error:
            return Blocked(f"it would overwrite uncommitted work in {place}: {shown(error.stderr.strip(), 300)}", place)
        if ignored := await in_the_way(git, place, intent.old, intent.new):  # which git itself would overwrite
            return Blocked(f"it would overwrite {shown(ignored, 200)} in {place}, which git ignores", place)
        with trio.CancelScope(shield=True, relative_deadline=_MOVE_S):
            journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(journal, msgspec.json.encode(intent))  # stays unless all of it is done
            await git("read-tree", "-m", "-u", intent.old, intent.new, timeout_s=_MOVE_S)
            moved = await own.set_ref(intent.branch, intent.new, intent.old, reason=_REASON)
            if moved:
                index.replace(git_dir / "index")
            else:
                await git("read-tree", "-m", "-u", intent.new, intent.old, timeout_s=_MOVE_S)
            journal.unlink()
            return "moved" if moved else "elsewhere"
        raise GitFailed(["read-tree"], None, "", f"did not end within {_MOVE_S:g} s")
    finally:
        _drop(index)


async def in_the_way(git: Git, place: Path, old: str, new: str) -> str | None:
    """A file that git does not know, at the place of one that is to be written; or of a directory of one."""
    listed = await git("diff-tree", "-r", "-z", "--no-renames", "--name-status", old, new)
    changes = dict(zip(listed.items[1::2], listed.items[0::2], strict=True))
    there: dict[str, None] = {}
    for name in (name for name, change in changes.items() if change == "A"):
        parents = [str(parent) for parent in Path(name).parents[:-1]]
        there.update(
            (path, None) for path in parents if not os.path.isdir(place / path) and os.path.lexists(place / path)
        )
        if os.path.lexists(place / name):
            there[name] = None
    unknown = [name for name in there if changes.get(name) in (None, "A")]
    if not unknown:
        return None
    staged = set((await git("ls-files", "-z")).items)
    return next((name for name in unknown if name not in staged), None)


def _drop(index: Path) -> None:
    for file in (index, index.with_name(f"{index.name}.lock")):
        file.unlink(missing_ok=True)


@contextmanager
def _locked_index(git_dir: Path) -> Generator[None]:
    """Hold the lock of the index. Raises: FileExistsError if another git does."""
    lock = git_dir / "index.lock"
    if _is_left_behind(lock):
        lock.unlink(missing_ok=True)
    descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(_MARK + str(os.getpid()).encode())
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _is_left_behind(lock: Path) -> bool:
    """Whether a lock of an index is one of a kernel that has ended."""
    try:
        status, content = lock.lstat(), lock.read_bytes()[:64]
    except OSError:
        return False
    if not content.startswith(_MARK):
        return not content and time.time() - status.st_mtime > _STALE_S and status.st_mode & 0o777 == 0o600
    with suppress(OSError, ValueError):
        os.kill(int(content.removeprefix(_MARK)), 0)
        return time.time() - status.st_mtime > _STALE_S
    return True


async def recover(repository: Repository, journal: Path) -> bool:
    """Finish what `advance` had begun when its process was killed. Files that were edited since stay as they are.

    False if that is not possible yet, because another git is at work. Raises: GitFailed; OSError: the journal stays.
    """
    try:
        intent = msgspec.json.decode(journal.read_bytes(), type=Intent)
    except FileNotFoundError:
        return True
    except msgspec.MsgspecError:
        journal.unlink()
        return True
    place = Path(intent.checkout)
    if place.is_dir():
        git_dir = repository.git_at(place).git_dir
        try:
            with _locked_index(git_dir):
                now = await repository.commit(intent.branch)
                if now in (intent.old, intent.new):
                    await _finish(intent, git_dir, at_old=now == intent.old)
        except FileExistsError:
            return False
        finally:
            _drop(git_dir / _INDEX)
    journal.unlink()
    return True


async def _finish(intent: Intent, git_dir: Path, *, at_old: bool) -> None:
    place, index = Path(intent.checkout), git_dir / _INDEX
    _drop(index)
    git = Git(git_dir, place, index)
    listed = await git("diff-tree", "-r", "-z", "--no-renames", intent.old, intent.new)
    changes: dict[str, tuple[str, str, str]] = {}
    for about, name in zip(listed.items[0::2], listed.items[1::2], strict=True):
        _, mode, old, new, _ = about.removeprefix(":").split()
        changes[name] = (mode, old, new)
    await trio.to_thread.run_sync(shutil.copy2, git_dir / "index", index)
    entries = b"".join(
        f"{mode} {new}\t".encode() + os.fsencode(name) + b"\0" for name, (mode, _, new) in changes.items()
    )
    await git("update-index", "-z", "--index-info", stdin=entries)
    ours = [name for name in changes if await _is_ours(git, place, name, changes)]
    kept = [name for name in ours if changes[name][0] != _REMOVED]
    await git("checkout-index", "--force", "-z", "--stdin", stdin=b"".join(os.fsencode(name) + b"\0" for name in kept))
    for name in set(ours) - set(kept):
        with suppress(OSError):
            (place / name).unlink()
            os.removedirs((place / name).parent)
    await git("update-index", "-q", "--refresh", expected=(0, 1))
    own = Repository(git_dir, place, Path())
    if at_old and not await own.set_ref(intent.branch, intent.new, intent.old, reason=_REASON):
        raise GitFailed(["update-ref"], None, "", f"{intent.branch} was moved meanwhile")
    index.replace(git_dir / "index")


async def _is_ours(git: Git, place: Path, name: str, changes: Mapping[str, tuple[str, str, str]]) -> bool:
    """Whether a file is as it was before, as it is to be, or the beginning of that: then nobody has edited it since."""
    path, (_, old, new) = place / name, changes[name]
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    if stat.S_ISLNK(status.st_mode):
        made = await git("hash-object", "--no-filters", "--stdin", stdin=os.fsencode(os.readlink(path)))
        return made.text in (old, new)
    if not stat.S_ISREG(status.st_mode):
        return False
    made = await git("hash-object", f"--path={name}", "--stdin", stdin=path.read_bytes())
    if made.text in (old, new):
        return True
    if new.strip("0") == "":
        return False
    whole = await git("cat-file", "--filters", f"--path={name}", new, expected=(0, 128))
    return whole.status == 0 and whole.stdout.startswith(path.read_bytes())
