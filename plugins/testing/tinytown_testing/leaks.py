"""What an object leaves behind: tasks, threads, descriptors, processes and temporary files that were not there before.

Knows how to look, not what is allowed. Processes are seen where the system has ``/proc``; elsewhere none is found.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import trio
from tinytown.model.text import shown
from tinytown.process import descendants_of, signal_each, start_time

#: From a key that means one thing for as long as it exists to words for it.
HeldResources = Mapping[Hashable, str]

_SETTLE_S = 0.5  # what was asked to end may take a moment to be gone
_POLL_S = 0.01


def held_resources(root: Path, temporary: Path) -> HeldResources:
    """Everything that is held at this moment by this process, the processes below it and those of the town at `root`."""
    held: dict[Hashable, str] = {}
    held.update((task, f"the task {task.name}") for task in _tasks(trio.lowlevel.current_root_task()))
    held.update((thread, f"the thread {thread.name}") for thread in threading.enumerate() if not thread.daemon)
    held.update(_descriptors())
    held.update(_processes(root))
    held.update((("file", path), f"the file {path.relative_to(temporary.parent)}") for path in temporary.rglob("*"))
    return held


async def leaked_since(before: HeldResources, root: Path, temporary: Path) -> list[str]:
    """In words, what is held that was not held `before`, after a moment for what is just ending. Processes are ended."""
    deadline = trio.current_time() + _SETTLE_S
    while True:
        await trio.lowlevel.checkpoint()
        now = held_resources(root, temporary)
        left = {key: text for key, text in now.items() if key not in before}
        if not left or trio.current_time() > deadline:
            break
        gc.collect()  # what nobody refers to any more is not held
        await trio.sleep(_POLL_S)
    _end(left)
    return list(left.values())


async def leftover_processes(variable: str, value: str) -> list[str]:
    """In words, the processes that have this in their environment, after a moment for those just ending; ended then."""
    deadline = trio.current_time() + _SETTLE_S
    while (left := dict(_described(set(_marked(variable, value))))) and trio.current_time() < deadline:  # noqa: ASYNC110
        await trio.sleep(_POLL_S)
    _end(left)
    return list(left.values())


def has_process(variable: str, value: str) -> bool:
    """Whether a process with this in its environment is running."""
    return next(_marked(variable, value), None) is not None


def snapshot_files(base: Path) -> dict[Path, tuple[int, int, int]]:
    """Every file and directory below `base`, with what changes when somebody writes to it; directories by mode alone."""
    found: dict[Path, tuple[int, int, int]] = {}
    for path in base.rglob("*"):
        with suppress(OSError):
            about = path.lstat()
            found[path] = (about.st_mode, 0, 0) if path.is_dir() else (about.st_mode, about.st_size, about.st_mtime_ns)
    return found


def _tasks(task: trio.lowlevel.Task | None) -> Iterator[trio.lowlevel.Task]:
    if task is not None:
        yield task
        for nursery in task.child_nurseries:
            for child in nursery.child_tasks:
                yield from _tasks(child)


def _descriptors() -> Iterator[tuple[Hashable, str]]:
    for name in os.listdir("/dev/fd"):
        with suppress(OSError, ValueError):  # the listing has its own descriptor, closed by now
            about = os.fstat(int(name))
            target = ""
            with suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{name}")
            yield ("descriptor", int(name), about.st_dev, about.st_ino), f"the descriptor {name} {target}".rstrip()


def _processes(root: Path) -> Iterator[tuple[Hashable, str]]:
    yield from _described(descendants_of(os.getpid()) | set(_marked("TINYTOWN_TOWN", str(root))))


def _described(pids: set[int]) -> Iterator[tuple[Hashable, str]]:
    for pid in pids:
        if (started := start_time(pid)) is not None:
            words = ""
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            yield ("process", pid, started), f"the process {pid} ({shown(words, 80)})"


def _marked(variable: str, value: str) -> Iterator[int]:
    """Living processes, wherever in the system, that inherited this variable. Source: proc_pid_environ(5)."""
    wanted = f"{variable}={value}\0".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            environment = b"\0" + (entry / "environ").read_bytes() + b"\0"
            if b"\0" + wanted in environment and start_time(int(entry.name)) is not None:
                yield int(entry.name)


def _end(left: Mapping[Hashable, str]) -> None:
    """Whatever is found once is not to be found again under another promise."""
    for key in left:
        match key:
            case ("process", int(pid), int(started)) if start_time(pid) == started:
                signal_each([pid], signal.SIGKILL)
            case ("file", Path() as path):
                with suppress(OSError):
                    path.unlink()
            case _:
                pass
