"""The process that runs a kernel's commands: it starts each in a tree of its own and leaves nothing of it behind.

Started by `supervisor` by its file path: standard library only, and single-threaded, so that it may fork at any time.
One *reaper* per kernel forks one *run supervisor* per command. Both are child subreapers, so whatever a command starts,
daemons in sessions of their own included, stays below its run supervisor. Cleaning up needs no order: the end of a
socket is the order. It knows nothing of agents, rounds or output; the command writes straight into the kernel's pipes.

If one of them dies, its tree is ended by another:

- the command: its run supervisor ends what it left behind;
- the kernel: every run supervisor reads the end of its control socket;
- the kernel, though it stands still: the reaper knows until when the kernel's lease lasts, and ends the lifeline;
- the reaper: every run supervisor reads the end of the lifeline, a pipe that the reaper alone holds open;
- a run supervisor: its children fall to the reaper, which kills them;
- all of them at once: `orphans.sweep_orphans`, run by the next kernel.

Without subreaper and `/proc` (macOS), only the command's process group can be reached.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any

#: What the kernel may write to a run supervisor after the request. The end of the socket means `END` too.
END, PAUSE, CONTINUE = b"e", b"p", b"c"
RUN, LEASE = b"r", b"l"  # and to the reaper: a run, with descriptors; until when (`boot_time`) its lease lasts

SETTLE_S = 0.2  # what a command leaves behind may be about to end by itself, like the rest of a pipeline
KILL_BOUND_S = 5.0  # after it, what SIGKILL does not end (another user's, or stuck in the system) is given up
KILL_AGAIN_S = 0.02
FREEZE_PASSES = 100

ROUND_ID_VARIABLES = ("TINYTOWN_ROUND_ID", "TINYTOWN_RUN_ID")  # the second is the name of old, for one release

HAS_CHILD_LISTS = os.path.exists("/proc/thread-self/children")

_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 15, 36  # Source: linux/prctl.h


def boot_time() -> float:
    """Seconds since boot, those included that the machine slept (Linux)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def round_id_in(env: Mapping[str, str]) -> str | None:
    """The id of the round that a process with this environment belongs to."""
    return next((env[name] for name in ROUND_ID_VARIABLES if env.get(name)), None)


def become_subreaper(name: str) -> None:
    """Make this process the one that orphans below it fall to, and let `ps` show it as `name`; nothing off Linux."""
    if sys.platform == "linux":
        with suppress(ImportError):  # an interpreter built without it keeps process groups only
            import ctypes

            prctl = ctypes.CDLL(None).prctl
            prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def children_of(pid: int) -> set[int]:
    """The children of all threads of `pid`, zombies included; empty without `/proc`.

    Source: proc_pid_task(5), `children`: a child that ends during the reading may hide another, so ask again.
    """
    pids: set[int] = set()
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as children:
                pids.update(map(int, children.read().split()))
    return pids


def descendants_of(pid: int, spare: Collection[int] = ()) -> set[int]:
    """Everything below `pid` but `spare` and what is below that."""
    pids: set[int] = set()
    reached = [pid]
    while reached:
        new = children_of(reached.pop()) - pids
        new.difference_update(spare)
        pids |= new
        reached.extend(new)
    return pids


def start_time(pid: int) -> int | None:
    """When a living process started, in clock ticks since boot; None for a dead one, reaped or not, and off Linux.

    With the pid it names one process for as long as the machine is up. Source: proc_pid_stat(5), fields 3 and 22.
    """
    fields = stat_of(pid)
    return None if not fields or fields[0] in (b"Z", b"X") else int(fields[19])


def stat_of(pid: int) -> list[bytes]:
    """What `/proc` says of a process, from its state (field 3 of proc_pid_stat(5)) on; empty when it does not exist."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stat:
        return stat.read().rpartition(b")")[2].split()  # the name before it may contain anything
    return []


def signal_each(pids: Collection[int], number: int) -> None:
    """Send a signal to each process that still exists and may be signalled."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def freeze_below(pid: int, spare: Collection[int] = ()) -> set[int]:
    """Stop everything below `pid` and return it. Repeated until nothing new is found: running processes can still fork."""
    frozen: set[int] = set()
    for _ in range(FREEZE_PASSES):
        new = descendants_of(pid, spare) - frozen
        if not new:
            break
        signal_each(new, signal.SIGSTOP)
        frozen |= new
    return frozen


def _do_nothing(number: int, frame: FrameType | None) -> None:
    pass


