"""The branch of the ledger: read and continued with git's plumbing alone, so that no checkout, index or hook is touched.

A commit is made of the whole tree before it with lines added to its last file. Only then the branch is moved, from the commit
that was read: cut off anywhere, the branch has all lines of a commit or none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tinytown.errors import NotFound, Refused

from tinytown_git.git import GitFailed
from tinytown_git.ledger.lines import Ledger
from tinytown_git.repository import ABSENT, TOWN_EMAIL, TOWN_NAME, Repository

_README = """\
# Ledger of a Tinytown town

Written by `tinytown-git`: one JSON object a line, in the order of the files, and nothing is ever changed. `type` says what a line
is: `agent` and `task` (as of this moment; the last line of an id counts), `round`, `verdict`, `removed`.

`tt ledger history` shows it, `tt ledger restore` makes a town of it.
"""
_FILE = re.compile(r"[0-9]{6,9}\.jsonl")
#: A commit has the last file anew; so it is not large.
_FILE_BYTES = 256 << 10
_LARGEST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the tree, as git lists it."""

    mode: str
    kind: str
    object: str
    name: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Branch:
    """The branch `name` (as people write it) in a repository."""

    repository: Repository
    name: str

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.name}"

    async def tip(self) -> str | None:
        """The commit of the branch; None if there is no such branch."""
        return (await self.repository.refs(self.ref)).get(self.ref)

    async def source(self) -> tuple[str, str] | None:
        """The ref and the commit to read from: the branch, else that of a remote, as a fresh clone has it."""
        refs = await self.repository.refs(self.ref, f"refs/remotes/*/{self.name}")
        if self.ref in refs:
            return self.ref, refs[self.ref]
        return next(
            iter(sorted(refs.items(), key=lambda each: (each[0] != f"refs/remotes/origin/{self.name}", each[0]))), None
        )

    async def checked_out(self) -> str | None:
        """Where the branch is checked out."""
        places = (str(each.path) for each in await self.repository.checkouts() if each.branch == self.ref)
        return next(places, None)

    async def entries(self, commit: str) -> list[Entry]:
        """The tree of a commit."""
        listed = await self.repository.git("ls-tree", "-z", "-l", "--end-of-options", f"{commit}^{{tree}}")
        found: list[Entry] = []
        for item in listed.items:
            words, _, name = item.partition("\t")
            mode, kind, object_, size = words.split()
            found.append(Entry(mode, kind, object_, name, int(size) if size.isdigit() else 0))
        return found

    async def read(self, commit: str, *, whole: bool = False) -> Ledger:
        """What the ledger says at `commit`.

        Raises: Refused for a commit that is no ledger; UsageError with code ``bad_ledger`` for an invalid line.
        """
        files = lines_files(await self.entries(commit))
        if not files:
            raise Refused(
                f"{self.name} is at {commit[:12]}, which is no ledger: it has no file 000001.jsonl",
                hint="rename that branch, or set ledger_branch in [plugins.git]",
                code="not_a_ledger",
            )
        if sum(each.size_bytes for each in files) > _LARGEST_BYTES:
            raise Refused(f"the ledger on {self.name} is larger than {_LARGEST_BYTES >> 30} GiB")
        ledger = Ledger(whole=whole)
        for each in files:
            ledger.add_file(each.name, await self._content(each))
        return ledger

    async def _content(self, entry: Entry) -> bytes:
        return (await self.repository.git("cat-file", "blob", entry.object)).stdout

    async def append(self, parent: str | None, lines: bytes, subject: str, *, known: bool = True) -> str | None:
        """Add lines behind those of the commit `parent` and move the branch to it; the commit.

        None if the branch is not at `parent` any more; with `known` False it is not there yet, and `parent` is that of a remote.
        Raises: GitFailed.
        """
        async with self.repository.quarantine() as repository:
            entries = {} if parent is None else {each.name: each for each in await self.entries(parent)}
            if parent is None:
                entries["README.md"] = await _blob(repository, "README.md", _README.encode())
            files = lines_files(list(entries.values()))
            name, before = "000001.jsonl", b""
            if files and files[-1].size_bytes < _FILE_BYTES:
                name, before = files[-1].name, await self._content(files[-1])
            elif files:
                name = f"{int(files[-1].name.partition('.')[0]) + 1:06}.jsonl"
            entries[name] = await _blob(repository, name, before + lines)
            tree = await _tree(repository, list(entries.values()))
            commit = await repository.make_commit(
                tree, [parent] if parent else [], f"{subject}\n", author=(TOWN_NAME, TOWN_EMAIL)
            )
            await repository.keep_objects()
        expected = parent if parent is not None and known else ABSENT
        moved = await self.repository.set_ref(self.ref, commit, expected, reason="tinytown: ledger", follow=False)
        return commit if moved else None

    async def find(self, revision: str) -> tuple[str, str]:
        """The ref and commit to read: `revision`, or the newest. Raises: NotFound."""
        if revision:
            try:
                commit = await self.repository.commit(revision)
            except GitFailed:
                commit = None
            if commit is None:
                raise NotFound(f"there is no commit {revision!r}", hint=f"git log {self.name}")
            return revision, commit
        source = await self.source()
        if source is None:
            raise NotFound(
                f"there is no ledger in this repository: no branch {self.name}, here or of a remote",
                hint="set ledger = true in [plugins.git], or fetch the branch",
                code="no_ledger",
            )
        return source


def lines_files(entries: list[Entry]) -> list[Entry]:
    """The files that hold lines, in order."""
    files = [each for each in entries if each.kind == "blob" and each.mode == "100644" and _FILE.fullmatch(each.name)]
    return sorted(files, key=lambda each: int(each.name.partition(".")[0]))


async def _blob(repository: Repository, name: str, content: bytes) -> Entry:
    made = await repository.git("hash-object", "-w", "--stdin", stdin=content)
    return Entry("100644", "blob", made.text, name, len(content))


async def _tree(repository: Repository, entries: list[Entry]) -> str:
    text = "".join(f"{each.mode} {each.kind} {each.object}\t{each.name}\0" for each in entries)
    made = await repository.git("mktree", "-z", stdin=text.encode("utf-8", "surrogateescape"))
    return made.text
