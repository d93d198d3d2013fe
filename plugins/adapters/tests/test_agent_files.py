"""Files that an agent may have made to harm whoever reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest
from tinytown.errors import HostFailure
from tinytown_adapters import known_secrets, open_masked_log, read_agent_file
from tinytown_adapters.session_store import load_session

pytestmark = pytest.mark.timeout(30)  # a pipe that nobody writes to would be waited for


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    assert read_agent_file(tmp_path / "file", 10) == b"x" * 10
    with pytest.raises(OSError, match="more than 9 bytes"):
        read_agent_file(tmp_path / "file", 9)


def test_anything_else_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "link").symlink_to("secret")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("link", "pipe", "directory", "nothing"):
        with pytest.raises(OSError):  # noqa: PT011 - each its own
            read_agent_file(tmp_path / name)


@pytest.mark.skipif(sys.platform != "linux", reason="there are no leases")
def test_a_lease_on_a_file_holds_up_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    script = """import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
held = open(sys.argv[1], "r+")
fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print(flush=True)
input()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen([*command, tmp_path / "file"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BlockingIOError):  # without O_NONBLOCK this waits for 45 s
            read_agent_file(tmp_path / "file")
        with pytest.raises(HostFailure), open_masked_log(tmp_path / "file", known_secrets({}), limit_bytes=inf):
            pass
        holder.kill()


def test_a_session_that_is_a_pipe_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "session.json")
    assert load_session(tmp_path, "1") is None
