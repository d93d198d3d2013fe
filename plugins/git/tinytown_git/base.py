"""What new work begins from: the branch that the person is on, fetched first, or what is merged already and waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tinytown.model.text import counted

from tinytown_git.git import GitFailed
from tinytown_git.repository import Repository

_FETCH_S = 30.0
_ABOUT = "%(refname)%00%(objectname)%00%(upstream)%00%(upstream:remotename)%00%(upstream:remoteref)"


@dataclass(frozen=True, slots=True)
class Base:
    """A commit to begin from, and the branch (full name) that the work is to be merged into; None for a detached HEAD.

    `behind` is how many commits the branch lacks of its upstream, `problem` why that could not be fetched.
    """

    commit: str
    target: str | None
    behind: int = 0
    upstream: str = ""
    problem: str = ""

    @property
    def stale(self) -> str:
        """In what way it is old, in words with what to do; empty if it is not, as far as known."""
        branch, upstream = (name.partition("/")[2].partition("/")[2] for name in (self.target or "", self.upstream))
        said: list[str] = []
        if self.behind:
            said.append(f"{branch} lacks {counted(self.behind, 'commit')} of {upstream}: git pull")
        if self.problem:
            said.append(f"{upstream or 'its upstream'} could not be fetched: {self.problem}")
        return "; ".join(said)


def collecting_branch(prefix: str) -> str:
    """The branch (full name) that collects merged work while its target cannot be moved."""
    return f"refs/heads/{prefix}/merged"


async def choose_base(repository: Repository, *, target: str, prefix: str, fetch: bool) -> Base | None:
    """The base of new work; None in a repository without commits.

    `target` is the branch of the settings, empty for the one that the person is on. With `fetch` its upstream is fetched
    first, for at most 30 s. Raises: GitFailed for a `target` that is no branch.
    """
    base, about = await _local(repository, target, prefix)
    if base is None or base.target is None:
        return base
    upstream, problem = await _upstream(repository, about, fetch=fetch)
    behind = await repository.count(f"{base.commit}..{upstream}") if upstream else 0
    return replace(base, behind=behind, upstream=upstream, problem=problem)


async def local_base(repository: Repository, *, target: str, prefix: str) -> Base | None:
    """As `choose_base`, without a look at the upstream."""
    base, _ = await _local(repository, target, prefix)
    return base


async def _local(repository: Repository, target: str, prefix: str) -> tuple[Base | None, Sequence[str]]:
    """The base, and what the configuration says of its branch: the upstream, its remote, its name there."""
    branch = f"refs/heads/{target.removeprefix('refs/heads/')}" if target else await repository.head_branch()
    collecting = collecting_branch(prefix)
    names = [collecting] if branch is None else [branch, collecting]
    listed = await repository.git("for-each-ref", f"--format={_ABOUT}", "--", *names)
    refs = {name: rest for name, *rest in (line.split("\0") for line in listed.text.splitlines())}
    commit = await repository.head_commit() if branch is None else refs.get(branch, [None])[0]
    if commit is None:
        if target and await repository.head_commit() is not None:
            raise GitFailed(
                ["rev-parse"], None, "", f"plugins.git.target names the branch {target!r}, which does not exist"
            )
        return None, ()
    collected = refs.get(collecting, [None])[0]
    if collected and not await repository.is_ancestor(collected, commit):
        commit = collected
    return Base(commit, branch), refs[branch][1:] if branch else ()


async def _upstream(repository: Repository, about: Sequence[str], *, fetch: bool) -> tuple[str, str]:
    """The upstream (full name) of a branch, empty without one; and why it could not be fetched."""
    upstream, remote, name, *_ = [*about, "", "", ""]
    problem = ""
    if upstream and fetch and remote not in ("", "."):
        # The last one names the program that a remote of the configuration may name.
        words = (
            "--quiet",
            "--upload-pack=git-upload-pack",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
        )
        try:
            await repository.git_with_remotes(
                "fetch", *words, "--end-of-options", remote, f"+{name}:{upstream}", timeout_s=_FETCH_S
            )
        except GitFailed as error:
            problem = error.message
    return (upstream if upstream and await repository.commit(upstream) else ""), problem
