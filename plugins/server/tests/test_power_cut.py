"""What a loss of power leaves of what was acknowledged: as system calls tell it, and on a disk whose power is cut.

A killed process loses nothing that it has handed to the system, so killing a server proves nothing here. Each test is
also made with a server that does not sync every write, and then has to find what it may not find with ``safe``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tinytown_server import key_file
from tinytown_server.server import Durability, EmbeddedServer

from plugins.server.tests.disks import CAN_MOUNT, cut_power, mounted, new_image

DEADLINE_S = 30
WRITES = 50

#: ``write(9</town/.tt/appendonlydir/appendonly.aof.1.incr.aof>, "...", 55) = 55``
_CALL = re.compile(r"(?P<name>\w+)\(\d+<(?P<file>[^>]*)>.* = (?P<answer>-?\d+)")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path; a socket's has to be."""
    made = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def client(server: EmbeddedServer) -> closing[redis.Redis]:
    once = Retry(NoBackoff(), 0)
    return closing(
        redis.Redis(
            unix_socket_path=str(server.socket_path),
            password=key_file.read(server.directory),
            socket_timeout=DEADLINE_S,
            retry=once,
        )
    )


@contextmanager
def running(directory: Path, durability: Durability = "safe") -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(directory)
    server.ensure(durability=durability)
    try:
        yield server
    finally:
        server.stop()


# -- what the server does, in which order --------------------------------------------------------------------


@contextmanager
def traced(pid: int, trace: Path) -> Iterator[None]:
    """Write down the system calls of a process's main thread with which it writes and syncs. Skips where none may look."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    command = ["strace", "-y", "-e", "trace=write,writev,sendto,sendmsg,fsync,fdatasync", "-o", trace, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as looking:
        assert looking.stderr is not None
        line = looking.stderr.readline()
        try:
            if "attached" not in line:
                pytest.skip(f"strace may not look: {line.strip()}")
            yield
        finally:
            looking.terminate()
            looking.communicate(timeout=DEADLINE_S)


def replies_before_their_sync(trace: str) -> tuple[int, int]:
    """How many replies left, and how many of them while something that was appended was not on the disk."""
    replies, early, is_synced = 0, 0, True
    for line in trace.splitlines():
        call = _CALL.match(line)
        if call is None or int(call["answer"]) < 0:
            continue
        appends = "appendonly.aof" in call["file"]
        if call["name"] in ("fsync", "fdatasync"):
            is_synced = is_synced or appends
        elif appends:
            is_synced = False
        elif call["file"].startswith(("socket:", "UNIX")):
            replies += 1
            early += not is_synced
    return replies, early


@pytest.mark.skipif(sys.platform != "linux", reason="strace is for Linux")
@pytest.mark.parametrize("durability", ["safe", "fast"])
def test_no_reply_is_sent_before_its_write_is_synced(directory: Path, durability: Durability) -> None:
    trace = directory / "trace"
    with running(directory / ".tt", durability) as server, ExitStack() as stack:
        asking = [stack.enter_context(client(server)) for _ in range(3)]
        for process in asking:
            process.ping()  # connected
        with traced(server.pid() or 0, trace):
            for number in range(WRITES):
                asking[number % 3].set(f"key:{number}", "x")
                asking[(number + 1) % 3].get(f"key:{number}")
    replies, early = replies_before_their_sync(trace.read_text())
    assert replies >= WRITES, trace.read_text()[:2000]
    assert (early == 0) == (durability == "safe")


# -- a disk whose power is cut -------------------------------------------------------------------------------


@CAN_MOUNT
@pytest.mark.parametrize("is_safe", [True, False], ids=["safe", "never synced"])
def test_acknowledged_writes_survive_a_power_cut(directory: Path, is_safe: bool) -> None:
    before, after = directory / "before.img", directory / "after.img"
    new_image(before)
    with mounted(directory / "a", "-o", "loop", before), running(directory / "a" / ".tt") as server:
        with client(server) as ask:
            if not is_safe:  # as `fast` is for up to a second, which on a busy machine is soon over
                ask.config_set("appendfsync", "no")
            for number in range(WRITES):
                ask.set(f"key:{number}", "x")
        cut_power(before, after)
    with (
        mounted(directory / "b", "-o", "loop", after),
        running(directory / "b" / ".tt") as server,
        client(server) as ask,
    ):
        assert (ask.dbsize() == WRITES) == is_safe


@CAN_MOUNT
def test_a_full_disk_acknowledges_nothing_and_work_continues_once_there_is_space(directory: Path) -> None:
    disk = directory / "disk"
    with mounted(disk, "-t", "tmpfs", "-o", "size=1m", "none"), running(disk / ".tt") as server:
        with client(server) as ask:
            ask.set("before", "x")
            with suppress(OSError), open(disk / "fill", "wb") as fill:
                fill.write(bytes(2 << 20))
            with pytest.raises(redis.ConnectionError):  # it ends itself rather than forget what it has said
                ask.set("meanwhile", "x" * (64 << 10))
        assert server.ensure() == "started"
        with client(server) as ask:
            assert ask.keys() == [b"before"]
            (disk / "fill").unlink()
            ask.set("after", "x" * (64 << 10))
