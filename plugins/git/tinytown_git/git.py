"""Runs git: the one place where it is started, and how it is kept safe, bounded and quiet.

What the environment or a configuration says is not obeyed where it would lead git elsewhere or run something: variables such
as GIT_DIR are dropped, hooks, file system monitors, prompts and editors are off. Names of files travel with NUL between them.
A lock that a killed git left behind is removed, one that is in use is waited for. Knows nothing of tasks.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio
from tinytown.errors import TinytownError
from tinytown.model.text import shown

T = TypeVar("T")

#: Variables of git that say how to reach a server; all others are dropped.
_KEPT = re.compile(
    r"GIT_(SSH|SSH_COMMAND|SSH_VARIANT|PROXY_COMMAND|SSL_\w+|HTTP_\w+|ALLOW_PROTOCOL|EXEC_PATH|TRACE\w*)"
)

#: In front of every command: nothing that a repository configures is executed, and nothing waits for a person.
_OPTIONS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.alternateRefsCommand=",
    "core.askPass=",
    "core.editor=true",
    "core.gitProxy=",
    "core.pager=cat",
    "core.sshCommand=ssh",
    "core.quotePath=false",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "credential.interactive=false",
    "diff.external=",
    "diff.ignoreSubmodules=dirty",
    "gc.auto=0",
    "gpg.program=false",
    "gpg.ssh.program=false",
    "gpg.x509.program=false",
    "log.showSignature=false",
    "maintenance.auto=false",
    "protocol.ext.allow=never",
    "rebase.autoStash=false",
    "sequence.editor=true",
    "submodule.recurse=false",
)

#: Set for every command. Replaced objects would show a commit as another one than it is.
_VARIABLES = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_ADVICE": "0",
    "SSH_ASKPASS_REQUIRE": "never",
    "LC_ALL": "C",
}

#: A lock, or git's directory for a worktree that another git is making, or was making when it was killed.
_IN_THE_WAY = re.compile(
    r"Unable to create '(?P<lock>[^']+\.lock)': File exists|failed to read (?P<half>.+/worktrees/[^/\n]+)/commondir"
)
_TIMEOUT_S = 120.0
_LOCK_WAIT_S = 20.0
_END_S = 3.0
_ERROR_CHARACTERS = 1_000
_SERVING = re.compile(rb"\0(fsmonitor--daemon|cat-file|credential-cache--daemon)\0")
#: A lock is left behind if it is older and no git holds it; where processes cannot be seen, if it is much older.
_STALE_S, _STALE_UNSEEN_S = 2.0, 600.0

#: What people can do about errors that git reports, by a part of its message.
_HINTS = {
    "No space left on device": "make room on the disk",
    "Read-only file system": "make the repository writable",
    "insufficient permission": "make the repository's files writable for this user",
    "dubious ownership": "the repository belongs to another user: run the command that git names",
    "not a git repository": "git init",
}


class GitFailed(TinytownError):
    """A git command that failed, or did not end in time. `status` is its exit status (None for one that was ended)."""

    code = "git_failed"

    def __init__(self, arguments: Sequence[str], status: int | None, stderr: str, why: str = "") -> None:
        self.status = status
        self.stderr = stderr
        said = why or shown(stderr.strip(), _ERROR_CHARACTERS) or f"exit status {status}"
        hint = next((hint for text, hint in _HINTS.items() if text in stderr), "")
        super().__init__(f"git {_command(arguments)}: {said}", hint=hint, status=status)


def links_written_through(git_dir: Path) -> Iterator[str]:
    """The links in a directory of git's through which git would write: in place of its own files, and of reflogs."""
    with suppress(OSError), os.scandir(git_dir) as entries:
        yield from (entry.path for entry in entries if entry.is_symlink() and not entry.is_dir())
    for directory, names, files in os.walk(git_dir / "logs"):
        yield from (path for name in (*names, *files) if os.path.islink(path := os.path.join(directory, name)))


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended whose status was expected: `status` and what it wrote."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """The output without the line's end."""
        return os.fsdecode(self.stdout).rstrip("\n")

    @property
    def items(self) -> list[str]:
        """The parts of an output that has NUL behind each."""
        return [os.fsdecode(part) for part in self.stdout.split(b"\0") if part]


