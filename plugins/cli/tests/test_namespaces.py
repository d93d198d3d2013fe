"""A kernel in a container of its own: its process id means nothing outside, and nothing outside is signalled for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tinytown_cli.kernel_process import READY_TIMEOUT_S
from tinytown_testing.shell import Shell

INSIDE = ["unshare", "--pid", "--fork", "--mount-proc"]


def test_a_kernel_in_another_namespace_is_not_mistaken_for_a_process_here(tt: Shell) -> None:
    if subprocess.run([*INSIDE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process namespace can be made here")
    tt("init", "--name", "boxed")
    reading, writing = os.pipe()
    command = [*INSIDE, "--kill-child", sys.executable, "-m", "tinytown", "start", "--ready-fd", str(writing)]
    with subprocess.Popen(
        command, cwd=tt.directory, env=tt.variables, pass_fds=[writing], stderr=subprocess.DEVNULL
    ) as outer:
        try:
            os.close(writing)
            assert os.read(reading, 1) == b"1", f"no kernel within {READY_TIMEOUT_S} s"
            for words in (("stop", "--timeout", "1"), ("reload",)):
                error = tt(*words, "--json", code=4).error
                assert error["code"] == "kernel_elsewhere"
                assert "process 1 of another process namespace" in error["message"]
            assert outer.poll() is None
        finally:
            outer.send_signal(signal.SIGKILL)
            os.close(reading)
