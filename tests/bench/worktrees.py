"""What a task's worktree costs beside `git worktree add` by hand, and how many tasks a second the merge queue merges.

Repositories are made here: a small one, and one with large files in its history, whose objects no worktree may copy. The queue
is that of a town in this process, with commands as agents, and begins when all of its work is submitted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import tinytown
import trio
from tinytown.state import state_directory
from tinytown_git.base import choose_base
from tinytown_git.repository import Repository
from tinytown_git.work import QueueState, Records
from tinytown_git.worktrees import Worktrees
from tinytown_server.server import EmbeddedServer

from .conditions import Conditions
from .measure import Benchmark, Competitor, Figures, Wanted

FILES = 100
LARGE_BYTES = 64 << 20
DEADLINE_S = 300.0
BY_HAND, OURS = "git worktree add", "a task's worktree"
QUEUE = "merge queue"


@contextlib.contextmanager
def worktrees(conditions: Conditions) -> Iterator[Benchmark]:
    """Worktrees of a small repository and of a large one, by hand and by the plugin; then the queue."""
    count, tasks, large = (5, 6, 1) if conditions.quick else (20, 40, 16)
    size = f"{large * LARGE_BYTES / (1 << 30):.2g} GB"
    with tempfile.TemporaryDirectory(prefix="tt-bench-git-") as directory, _own_home(Path(directory)):
        small, big = Path(directory, "small"), Path(directory, "big")
        _make_repository(small)
        _make_repository(big, large)
        ours_large = f"{OURS}, {size} of history"
        yield Benchmark(
            name="git",
            title="Worktrees and the merge queue",
            figures=("ready_ms", "added_kb", "merges_per_s"),
            reference=BY_HAND,
            competitors=(
                Competitor(name=BY_HAND, measure=lambda: trio.run(_worktrees, small, count, _by_hand)),
                Competitor(name=OURS, measure=lambda: trio.run(_worktrees, small, count, _ours)),
                Competitor(
                    name=f"{BY_HAND}, {size} of history", measure=lambda: trio.run(_worktrees, big, count, _by_hand)
                ),
                Competitor(name=ours_large, measure=lambda: trio.run(_worktrees, big, count, _ours)),
                Competitor(name=QUEUE, measure=lambda: trio.run(_merges, tasks)),
            ),
            wanted=(
                Wanted(
                    text="a worktree, times git's own",
                    competitor=OURS,
                    figure="ready_ms",
                    beside=(BY_HAND,),
                    at_most=1.2,
                ),
                Wanted(
                    text="kB that a task adds beyond its files", competitor=ours_large, figure="added_kb", at_most=100
                ),
                Wanted(text="merges a second", competitor=QUEUE, figure="merges_per_s", at_least=5),
            ),
            conditions={
                "ready_ms": f"from nothing to a worktree of {FILES} small files, p50 of {count}; the queue's: of a whole task",
                "added_kb": "what a worktree adds to the disk, without the files that are checked out",
                "merges_per_s": f"{tasks} tasks, each of one file, without checks, merged into the branch that is checked out",
            },
        )


Maker = Callable[[Path, Path, int], Awaitable[None]]


async def _worktrees(root: Path, count: int, make: Maker) -> Figures:
    took_ms: list[float] = []
    place = root.with_name(f"{root.name}-worktrees")
    before = _bytes_below(root / ".git")
    checked_out = _bytes_below(root) - before
    with trio.fail_after(DEADLINE_S):
        for number in range(count):
            began = time.perf_counter()
            await make(root, place, number)
            took_ms.append((time.perf_counter() - began) * 1000)
    added = _bytes_below(root / ".git") - before + _bytes_below(place) - count * checked_out
    shutil.rmtree(place)
    _git(root, "worktree", "prune", "--expire=now")
    for path in (root / ".git" / "worktrees").glob("*"):  # locked ones are not pruned
        shutil.rmtree(path)
    _git(root, "for-each-ref", "--format=delete %(refname)", "refs/heads/tt", to=("update-ref", "--stdin"))
    return {"ready_ms": statistics.median(took_ms), "added_kb": added / count / 1024}


async def _by_hand(root: Path, place: Path, number: int) -> None:
    command = ["git", "worktree", "add", "-q", "-b", f"tt/hand/{number}", str(place / "hand" / str(number))]
    await trio.run_process(command, cwd=root)


async def _ours(root: Path, place: Path, number: int) -> None:
    made = Worktrees(Repository(root / ".git", root, Path()), place)  # as a kernel knows it from its start on
    base = await choose_base(made.repository, target="", prefix="tt", fetch=False)
    assert base is not None
    async with made.lock("ada", str(number)):
        await made.open("ada", str(number), base)


async def _merges(tasks: int) -> Figures:
    """A town whose queue is paused until all work is submitted."""
    with trio.fail_after(DEADLINE_S), tempfile.TemporaryDirectory(prefix="tt-bench-q-") as directory:
        root = Path(directory)
        (root / "tinytown.toml").write_text('name = "bench"\n[redis]\n[plugins.git]\nfetch = false\n')
        _make_repository(root)
        server = EmbeddedServer(state_directory(root))
        try:
            async with tinytown.open_town(root) as town:
                records = Records(town.operations, town.run)
                await records.change_queue(QueueState(), QueueState(paused="until all is submitted", by="bench"))
                agents = [await town.spawn(f"agent-{number}", cli="shell") for number in range(4)]
                given = [
                    await agents[number % 4].assign(f"echo x > file-{number} && git add -A && git commit -qm {number}")
                    for number in range(tasks)
                ]

                async def submitted() -> int:
                    works, _ = await records.all()
                    return sum(work.stage == "queued" for work in works)

                await town.wait_until(submitted, lambda number: number == tasks)
                _, state = await records.all()
                began = time.perf_counter()
                await records.change_queue(state, msgspec.structs.replace(state, paused="", by=""))
                for task in given:
                    await town.wait_for_task(task.id)
                took_s = time.perf_counter() - began
        finally:
            server.stop()
            shutil.rmtree(state_directory(root), ignore_errors=True)
    return {"merges_per_s": tasks / took_s, "ready_ms": took_s / tasks * 1000}


def _make_repository(root: Path, large: int = 0) -> None:
    """A repository of some small files, with that many large ones in its history."""
    root.mkdir(exist_ok=True)
    _git(root, "init", "-q", "-b", "main")
    for number in range(FILES):
        (root / f"file-of-the-project-{number}").write_text(f"{number}\n" * 100)
    _git(root, "config", "core.compression", "0")
    _git(root, "config", "gc.auto", "0")
    for _ in range(large):
        (root / "large").write_bytes(os.urandom(LARGE_BYTES))
        _git(root, "add", "-A")
        _git(root, "commit", "-qm", "a large file")
    (root / "large").unlink(missing_ok=True)
    _git(root, "add", "-A")
    _git(root, "commit", "-qm", "as it is")


def _git(root: Path, *words: str, to: tuple[str, ...] = ()) -> None:
    done = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True)
    if to:
        subprocess.run(["git", *to], cwd=root, check=True, input=done.stdout)


def _bytes_below(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())


@contextlib.contextmanager
def _own_home(directory: Path) -> Iterator[None]:
    """Settings of git that are those of nobody."""
    names = {"GIT_CONFIG_GLOBAL": str(directory / "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1"}
    (directory / "gitconfig").write_text("[user]\nname = bench\nemail = bench@tinytown.invalid\n")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                del os.environ[name]
            else:
                os.environ[name] = text
