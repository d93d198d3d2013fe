"""The repository that a town works in: where it is, its branches and commits, its worktrees. Changes refs, no files.

Refs are changed with the value that they are expected to have, so that nobody's change is overwritten.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import trio
from tinytown.errors import NotFound
from tinytown_cli.trees import remove_tree

from tinytown_git.git import Git, GitFailed, git_environment

#: What an update of a ref expects of one that must not be there yet.
ABSENT = "0" * 40

_KEPT = "Tinytown\n"
#: Who makes the commits of the town itself, where the repository configures no identity.
TOWN_NAME, TOWN_EMAIL = "Tinytown", "tinytown@localhost"


@dataclass(frozen=True, slots=True)
class Checkout:
    """A worktree of the repository: its top directory, the commit and the branch (full name) that are checked out there."""

    path: Path
    commit: str | None
    branch: str | None
    locked: str | None = None


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository by its common git directory.

    `checkout` is the worktree that the town's root is in (None for a bare repository), `prefix` where it is there.
    `objects` is where new objects go, see `quarantine`.
    """

    git_dir: Path
    checkout: Path | None
    prefix: Path
    objects: Path | None = None

    @property
    def git(self) -> Git:
        """For commands about refs and objects, which need no worktree."""
        return Git(self.git_dir, objects=self.objects)

    def git_in(self, work_tree: Path, *, index: Path | None = None) -> Git:
        """For commands about the files in `work_tree`, with an index that is not that of the worktree."""
        return Git(self.git_dir, work_tree, index, self.objects)

    @property
    def git_with_remotes(self) -> Git:
        """For commands about remotes: addresses such as ``../origin.git`` are meant from the top of the checkout."""
        return Git(self.git_dir, self.checkout)

    def git_at(self, checkout: Path) -> Git:
        """For commands in a worktree that no agent writes in, with its own index and HEAD. Raises: OSError."""
        entry = checkout / ".git"
        pointer = entry.read_text().removeprefix("gitdir:").strip() if entry.is_file() else ".git"
        return Git((checkout / pointer).resolve(), checkout)

    @asynccontextmanager
    async def quarantine(self) -> AsyncGenerator[Repository]:
        """The same repository, with a place of its own for new objects, which are gone after the block unless `keep_objects`.

        A ``git gc --prune=now`` deletes what no ref names at that moment, also if one does a moment later. What is kept arrives
        as a pack that is marked to stay before any ref names it; `release_packs` takes the mark away.
        """
        place = self.git_dir / "objects" / f"tinytown-{os.urandom(6).hex()}"
        with _as_git_failure("quarantine"):
            place.mkdir()
        try:
            yield replace(self, objects=place)
        finally:
            with suppress(OSError):
                await trio.to_thread.run_sync(remove_tree, place)

    async def keep_objects(self) -> None:
        """Have the new objects of a quarantine stay. Raises: GitFailed."""
        assert self.objects is not None
        found = [file.parent.name + file.name for file in self.objects.glob("[0-9a-f][0-9a-f]/*")]
        if not found:
            return
        base = self.objects / "pack" / "new"
        with _as_git_failure("pack-objects"):
            base.parent.mkdir(exist_ok=True)
        await self.git("pack-objects", "-q", "--window=0", str(base), stdin="\n".join(found).encode())
        packs = self.git_dir / "objects" / "pack"
        with _as_git_failure("pack-objects"):
            packs.mkdir(exist_ok=True)
            for index in base.parent.glob("new-*.idx"):
                kept = packs / f"pack-{index.stem.removeprefix('new-')}"
                kept.with_suffix(".keep").write_text(_KEPT)
                for suffix in (".pack", ".rev", ".idx"):  # the index is what makes it one
                    if (file := index.with_suffix(suffix)).exists():
                        file.replace(kept.with_suffix(suffix))

    def release_packs(self, age_s: float) -> None:
        """Leave the packs of quarantines that are older than so many seconds to git's own garbage collection."""
        for mark in (self.git_dir / "objects" / "pack").glob("pack-*.keep"):
            with suppress(OSError):
                if time.time() - mark.stat().st_mtime > age_s and mark.read_text() == _KEPT:
                    mark.unlink()

    def remove_quarantines(self, age_s: float) -> None:
        """Remove the quarantines of killed kernels, which nothing has been written in for so many seconds."""
        for place in (self.git_dir / "objects").glob("tinytown-*"):
            with suppress(OSError):
                if time.time() - max(each.stat().st_mtime for each in (place, *place.iterdir())) > age_s:
                    remove_tree(place)

    async def commit(self, name: str) -> str | None:
        """The commit that a name resolves to; None if there is none."""
        found = await self.git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", expected=(0, 1, 128)
        )
        return found.text if found.status == 0 else None

    async def resolve(self, *names: str) -> list[str | None]:
        """The object that each name resolves to, None for those that there are none of; all by one git."""
        stdin = "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape")
        found = await self.git("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=stdin)
        lines = found.text.splitlines()
        return [line.partition(" ")[0] if not line.endswith((" missing", " ambiguous")) else None for line in lines]

    async def tree(self, commit: str) -> str:
        """The tree of a commit. Raises: GitFailed if there is no such commit."""
        return (await self.git("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")).text

    async def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether `descendant` contains `ancestor`, which may be the same commit."""
        return (await self.git("merge-base", "--is-ancestor", ancestor, descendant, expected=(0, 1))).status == 0

    async def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor of two commits; None for histories that have nothing in common."""
        return (await self.git("merge-base", one, other, expected=(0, 1))).text or None

    async def count(self, *revisions: str) -> int:
        """How many commits a range holds."""
        return int((await self.git("rev-list", "--count", *revisions, "--")).text)

    async def head_branch(self) -> str | None:
        """The branch (full name) of the person: checked out where the town's root is; None for a detached HEAD."""
        git = self.git if self.checkout is None else self.git_at(self.checkout)
        with suppress(OSError):  # by its file, without a process, unless it is elsewhere or names no branch
            head = (git.git_dir / "HEAD").read_text(errors="replace").rstrip("\n")
            if head.startswith("ref: refs/heads/") and head != "ref: refs/heads/.invalid":
                return head.removeprefix("ref: ")
        found = await git("symbolic-ref", "--quiet", "HEAD", expected=(0, 1))
        return found.text if found.status == 0 else None

    async def head_commit(self) -> str | None:
        """The commit that the person has checked out; None in a repository without commits."""
        git = self.git if self.checkout is None else self.git_at(self.checkout)
        found = await git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", expected=(0, 1, 128))
        return found.text if found.status == 0 else None

    async def checkouts(self) -> list[Checkout]:
        """All worktrees, the main one first."""
        listed = await self.git("worktree", "list", "--porcelain", "-z")
        found: list[Checkout] = []
        for block in os.fsdecode(listed.stdout).split("\0\0"):
            lines = [line.partition(" ") for line in block.split("\0") if line]
            fields = {name: text for name, _, text in lines}
            if "worktree" in fields and "bare" not in fields:
                path = Path(fields["worktree"])
                found.append(Checkout(path, fields.get("HEAD"), fields.get("branch"), fields.get("locked")))
        return found

    async def refs(self, *patterns: str) -> dict[str, str]:
        """Full names of refs -> the objects that they name."""
        listed = await self.git("for-each-ref", "--format=%(refname) %(objectname)", *patterns)
        return dict(line.rsplit(" ", 1) for line in listed.text.splitlines())

    async def set_ref(self, name: str, new: str, expected: str, *, reason: str, follow: bool = True) -> bool:
        """Move the ref from the commit `expected` (`ABSENT`: none) to `new`; False if it is elsewhere.

        Unless `follow`, a symbolic ref is replaced, so that no other ref is moved. Raises: GitFailed for any other failure.
        """
        options = ["--create-reflog", *([] if follow else ["--no-deref"]), "-m", reason]
        return await self._change(["update-ref", *options, name, new, expected], name, expected)

    async def delete_ref(self, name: str, expected: str) -> bool:
        """Delete the ref, if it names `expected`; False if it is elsewhere. One that is gone is deleted."""
        return await self._change(["update-ref", "-d", name, expected], name, expected)

    async def _change(self, arguments: Sequence[str], name: str, expected: str) -> bool:
        try:
            await self.git(*arguments)
        except GitFailed:
            now = await self.git("rev-parse", "--verify", "--quiet", name, expected=(0, 1, 128))
            found = now.text if now.status == 0 else ABSENT
            if arguments[1] == "-d" and found == ABSENT:
                return True
            if found != expected:
                return False
            raise
        return True

    async def make_commit(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        *,
        author: tuple[str, str] | None = None,
        date: str | None = None,
    ) -> str:
        """A new commit. Its committer is the person whom git knows, else the town, or, with an `author`, that one."""
        words = [word for parent in parents for word in ("-p", parent)]
        made = await self.git("commit-tree", *words, "-F", "-", tree, stdin=message.encode("utf-8", "replace"),
                              variables=await self.identity(author, date))  # fmt: skip
        return made.text

    async def identity(self, author: tuple[str, str] | None = None, date: str | None = None) -> dict[str, str]:
        """The variables by which git knows who makes a commit: `author` if given, else the person, else the town."""
        if author is None:
            asked = await self.git("-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT", expected=(0, 1, 128))
            if asked.status == 0 and date is None:
                return {}
            author = (TOWN_NAME, TOWN_EMAIL)
        name, email = author
        moment = {} if date is None else {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        return {
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": email,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
            **moment,
        }


@contextmanager
def _as_git_failure(command: str) -> Generator[None]:
    """What the object store refuses is the same, whether git or the town writes there. Raises: GitFailed."""
    try:
        yield
    except OSError as error:
        raise GitFailed([command], None, f"{error.filename}: {error.strerror}") from error


async def find_repository(root: Path) -> Repository:
    """The repository that `root` is in. Raises: NotFound if in none; GitFailed if git cannot use it."""
    # Asked from inside, unlike everything else: only git knows how to find it, and the directory is a person's.
    inside, _, common = (await _ask(root, "--is-inside-work-tree", "--git-common-dir")).partition("\n")
    git_dir = (root / common).resolve()
    if inside != "true":
        return Repository(git_dir, None, Path())
    prefix = Path(await _ask(root, "--show-prefix"))
    place = root.resolve()
    return Repository(git_dir, place.parents[len(prefix.parts) - 1] if prefix.parts else place, prefix)


async def _ask(directory: Path, *questions: str) -> str:
    """What ``git rev-parse`` answers in `directory`."""
    command = ["git", "-c", "core.fsmonitor=false", "rev-parse", *questions]
    try:
        asked = await trio.run_process(
            command, cwd=directory, env=git_environment(), capture_stdout=True, capture_stderr=True, check=False
        )
    except OSError as error:
        raise GitFailed(["rev-parse"], None, "", f"cannot be run: {error.strerror}") from error
    if asked.returncode:
        said = asked.stderr.decode("utf-8", "replace")
        if "not a git repository" in said:
            raise NotFound(f"{directory} is in no git repository", hint="git init", code="no_repository")
        raise GitFailed(["rev-parse"], asked.returncode, said)
    return os.fsdecode(asked.stdout).removesuffix("\n")
