"""The program around a box: makes it, stands between it and the world, and ends as the command in it has ended.

``outside.py PLAN COMMAND...`` starts bwrap with `inside` as its first process. Standard library only, and little of it:
every run waits for its imports, so PLAN is a literal of Python and no JSON. It stays outside
for what needs the world: it connects the box to the town's sockets and, through the proxy, to the hosts of the list.
If it is killed, bwrap ends, and with it the first process of the box, and with that one the kernel ends all the others.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NoReturn

#: Stands for a descriptor of an empty file among the arguments of bwrap.
EMPTY_FILE = "@empty"

_LINE_LIMIT_BYTES = 4096
_ERRORS_LIMIT_BYTES = 16384
_MORE_ATTEMPTS = 10

#: What the program exits with if there was no box.
NO_BOX = 125

#: A signal to the group reaches the command itself: these programs only have to survive it.
SIGNALS = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE
)  # fmt: skip


def main(plan: dict[str, Any], command: list[str]) -> NoReturn:
    from tinytown_sandbox import limits

    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _clean(plan)  # what a run has left that was killed
    groups = limits.make_groups(plan["processes"], plan["memory_bytes"])
    report, status, errors = _run(plan, command, groups)
    for _ in range(_MORE_ATTEMPTS):
        # bwrap fails over a place that goes while it works. A command that has begun is never run again.
        if "started" in report or os.waitstatus_to_exitcode(status) <= 0:
            break
        report, status, errors = _run(plan, command, groups)
    _clean(plan)
    with suppress(OSError):
        os.write(2, errors)
    limits.remove_groups(groups)
    if report.get("signal"):
        _die_of(report["signal"])
    code = report.get("exited")
    if code is None:
        code = NO_BOX if os.waitstatus_to_exitcode(status) > 0 else None
    if code is None:  # bwrap or the first process of the box was killed
        _die_of(signal.SIGKILL)
    os._exit(code)


def _clean(plan: dict[str, Any]) -> None:
    """Remove what an agent may have put into git's directories to have the git of others do what it wants."""
    _remove(plan["planted"])
    for directory, before in plan["git"].items():
        _remove([path for path in odd_entries(directory) if path not in before])


def odd_entries(directory: str) -> Iterator[str]:
    """The links and pipes in a directory of git's, by their paths. Among the objects themselves none does harm."""
    pending = [directory]
    while pending:
        path = pending.pop()
        with suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode) or stat.S_ISFIFO(mode):
                    yield entry.path
                elif stat.S_ISDIR(mode) and not (len(entry.name) == 2 and path.endswith("/objects")):
                    pending.append(entry.path)


def _remove(paths: list[str]) -> None:
    for path in paths:
        with suppress(OSError):
            os.unlink(path)


def _run(plan: dict[str, Any], command: list[str], groups: list[str]) -> tuple[dict[str, int], int, bytes]:
    """Run the command in a box: what the box has said, the wait status of bwrap, and what bwrap has printed."""
    ours, theirs = socket.socketpair()
    errors = os.memfd_create("bwrap")
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            _become_bwrap(plan, command, theirs, errors, groups)
        except BaseException as error:
            os.write(2, f"tinytown-sandbox: cannot start {plan['bwrap'][0]}: {error}\n".encode())
        os._exit(NO_BOX)
    theirs.close()
    with ours:
        report = _serve(ours, plan)
    _, status = os.waitpid(pid, 0)
    printed = os.pread(errors, _ERRORS_LIMIT_BYTES, 0)
    os.close(errors)
    return report, status, printed


def _become_bwrap(
    plan: dict[str, Any], command: list[str], control: socket.socket, errors: int, groups: list[str]
) -> NoReturn:
    from tinytown_sandbox import confine, inside, limits

    limits.join(groups)
    confine.leave_session_keyring()
    confine.scope_to_itself()
    # 0 would hand the memory of what crashes to a program outside, where `core_pattern` names one. Source: core(5), coredump.c.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    program, *arguments = [_empty_file() if word == EMPTY_FILE else word for word in _still_there(plan["bwrap"])]
    if (code := confine.filter_program()) is not None:
        arguments += ["--seccomp", str(_pipe_with(code))]
    os.set_inheritable(control.fileno(), True)
    stderr = os.dup(2)
    os.set_inheritable(stderr, True)
    os.dup2(errors, 2)
    task = {
        "control": control.fileno(),
        "stderr": stderr,
        "sockets": [inner for _, inner in plan["sockets"]],
        "proxy": plan["hosts"] is not None,
        # Where a group of the system counts, this would only be in its way.
        "processes": 0 if any("pids" in group or "unified" in group for group in groups) else plan["processes"],
        "data_bytes": 0 if groups else plan["memory_bytes"],
        "file_bytes": plan["file_bytes"],
    }
    first = [sys.executable, "-I", "-S", inside.__file__, repr(task), *command]
    os.execve(program, [program, *arguments, "--", *first], inside.own_environment())


def _still_there(arguments: list[str | list[str]]) -> Iterator[str]:
    """The arguments without the places that are gone by now, such as the socket of a service that has ended."""
    for word in arguments:
        if isinstance(word, str):
            yield word
        elif os.path.lexists(word[-1]):
            yield from word


def _empty_file() -> str:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    return str(descriptor)


def _pipe_with(content: bytes) -> int:
    """A descriptor that gives `content`, which a pipe has room for."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    os.set_inheritable(reading, True)
    return reading


def _serve(control: socket.socket, plan: dict[str, Any]) -> dict[str, int]:
    """Answer on the sockets that the box hands out, until it has ended: how its command ended, empty if it did not say."""
    received, served = b"", False
    report: dict[str, int] = {}
    while True:
        try:
            chunk, descriptors, _, _ = socket.recv_fds(control, 4096, 64)
        except OSError:
            return report
        if descriptors and not served:
            from tinytown_sandbox import relay

            served = True
            listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            for listener, (path, _) in zip(listeners, plan["sockets"], strict=False):
                relay.serve_unix(listener, path)
            if plan["hosts"] is not None:
                relay.serve_hosts(listeners[-1], plan["hosts"])
        else:
            for descriptor in descriptors:  # from the box, which has nothing more to hand out
                os.close(descriptor)
        if not chunk:
            return report
        *lines, received = (received + chunk).split(b"\n")
        for line in lines:
            # What is in the box may write anything.
            name, _, number = line.decode("ascii", "replace").partition(" ")
            if number.isdecimal() and int(number) < 256:
                report[name] = int(number)
        received = received[-_LINE_LIMIT_BYTES:]


def _die_of(number: int) -> NoReturn:
    """End by the signal that the command has ended by."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    with suppress(OSError, ValueError):
        os.kill(os.getpid(), number)
    os._exit(128 + number)


if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from tinytown_sandbox import inside

    main(inside.literal(sys.argv[1]), sys.argv[2:])