@dataclass(frozen=True, slots=True)
class Git:
    """Git in one place: a repository by its `git_dir`, with a `work_tree` and an `index` of one's own if they are named, and
    with a directory that new `objects` go to.

    Naming all of them, git reads neither the ``.git`` nor the configuration of a worktree, which an agent may have written.
    """

    git_dir: Path
    work_tree: Path | None = None
    index: Path | None = None
    objects: Path | None = None

    async def __call__(
        self,
        *arguments: str,
        stdin: bytes = b"",
        expected: Sequence[int] = (0,),
        timeout_s: float = _TIMEOUT_S,
        variables: Mapping[str, str] | None = None,
    ) -> Result:
        """Run one command. Cancelled: git is ended (SIGTERM, on which it removes its locks).

        Raises: GitFailed for a status that is not `expected`, after `timeout_s` seconds, without git, and for a link in place
        of a file that git writes, which an agent at work in the repository may have made.
        """
        if link := next(links_written_through(self.git_dir), None):
            why = f"{link} is a link, through which git would write to {os.path.realpath(link)}: remove it"
            raise GitFailed(arguments, None, "", why)
        command = ["git", f"--git-dir={self.git_dir}"]
        command += [] if self.work_tree is None else [f"--work-tree={self.work_tree}"]
        for option in _OPTIONS:
            command += ["-c", option]
        environment = git_environment() | dict(variables or {})
        if self.index is not None:
            environment["GIT_INDEX_FILE"] = str(self.index)
        if self.objects is not None:
            environment["GIT_OBJECT_DIRECTORY"] = str(self.objects)
            environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = _quoted(self.git_dir / "objects")
        due = trio.current_time() + _LOCK_WAIT_S
        wait_s = 0.02
        while True:
            result = await self._run([*command, *arguments], stdin, environment, timeout_s)
            if result.status in expected:
                return result
            if trio.current_time() > due or not (found := _IN_THE_WAY.search(result.stderr)):
                raise GitFailed(arguments, result.status, result.stderr)
            remove = remove_stale_lock if found["lock"] else remove_half_made
            if not await trio.to_thread.run_sync(remove, Path(found["lock"] or found["half"]), self.git_dir):
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, 0.5)

    async def _run(
        self, command: Sequence[str], stdin: bytes, environment: Mapping[str, str], timeout_s: float
    ) -> Result:
        try:
            with trio.fail_after(timeout_s):
                ended = await trio.run_process(
                    command,
                    stdin=stdin,
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                    cwd=self.work_tree or self.git_dir,
                    env=environment,
                    start_new_session=True,
                    deliver_cancel=_end_group,
                )
        except trio.TooSlowError as error:
            raise GitFailed(command[1:], None, "", f"did not end within {timeout_s:g} s") from error
        except OSError as error:
            raise GitFailed(command[1:], None, "", f"cannot be run: {error.strerror}") from error
        return Result(ended.returncode, ended.stdout, ended.stderr.decode("utf-8", "replace"))