class Children:
    """The children of this process: a pipe that is readable when one changes state, and which have ended."""

    def __init__(self) -> None:
        self.notifications, self._notifying = os.pipe()
        os.set_blocking(self.notifications, False)
        os.set_blocking(self._notifying, False)
        signal.signal(signal.SIGCHLD, _do_nothing)  # only a signal with a handler writes to the pipe
        signal.set_wakeup_fd(self._notifying, warn_on_full_buffer=False)
        self.none_left = False

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self.notifications)
        os.close(self._notifying)

    def ended(self) -> Iterator[tuple[int, int]]:
        """Reap all that have ended, as (pid, wait status), and update `none_left`."""
        with suppress(BlockingIOError):
            while os.read(self.notifications, 4096):
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.none_left = True
                return
            self.none_left = False
            if pid == 0:
                return
            yield pid, status


def _poll(fds: Collection[int], timeout_s: float | None) -> dict[int, int]:
    """Which of `fds` have something to read or have ended, after at most `timeout_s`, with their events."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    timeout_ms = None if timeout_s is None else int(max(0.0, timeout_s) * 1000) + 1
    return dict(poll.poll(timeout_ms))


def _receive_request(control: socket.socket) -> dict[str, Any] | None:
    """A length and that many bytes of JSON; None when the kernel ended or cancelled before all of it arrived."""
    wanted, received = 4, bytearray()
    while len(received) < wanted:
        chunk = b""
        with suppress(ConnectionError):
            chunk = control.recv(wanted - len(received))
        if not chunk:
            return None
        received += chunk
        if len(received) == 4:
            wanted += struct.unpack("!I", received)[0]
    request: dict[str, Any] = json.loads(received[4:])
    return request


def _spawn(command: list[str], env: dict[str, str], stdio: tuple[int, int, int]) -> int:
    """The pid of `command`, leader of a session and looked up in the PATH of `env`.

    `posix_spawn` shares the memory until the exec, which saves the milliseconds that a fork of an interpreter costs.
    Raises: OSError whose `filename` is set if there is such a file.
    """
    name = command[0]
    places = [""] if "/" in name else [place or "." for place in env.get("PATH", os.defpath).split(":")]
    reason = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in [os.path.join(place, name) for place in places]:
        if os.path.exists(path):
            try:
                return os.posix_spawn(
                    path,
                    command,
                    env,
                    file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio)],
                    setsid=True,
                    setsigmask=(),
                    setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
                )
            # As execvp: try the next directory.
            except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
                reason = error
    raise reason


def _start(request: dict[str, Any], stdio: tuple[int, int, int]) -> tuple[int, dict[str, Any] | None]:
    """Start the command; its pid, or 0 and the content of the `failed` report."""
    stage = "cwd"
    try:
        os.chdir(request["cwd"])  # of this process: it is the run's own
        stage = "execute"
        pid = _spawn(request["command"], request["env"], stdio)
    except OSError as error:
        return 0, _failure(stage, error)
    except ValueError as error:  # an empty word, or a variable whose name contains `=`
        return 0, _failure(stage, OSError(errno.EINVAL, str(error)))
    finally:
        os.chdir("/")
        for fd in stdio:
            os.close(fd)
    return pid, None


def _failure(stage: str, error: OSError) -> dict[str, Any]:
    return {"stage": stage, "errno": error.errno, "path": error.filename or "", "text": error.strerror or str(error)}


class RunSupervisor:
    """Starts one command, reports how it went, and does not end before everything below it has.

    Reports are lines of JSON: `{"starting": true}` before anything can have an effect; then `{"failed": {...}}`,
    or `{"started": pid}`, `{"exited": status, "signal": n}` (one of them null) and
    `{"ended": true, "lost": "reaper" if that had died and the command was ended for it, "lease" if that had passed, else "",
    "survivors": [pids that could not be killed]}`.
    """

    def __init__(self, control: socket.socket, stdio: tuple[int, int, int], lifeline: int, run_dir: str) -> None:
        self._control, self._stdio, self._lifeline = control, stdio, lifeline
        self._record = os.path.join(run_dir, f"{os.getpid()}.json")
        self._children = Children()
        self._watched = {control.fileno(), lifeline, self._children.notifications}
        self._main_pid = 0
        self._main_alive = self._ending = False
        self._lost = ""

    def run(self) -> None:
        """Read the request, run the command, end its tree."""
        request = _receive_request(self._control)
        if request is None:
            return
        become_subreaper("tt-run")
        self._write_record(request["env"])
        try:
            self._report({"starting": True})
            self._main_pid, failure = _start(request, self._stdio)
            if failure is not None:
                self._report({"failed": failure})
                return
            self._main_alive = True
            self._report({"started": self._main_pid})
            while self._main_alive and not self._ending:
                self._wait(None)
            self._end(request["first_signal"], 0.0 if self._lost == "lease" else request["grace_s"])
        finally:
            with suppress(OSError):
                os.unlink(self._record)

    def _end(self, first_signal: int, grace_s: float) -> None:
        """The command's group is signalled first, then what is left of the tree; after the grace all is killed."""
        if self._main_alive:
            deadline = time.monotonic() + grace_s
            signal_each([-self._main_pid], first_signal)
            signal_each(self._tree(), signal.SIGCONT)
            while self._main_alive and self._wait_until(deadline):
                pass
        else:
            settled = time.monotonic() + SETTLE_S
            while not self._ending and not self._children.none_left and self._wait_until(settled):
                pass
            deadline = time.monotonic() + grace_s
        signalled: set[int] = set()
        while not self._main_alive and not self._nothing_left():
            # Only children: theirs become ours when they end, and are signalled in their turn.
            new = (children_of(os.getpid()) or self._tree()) - signalled
            signal_each(new, signal.SIGTERM)
            signal_each(new, signal.SIGCONT)
            signalled |= new
            if not self._wait_until(deadline):
                break
        deadline = time.monotonic() + KILL_BOUND_S
        while not self._nothing_left() and time.monotonic() < deadline:
            signal_each(freeze_below(os.getpid()) or self._tree(), signal.SIGKILL)
            self._wait(KILL_AGAIN_S)
        self._report({"ended": True, "lost": self._lost, "survivors": sorted(self._tree())})

    def _tree(self) -> set[int]:
        """Everything below; the command's group, as its negative number, where that is all that can be known."""
        if HAS_CHILD_LISTS:
            return descendants_of(os.getpid())
        with suppress(OSError):
            os.kill(-self._main_pid, 0)
            return {-self._main_pid}
        return set()

    def _nothing_left(self) -> bool:
        return self._children.none_left and not self._tree()

    def _wait_until(self, deadline: float) -> bool:
        """Wait for the next event; False when the deadline has come."""
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            return False
        self._wait(remaining_s)
        return True

    def _wait(self, timeout_s: float | None) -> None:
        """Wait for the end of a child, an order of the kernel, its end, or the end of the reaper."""
        ready = _poll(self._watched, timeout_s)
        for pid, status in self._children.ended():
            if pid == self._main_pid:
                self._main_alive = False
                code = os.waitstatus_to_exitcode(status)
                self._report({"exited": code if code >= 0 else None, "signal": -code if code < 0 else None})
        if self._lifeline in ready:
            self._watched.discard(self._lifeline)
            if self._main_alive:
                self._lost = "lease" if ready[self._lifeline] & select.POLLIN else "reaper"
            self._ending = True
        if self._control.fileno() in ready:
            self._obey()

    def _obey(self) -> None:
        orders = b""
        with suppress(ConnectionError):
            orders = self._control.recv(64)
        if not orders:
            self._watched.discard(self._control.fileno())
            self._ending = True
        for order in orders:
            if order == ord(PAUSE):
                signal_each(freeze_below(os.getpid()) or self._tree(), signal.SIGSTOP)
            elif order == ord(CONTINUE):
                signal_each(self._tree(), signal.SIGCONT)
            else:
                self._ending = True

    def _report(self, report: dict[str, Any]) -> None:
        with suppress(OSError):  # the kernel has ended, which its socket shows
            self._control.sendall(json.dumps(report).encode() + b"\n")

    def _write_record(self, env: dict[str, str]) -> None:
        """Leave a record for the next kernel's sweep, which otherwise goes by the environment alone."""
        with suppress(OSError), open(self._record, "w", encoding="ascii") as record:
            started = start_time(os.getpid())
            names = {"town": env.get("TINYTOWN_TOWN"), "round_id": round_id_in(env)}
            json.dump({"pid": os.getpid(), "start_time": started, **names}, record)


