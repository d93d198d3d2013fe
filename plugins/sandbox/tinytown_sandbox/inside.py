"""The first process of a box: hands out what is listened on in it, runs the command, and ends with it.

``inside.py TASK COMMAND...``. Standard library only. As process 1 it inherits whatever the command leaves behind; its end
ends all of that. What it may do is what the command may do.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

#: What a command leaves behind may be about to end by itself; then it is asked to, and then its time is over.
SETTLE_S, GRACE_S = 0.2, 2.0
_AGAIN_S = 0.01

_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def main(task: dict[str, Any], command: list[str]) -> NoReturn:
    control = socket.socket(fileno=task["control"])
    os.set_inheritable(control.fileno(), False)
    environment = own_environment()
    listeners = [_listen_at(path) for path in task["sockets"]]
    if task["proxy"]:
        listeners.append(socket.create_server(("127.0.0.1", 0)))
        environment |= _proxy_variables(listeners[-1].getsockname()[1])
    if listeners:
        socket.send_fds(control, [b"\n"], [listener.fileno() for listener in listeners])
        for listener in listeners:
            listener.close()
    _limit(resource.RLIMIT_NPROC, task["processes"])
    _limit(resource.RLIMIT_DATA, task["data_bytes"])
    _limit(resource.RLIMIT_FSIZE, task["file_bytes"])
    os.dup2(task["stderr"], 2)  # until here, errors were those of making the box
    os.close(task["stderr"])
    _report(control, "started", 1)
    try:
        pid = os.posix_spawnp(command[0], command, environment, setsigmask=(), setsigdef=_SIGNALS)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        _report(control, "exited", 127 if error.errno == errno.ENOENT else 126)
        os._exit(1)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            break
    code = os.waitstatus_to_exitcode(status)
    _report(control, "exited" if code >= 0 else "signal", abs(code))
    if not _wait_for_the_rest(SETTLE_S):
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGTERM)
            os.kill(-1, signal.SIGCONT)
        _wait_for_the_rest(GRACE_S)
    os._exit(0)


def literal(text: str) -> dict[str, Any]:
    """The value that the kernel, which has started us, has written."""
    value: dict[str, Any] = eval(text, {"__builtins__": {}})
    return value


def own_environment() -> dict[str, str]:
    """The environment that this process was started with: Python may have added LC_CTYPE. Source: PEP 538."""
    environment = dict(os.environ)
    with open("/proc/self/environ", "rb") as given:
        if not any(item.startswith(b"LC_CTYPE=") for item in given.read().split(b"\0")):
            environment.pop("LC_CTYPE", None)
    return environment


def _listen_at(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    return listener


def _proxy_variables(port: int) -> dict[str, str]:
    address = f"http://127.0.0.1:{port}"
    named: dict[str, str] = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), address)
    named["no_proxy"] = "localhost,127.0.0.1,::1"
    return named | {name.upper(): value for name, value in named.items()} | {"NODE_USE_ENV_PROXY": "1"}


def _limit(kind: int, bound: int) -> None:
    """Lower a limit, in the box: that of processes then counts only those in it, since Linux 5.14."""
    if bound:
        _, hard = resource.getrlimit(kind)
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (bound, bound))


def _report(control: socket.socket, what: str, number: int) -> None:
    with suppress(OSError):
        control.sendall(f"{what} {number}\n".encode())


def _wait_for_the_rest(seconds: float) -> bool:
    """Whether nothing else is left in the box, after at most so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if not ended:
            time.sleep(_AGAIN_S)
    return False


if __name__ == "__main__":
    main(literal(sys.argv[1]), sys.argv[2:])
