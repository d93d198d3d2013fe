"""A kernel in a container of its own: its process id means nothing outside, and nothing outside is signalled for it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tinytown_cli.kernel_process import READY_TIMEOUT_S
from tinytown_testing.shell import Shell

INSIDE = ["unshare", "--pid", "--fork", "--mount-proc"]
END_TIMEOUT_S = 10.0


@contextmanager
def contained(tt: Shell, before: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A kernel that is process 1 of its namespace, after the shell command `before`; the process is the one that waits for it."""
    if subprocess.run([*INSIDE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process namespace can be made here")
    tt("init", "--name", "boxed")
    tt("stop")  # the server is to be one of the container's processes, too
    reading, writing = os.pipe()
    start = shlex.join([sys.executable, "-m", "tinytown", "start", "--ready-fd", str(writing)])
    command = [*INSIDE, "--kill-child", "sh", "-c", f"{before}\nexec {start}"]
    with subprocess.Popen(
        command, cwd=tt.directory, env=tt.variables, pass_fds=[writing], stderr=subprocess.DEVNULL
    ) as outer:
        try:
            os.close(writing)
            assert os.read(reading, 1) == b"1", f"no kernel within {READY_TIMEOUT_S} s"
            yield outer
        finally:
            inits = children(outer.pid) if outer.poll() is None else []
            outer.send_signal(signal.SIGKILL)
            os.close(reading)
            until = time.monotonic() + END_TIMEOUT_S
            while any(map(is_alive, inits)) and time.monotonic() < until:
                time.sleep(0.01)  # it ends with all processes of its namespace


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_kernel_in_another_namespace_is_not_mistaken_for_a_process_here(tt: Shell) -> None:
    with contained(tt) as outer:
        for words in (("stop", "--timeout", "1"), ("reload",)):
            error = tt(*words, "--json", code=4).error
            assert error["code"] == "kernel_elsewhere"
            assert "process 2 of another process namespace" in error["message"]  # 1 is its init
        assert outer.poll() is None


def test_as_process_1_it_reaps_orphans_and_ends_all_in_order(tt: Shell) -> None:
    with contained(tt, before="(sh -c 'echo $$ > orphan; exec sleep 0.2' &)") as outer:
        (init,) = children(outer.pid)
        tt("spawn", "worker", "--cli", "shell")
        tt("assign", "worker", "while [ -e /proc/$(cat orphan) ]; do sleep 0.05; done; echo reaped")
        tt("wait", "worker", "--timeout", "20")
        os.kill(init, signal.SIGTERM)
        assert outer.wait(timeout=30) == 0
    assert not Path(f"/proc/{init}").exists()
    assert "User requested shutdown" in tt.server().log_path.read_text()
    (task,) = tt.json("task", "list")["tasks"]
    assert (task["state"], task["result"]) == ("completed", "reaped")