class Reaper:
    """Forks a run supervisor per request and kills the orphans of those that were killed.

    A request is `RUN` with four descriptors: control socket, stdin, stdout, stderr. A copy of the control socket
    is held until the run supervisor has ended and nothing that fell to the reaper is left: its end means the end of the run.
    """

    def __init__(self, kernel: socket.socket, run_dir: str, open_files: int) -> None:
        self._kernel, self._run_dir, self._open_files = kernel, run_dir, open_files
        self._lifeline, self._lifeline_held = os.pipe()
        self._children = Children()
        self._controls: dict[int, int] = {}  # pid of a run supervisor: our copy of its control socket
        self._orphaned_sockets: list[int] = []  # control sockets of ended run supervisors with orphans
        self._given_up: set[int] = set()
        self._serving = True
        self._leased_until = float("inf")

    def serve(self) -> None:
        """Until the kernel and every run supervisor have ended."""
        kill_until: float | None = None
        while self._serving or self._controls or self._orphaned_sockets:
            watched = {self._children.notifications} | ({self._kernel.fileno()} if self._serving else set[int]())
            # Each second: a poll does not notice that the machine has slept.
            is_leased = self._controls and self._leased_until < float("inf")
            ready = _poll(watched, KILL_AGAIN_S if kill_until is not None else 1.0 if is_leased else None)
            if is_leased and boot_time() > self._leased_until:  # another kernel may be at the same work by now
                self._leased_until = float("inf")
                os.write(self._lifeline_held, LEASE)  # left unread, so that all see it
                for fd in (self._lifeline, self._lifeline_held):
                    os.close(fd)
                self._lifeline, self._lifeline_held = os.pipe()
            for pid, status in self._children.ended():
                self._given_up.discard(pid)
                if pid in self._controls:
                    self._orphaned_sockets.append(self._controls.pop(pid))
                    if status != 0:
                        with suppress(OSError):
                            os.unlink(os.path.join(self._run_dir, f"{pid}.json"))
            if orphans := children_of(os.getpid()) - set(self._controls) - self._given_up:
                kill_until = kill_until or time.monotonic() + KILL_BOUND_S
                if time.monotonic() > kill_until:
                    self._given_up |= orphans
                    orphans = set[int]()
                signal_each(freeze_below(os.getpid(), spare={*self._controls, *self._given_up}), signal.SIGKILL)
            if not orphans:
                kill_until = None
                while self._orphaned_sockets:
                    os.close(self._orphaned_sockets.pop())
            if self._kernel.fileno() in ready:
                self._receive()

    def _receive(self) -> None:
        try:
            data, ancillary, _, _ = self._kernel.recvmsg(1, socket.CMSG_SPACE(4 * 4))
        except ConnectionError:
            data, ancillary = b"", []
        if not data:
            self._serving = False
            signal_each(self._controls, signal.SIGCONT)  # a stopped one could not end its tree
            return
        if data == LEASE:
            (self._leased_until,) = struct.unpack("d", self._kernel.recv(8))
        fds = [fd for _, _, packed in ancillary for fd in struct.unpack(f"{len(packed) // 4}i", packed)]
        for fd in fds:
            os.set_inheritable(fd, False)
        if len(fds) == 4:
            self._fork(fds[0], (fds[1], fds[2], fds[3]))
            fds = fds[1:]
        elif fds:
            self._refuse(fds[0], OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
        for fd in fds:
            os.close(fd)

    def _fork(self, control: int, stdio: tuple[int, int, int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._refuse(control, error)
            os.close(control)
            return
        if pid:
            self._controls[pid] = control
            return
        status = 1
        try:
            self._kernel.close()
            self._children.close()
            for fd in (self._lifeline_held, *self._controls.values(), *self._orphaned_sockets):
                os.close(fd)
            most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._open_files, most_files))
            RunSupervisor(socket.socket(fileno=control), stdio, self._lifeline, self._run_dir).run()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _refuse(self, control: int, error: OSError) -> None:
        with suppress(OSError):
            os.write(control, json.dumps({"failed": _failure("start", error)}).encode() + b"\n")


def main() -> None:
    """`reaper.py RUN_DIR OPEN_FILES` with the kernel's socket as stdin; a command gets that limit of open files."""
    while (null := os.open(os.devnull, os.O_RDWR)) < 3:
        pass  # a kernel without stderr: nothing else may take its number
    kernel = socket.socket(fileno=os.dup(0))
    os.dup2(null, 0)
    os.close(null)
    os.chdir("/")
    # Ctrl-C of a terminal and SIGTERM of a service manager are for the kernel: it ends the runs in order.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _do_nothing)
    become_subreaper("tt-reaper")
    gc.disable()  # keeps the pages shared with the forked run supervisors
    gc.freeze()
    Reaper(kernel, sys.argv[1], int(sys.argv[2])).serve()


if __name__ == "__main__":
    main()