async def _end_group(process: trio.Process) -> None:
    """End git and what it has started: politely first, so that it removes its locks."""
    for number, wait_s in ((signal.SIGTERM, _END_S), (signal.SIGKILL, 0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with trio.move_on_after(wait_s):
            await process.wait()


def _quoted(directory: Path) -> str:
    """A directory for a list of them, where git takes a colon for the end of one unless it is quoted."""
    text = str(directory)
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{quoted}"' if ":" in text or text[:1] == '"' else text


async def persistently(attempt: Callable[[], Awaitable[T]], *, for_s: float = 30.0) -> T:
    """What `attempt` returns, tried again after a pause while git fails, for so many seconds: a lock in use, a
    repository that is being packed, a git that was killed. Raises: GitFailed, the last one."""
    due, pause_s = trio.current_time() + for_s, 0.1
    while True:
        try:
            return await attempt()
        except GitFailed:
            if trio.current_time() + pause_s > due:
                raise
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)


def git_environment() -> dict[str, str]:
    """The environment for git: this process's, without what would lead git elsewhere or make it ask."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_") or _KEPT.fullmatch(name)}
    kept.pop("SSH_ASKPASS", None)
    return kept | {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=10"} | _with_ssh(kept) | _VARIABLES


def _with_ssh(kept: Mapping[str, str]) -> dict[str, str]:
    """What a person says of SSH comes first."""
    return {name: kept[name] for name in ("GIT_SSH_COMMAND",) if name in kept}


def remove_stale_lock(lock: Path, git_dir: Path, *, own: bool = False) -> bool:
    """Remove a stale lock file of git; whether it is gone. Only one below the directory `git_dir`.

    A git that holds a lock runs since before the lock was written. Where no such git runs, a lock that has been there for some
    seconds was left by one that was killed. Where processes cannot be seen, it must have been there for ten minutes; so must
    the lock of an index, which a ``git commit`` in a container may hold while its person writes, unless it is the town's `own`.
    """
    try:
        if lock.suffix != ".lock" or not lock.resolve().is_relative_to(git_dir.resolve()):
            return False
        before = lock.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    age_s = time.time() - before.st_mtime
    patient = lock.name == "index.lock" and not own
    if age_s < (_STALE_UNSEEN_S if patient else _STALE_S):
        return False
    if age_s < _STALE_UNSEEN_S and _git_runs_since(before.st_mtime) is not False:
        return False
    # Renamed first: a lock that another git takes at this moment is not the one that was looked at.
    aside = lock.with_name(f"{lock.name}.{os.urandom(4).hex()}")
    try:
        lock.rename(aside)
    except OSError:
        return not lock.exists()
    taken = aside.lstat()
    if (taken.st_ino, taken.st_mtime_ns) != (before.st_ino, before.st_mtime_ns):
        with suppress(OSError):
            os.link(aside, lock)  # its owner has it back
    with suppress(OSError):
        aside.unlink()
    return not lock.exists()


def remove_half_made(admin: Path, git_dir: Path) -> bool:
    """Remove git's directory for a worktree that a killed git has not finished, which no git can read; whether it is gone."""
    if admin.parent.resolve() != (git_dir / "worktrees").resolve():
        return False
    with suppress(OSError):
        made = admin.lstat().st_mtime
        age_s = time.time() - made
        if age_s > _STALE_UNSEEN_S or (age_s > _STALE_S and _git_runs_since(made) is False):
            shutil.rmtree(admin)
    return not admin.exists()


def _git_runs_since(moment: float) -> bool | None:
    """Whether a git of this machine has run since `moment` (seconds since 1970); None where that cannot be seen.

    Those that only serve others, for as long as an editor runs, hold no locks. Source: proc_pid_stat(5), fields 2 and 22.
    """
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        booted = next(float(line.split()[1]) for line in lines if line.startswith("btime "))
    except (OSError, StopIteration, ValueError):
        return None
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            name, _, rest = (entry / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
            state, started = rest.split()[0], booted + int(rest.split()[19]) / os.sysconf("SC_CLK_TCK")
            if not name.startswith("git") or state in "ZX" or started > moment + 1:  # btime is in whole seconds
                continue
            if not _SERVING.search((entry / "cmdline").read_bytes()):
                return True
    return False


def has_commit(root: Path) -> bool:
    """Whether what is checked out at `root` is a commit; not so in a repository that was just made."""
    asked = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    with suppress(OSError):
        return subprocess.run(asked, cwd=root, env=git_environment(), capture_output=True, check=False).returncode == 0
    return False


def git_version() -> tuple[int, ...] | None:
    """The version of the git on the PATH; None without one. Blocks for some milliseconds."""
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10).stdout
        if found := re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", said):
            return tuple(int(part) for part in found.groups(default="0"))
    return None


def _command(arguments: Sequence[str]) -> str:
    """The git command among `arguments`, for messages."""
    return next((word for word in arguments if word[:1] != "-" and "=" not in word), "")
