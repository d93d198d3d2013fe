"""Real commands under a real processes: what arrives, what limits do, and that nothing is ever left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio
from tinytown.errors import HostFailure, ProcessFailed
from tinytown.process import Exit, Line, ProcessSupervisor, open_process_supervisor, sweep_orphans
from tinytown.process.reaper import children_of, descendants_of, start_time

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc, and needs the subreaper")

FIXTURES = Path(__file__).with_name("fixtures")
PATH = os.environ["PATH"]
DEADLINE_S = 40.0


@pytest.fixture
def marker() -> Generator[str]:
    """A word that the command lines of a test's processes contain; whatever still has it at the end is a failure."""
    word = f"tt-test-{uuid4().hex}"
    yield word
    left = living(word)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


@pytest.fixture(autouse=True)
def nothing_left_open() -> Generator[None]:
    """No descriptor and no child, dead or alive, is left by any test."""
    fds, children = open_fds(), children_of(os.getpid())
    yield
    assert children_of(os.getpid()) <= children
    assert open_fds() <= fds


def open_fds() -> set[str]:
    found: set[str] = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return found


def living(word: str) -> set[int]:
    """The processes with `word` in their command line, but for dead ones that wait for their parent."""
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        with suppress(OSError):
            if (
                entry.isdecimal()
                and word.encode() in Path(f"/proc/{entry}/cmdline").read_bytes()
                and start_time(int(entry)) is not None
            ):
                found.add(int(entry))
    return found


async def until(condition: Callable[[], object]) -> None:
    """Look until it is true; the test's deadline ends it otherwise."""
    while not condition():  # noqa: ASYNC110 - nobody announces the state of a process
        await trio.sleep(0.005)


@asynccontextmanager
async def open_supervisor(tmp_path: Path) -> AsyncGenerator[ProcessSupervisor]:
    with trio.fail_after(DEADLINE_S):
        async with open_process_supervisor(run_dir=tmp_path / "run") as processes:
            yield processes
    assert os.listdir(tmp_path / "run") == []


class Listener:
    """Keeps what it hears; `heard` waits for a line."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def __call__(self, line: Line) -> None:
        self.lines.append(line)

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]

    async def heard(self, text: str) -> None:
        await until(lambda: text in self.texts)


async def run(processes: ProcessSupervisor, *command: str, **options: Any) -> tuple[Exit, list[Line]]:
    listener = Listener()
    options = {"cwd": Path("/"), "env": {"PATH": PATH}, "on_line": listener, **options}
    return await processes.run(command, **options), listener.lines


async def run_script(processes: ProcessSupervisor, script: str, **options: Any) -> tuple[Exit, list[Line]]:
    return await run(processes, "sh", "-c", script, **options)


def daemon(marker: str, *words: str) -> str:
    return " ".join((f'"{sys.executable}" -S "{FIXTURES / "daemon.py"}"', marker, *words))


def is_reaper(pid: int) -> bool:
    with suppress(OSError):
        return b"reaper.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def reapers() -> list[int]:
    return [pid for pid in children_of(os.getpid()) if is_reaper(pid)]


async def reaper() -> int:
    await until(reapers)  # the command line of a process that has just begun is empty
    (pid,) = reapers()
    return pid


async def run_supervisors() -> set[int]:
    return children_of(await reaper())


# -- what goes in and what comes out ---------------------------------------------------------------------


async def test_a_command_gets_its_stdin_and_gives_its_lines_and_its_status(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        ended, lines = await run_script(processes, "cat; echo oh >&2; exit 3", stdin=b"one\ntwo")
    assert sorted(lines) == [Line("stderr", "oh", False), Line("stdout", "one", False), Line("stdout", "two", False)]
    assert (ended.status, ended.signal, ended.reason) == (3, None, "exited")
    assert (ended.stdout_tail, ended.stderr_tail) == ("one\ntwo", "oh\n")
    assert ended.pid > 0


async def test_a_signal_that_ended_the_command_is_told(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        ended, _ = await run_script(processes, "kill -KILL $$")
    assert (ended.status, ended.signal, ended.reason) == (None, signal.SIGKILL, "exited")


async def test_stdin_may_be_a_file_or_nothing_and_always_ends(tmp_path: Path) -> None:
    (tmp_path / "prompt").write_text("from a file")
    async with open_supervisor(tmp_path) as processes:
        assert (await run(processes, "cat", stdin=tmp_path / "prompt"))[0].stdout_tail == "from a file"
        assert (await run(processes, "cat", stdin=None))[0].stdout_tail == ""
        assert (await run(processes, "cat", stdin=b""))[0].stdout_tail == ""


async def test_a_fifo_without_a_writer_does_not_hold_up_the_kernel(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    async with open_supervisor(tmp_path) as processes:
        assert (await run(processes, "cat", stdin=tmp_path / "fifo"))[0].status == 0


async def test_a_long_stdin_does_not_wait_for_a_command_that_writes_as_long(tmp_path: Path) -> None:
    text = b"x" * 99 + b"\n"
    async with open_supervisor(tmp_path) as processes:
        _, lines = await run(processes, "cat", stdin=text * 50_000)
    assert len(lines) == 50_000


async def test_a_command_may_leave_its_stdin_unread(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        ended, _ = await run(processes, "true", stdin=b"x" * 5_000_000)
    assert ended.status == 0


async def test_a_command_gets_exactly_the_environment_that_was_given(tmp_path: Path) -> None:
    env = {"PATH": PATH, "NAME": "value with = and \n in it", "NOT_UTF8": os.fsdecode(b"\xff"), "LANG": "C"}
    async with open_supervisor(tmp_path) as processes:
        ended, _ = await run(processes, "env", "-0", env=env)
    given = {os.fsencode(f"{name}={value}").decode("utf-8", "replace") for name, value in env.items()}
    assert set(ended.stdout_tail.split("\0")) - {""} == given


async def test_a_command_runs_in_the_directory_and_in_a_session_of_its_own_with_default_signals(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        script = "pwd; cut -d' ' -f6 /proc/$$/stat; grep -E 'Sig(Ign|Blk)' /proc/self/status; ls /proc/$$/fd"
        ended, lines = await run_script(processes, script, cwd=tmp_path)
    texts = [line.text for line in lines]
    assert texts[:2] == [str(tmp_path), str(ended.pid)]
    of_the_c_library = 0b11 << 31  # signals 32 and 33, which it keeps from programs and ignores in what it spawns
    assert [int(text.split()[1], 16) & ~of_the_c_library for text in texts[2:4]] == [0, 0]
    assert texts[4:7] == ["0", "1", "2"]


async def test_output_that_is_not_utf8_is_shown_as_far_as_it_can_be(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        _, lines = await run_script(processes, r"printf 'a\377b\n\033[31mred\r\n'")
    assert [line.text for line in lines] == ["a\N{REPLACEMENT CHARACTER}b", "\x1b[31mred\r"]


async def test_ten_megabytes_without_a_newline_are_one_line_cut_at_the_bound(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        ended, lines = await run_script(processes, r"head -c 10000000 /dev/zero | tr '\0' x; echo; echo after")
    assert [(len(line.text), line.cut) for line in lines] == [(65536, True), (5, False)]
    assert ended.stdout_tail.endswith("xxx\nafter\n")


async def test_past_the_output_limit_there_are_no_lines_and_the_log_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    async with open_supervisor(tmp_path) as processes:
        ended, lines = await run_script(processes, "seq 1000 1999; echo last", output_limit_bytes=500, log_path=log)
    assert len(lines) == 100
    assert ended.stdout_tail.endswith("last\n")
    assert log.read_bytes().startswith(b"before\n1000\n")
    assert log.read_bytes().endswith(b"1099\n\n[the log ends here: the output limit was reached]\n")


async def test_a_flood_does_not_hold_up_the_lines_of_another_run(tmp_path: Path) -> None:
    delays: list[float] = []
    flooded = 0

    def count(line: Line) -> None:
        nonlocal flooded
        flooded += 1

    def measure(line: Line) -> None:
        delays.append(time.monotonic() - float(line.text))

    async with open_supervisor(tmp_path) as processes, trio.open_nursery() as nursery:

        async def flood() -> None:
            ended, _ = await run_script(processes, "yes 123456789 | head -c 50000000", on_line=count)
            assert ended.status == 0

        nursery.start_soon(flood)
        await until(lambda: flooded)
        ticks = "import time\nfor _ in range(20): print(time.monotonic(), flush=True); time.sleep(0.005)"
        await run(processes, sys.executable, "-S", "-c", ticks, on_line=measure)
    assert flooded == 5_000_000
    assert len(delays) == 20
    assert sorted(delays)[10] < 0.25


async def test_fifty_runs_at_once_each_get_their_own_lines(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            ended, lines = await run_script(processes, f"cat; echo {number}; exit {number}", stdin=b"%d\n" % number)
            assert (ended.status, [line.text for line in lines]) == (number, [str(number)] * 2)

        for number in range(50):
            nursery.start_soon(one, number)


async def test_what_the_listener_raises_is_raised_once_the_tree_has_ended(tmp_path: Path, marker: str) -> None:
    def fail(line: Line) -> None:
        raise LookupError(line.text)

    async with open_supervisor(tmp_path) as processes:
        with pytest.raises(LookupError, match="up"):
            await run_script(processes, f"{daemon(marker)}; echo up; sleep 1000 # {marker}", on_line=fail)
        assert not living(marker)
        with pytest.raises(LookupError, match="last words"):
            await run_script(processes, "printf 'last words'", on_line=fail)


async def test_an_outsider_that_holds_the_pipes_is_not_waited_for(tmp_path: Path) -> None:
    address = str(tmp_path / "socket")
    script = (
        "import array, socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
        "socket.send_fds(s, [b'x'], [1, 2])\ns.recv(1)\nprint('given away')"
    )
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        async with open_supervisor(tmp_path) as processes, trio.open_nursery() as nursery:
            taken: list[int] = []

            def take() -> None:
                with server.accept()[0] as connection:
                    taken.extend(socket.recv_fds(connection, 1, 2)[1])
                    connection.send(b"x")

            nursery.start_soon(trio.to_thread.run_sync, take)
            _, lines = await run(processes, sys.executable, "-S", "-c", script, address)
            assert [line.text for line in lines] == ["given away"]
            for fd in taken:
                os.close(fd)


# -- what cannot be run ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "command", "options"),
    [
        ("command_not_found", ["no-such-command"], {}),
        ("command_not_found", ["./no-such-command"], {}),
        ("command_not_found", ["sh"], {"env": {"PATH": "/nowhere"}}),
        ("command_not_executable", ["./text"], {}),
        ("command_not_executable", ["./no-interpreter"], {}),
        ("command_not_executable", ["./no-format"], {}),
        ("command_not_executable", ["/"], {}),
        ("no_such_directory", ["true"], {"cwd": Path("/no/such/directory")}),
        ("arguments_too_long", ["echo", "x" * 200_000], {}),
        ("arguments_too_long", ["echo", *("x" * 100_000,) * 30], {}),
        ("bad_argument", [], {}),
        ("bad_argument", ["echo", "\0"], {}),
        ("bad_argument", ["echo"], {"env": {"PATH": PATH, "A=B": ""}}),
        ("stdin_not_readable", ["cat"], {"stdin": Path("/no/such/file")}),
        ("log_not_writable", ["true"], {"log_path": Path("/no/such/directory/log")}),
    ],
)
async def test_what_cannot_be_run_is_told_by_its_code(
    tmp_path: Path, code: str, command: list[str], options: dict[str, Any]
) -> None:
    for name, content, mode in [
        ("text", "hello", 0o600),
        ("no-interpreter", "#!/no/such/interpreter\n", 0o700),
        ("no-format", "hello", 0o700),
    ]:
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(mode)
    async with open_supervisor(tmp_path) as processes:
        with pytest.raises(HostFailure if code == "log_not_writable" else ProcessFailed) as caught:
            await run(processes, *command, **{"cwd": tmp_path, **options})
        assert caught.value.code == code
        assert (await run(processes, "true"))[0].status == 0


async def test_a_run_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProcessFailed, match="cannot make the directory"):
        async with open_process_supervisor(run_dir=tmp_path / "file" / "run"):
            pass


# -- time limits, cancellation, pause --------------------------------------------------------------------


async def test_a_command_that_takes_too_long_is_asked_to_end_and_still_heard(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        script = "trap 'echo sorry; exit 7' INT; echo up; while :; do sleep 0.01; done"
        ended, lines = await run_script(processes, script, timeout_s=1.0, first_signal=signal.SIGINT)
    assert (ended.status, ended.reason) == (7, "timeout")
    assert [line.text for line in lines] == ["up", "sorry"]


async def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path, marker: str) -> None:
    async with open_supervisor(tmp_path) as processes:
        script = f"trap '' TERM INT; sleep 1000 & while :; do sleep 1000; done # {marker}"
        began = trio.current_time()
        ended, _ = await run_script(processes, script, timeout_s=0.5, grace_s=0.2)
    assert (ended.signal, ended.reason) == (signal.SIGKILL, "timeout")
    assert trio.current_time() - began >= 0.7


async def test_a_silent_command_is_ended_and_one_that_speaks_is_not(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        ended, lines = await run_script(
            processes, "for i in 1 2 3 4 5 6; do echo $i >&2; sleep 0.2; done; sleep 1000", silence_s=0.8
        )
    assert (ended.signal, ended.reason, len(lines)) == (signal.SIGTERM, "silence", 6)


@pytest.mark.parametrize("grace_s", [0.0, 0.2])
async def test_cancelling_ends_the_whole_tree_before_it_returns(tmp_path: Path, marker: str, grace_s: float) -> None:
    listener = Listener()
    async with open_supervisor(tmp_path) as processes, trio.open_nursery() as nursery:
        script = f"trap '' TERM; {daemon(marker)}; setsid sleep 1000 & echo up; while :; do sleep 1000; done # {marker}"
        nursery.start_soon(
            lambda: processes.run(
                ["sh", "-c", script], cwd=tmp_path, env={"PATH": PATH}, on_line=listener, grace_s=grace_s
            )
        )
        await listener.heard("up")
        await until(lambda: len(living(marker)) == 2)
        with trio.CancelScope() as scope:
            nursery.cancel_scope.cancel()
            await trio.lowlevel.checkpoint()
        assert not scope.cancelled_caught
    assert not living(marker)


async def test_a_cancelled_flood_is_not_stuck_in_writing_its_last_words(tmp_path: Path) -> None:
    listener = Listener()
    done = tmp_path / "done"
    async with open_supervisor(tmp_path) as processes, trio.open_nursery() as nursery:
        script = f"trap 'seq 100000; touch {done}; exit' TERM; echo up; while :; do sleep 0.01; done"
        nursery.start_soon(
            lambda: processes.run(["sh", "-c", script], cwd=tmp_path, env={"PATH": PATH}, on_line=listener, grace_s=10)
        )
        await listener.heard("up")
        nursery.cancel_scope.cancel()
    assert done.exists()
    assert listener.texts == ["up"]


class CancelAtStep(trio.abc.Instrument):
    """Cancels `scope` before the n-th step of a task."""

    def __init__(self, task: trio.lowlevel.Task, step: int, scope: trio.CancelScope) -> None:
        self.task, self.remaining, self.scope = task, step, scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.remaining -= 1
            if self.remaining == 0:
                self.scope.cancel()


async def test_cancelling_at_any_step_of_the_start_leaves_nothing(tmp_path: Path, marker: str) -> None:
    steps, finished = 0, False
    with trio.fail_after(DEADLINE_S):
        while not finished:
            steps += 1
            with trio.CancelScope() as scope:
                instrument = CancelAtStep(trio.lowlevel.current_task(), steps, scope)
                trio.lowlevel.add_instrument(instrument)
                try:
                    async with open_process_supervisor(run_dir=tmp_path / "run") as processes:
                        await run_script(processes, f"{daemon(marker)}; echo up; sleep 0.05 # {marker}", grace_s=0)
                    finished = instrument.remaining > 0
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            assert not living(marker)
            assert os.listdir(tmp_path / "run") == []
    assert steps > 5


async def test_a_paused_run_stands_still_with_its_clocks_and_goes_on(tmp_path: Path, marker: str) -> None:
    listener = Listener()
    results: list[Exit] = []
    async with open_supervisor(tmp_path) as processes, trio.open_nursery() as nursery:
        script = f"echo up; (while :; do sleep 0.01; done) & sleep 0.2; echo down # {marker}"

        async def carry_out() -> None:
            results.append((await run_script(processes, script, timeout_s=1.0, silence_s=1.0, on_line=listener))[0])

        nursery.start_soon(carry_out)
        await listener.heard("up")
        processes.pause_all()
        supervisors = await run_supervisors()

        def states() -> set[str]:
            found: set[str] = set()
            for pid in set().union(*map(descendants_of, supervisors)):
                with suppress(OSError):
                    found.add(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
            return found

        await until(lambda: "T" in states() and not {"R", "S"} & states())  # Z and D wait for one that is stopped
        await trio.sleep(1.2)  # past both limits
        assert not results
        processes.continue_all()
        await until(lambda: results)
    assert (results[0].status, results[0].reason) == (0, "exited")
    assert listener.texts == ["up", "down"]


async def test_a_paused_run_can_be_cancelled(tmp_path: Path, marker: str) -> None:
    listener = Listener()
    async with open_supervisor(tmp_path) as processes, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_script(processes, f"echo up; sleep 1000; : # {marker}", on_line=listener))
        await listener.heard("up")
        processes.pause_all()
        nursery.cancel_scope.cancel()


# -- nothing is left -------------------------------------------------------------------------------------


async def test_what_a_command_leaves_behind_is_ended_with_it(tmp_path: Path, marker: str) -> None:
    async with open_supervisor(tmp_path) as processes:
        ended, _ = await run_script(processes, f"{daemon(marker)}; {daemon(marker, 'clean')}; exit 4", grace_s=0.1)
        assert not living(marker)
    assert (ended.status, ended.reason, ended.survivors) == (4, "exited", ())


async def test_what_a_command_leaves_behind_may_finish_what_it_is_writing(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        ended, lines = await run_script(processes, "(sleep 0.05; echo late) & exit 0")
    assert (ended.status, [line.text for line in lines]) == (0, ["late"])


async def test_a_tree_that_keeps_forking_is_ended(tmp_path: Path, marker: str) -> None:
    hydra = f"import os, time  # {marker}\nwhile True:\n if os.fork(): time.sleep(0.002); os._exit(0)\n os.setsid()"
    async with open_supervisor(tmp_path) as processes:
        await run(processes, sys.executable, "-S", "-c", hydra, grace_s=0)
        assert not living(marker)


async def test_killing_a_run_supervisor_ends_its_tree_and_no_other(tmp_path: Path, marker: str) -> None:
    victim, other = Listener(), Listener()
    async with open_supervisor(tmp_path) as processes, trio.open_nursery() as nursery:

        async def fails() -> None:
            with pytest.raises(ProcessFailed) as caught:
                await run_script(
                    processes, f"{daemon(marker, 'clean')}; echo up; sleep 1000 # {marker}", on_line=victim
                )
            assert caught.value.code == "reaper_lost"
            assert not living(marker)
            (tmp_path / "go").touch()

        nursery.start_soon(fails)
        await victim.heard("up")
        (supervisor_pid,) = await run_supervisors()
        wait = f"echo up; until test -e {tmp_path / 'go'}; do sleep 0.01; done; echo fine"
        nursery.start_soon(lambda: run_script(processes, wait, on_line=other))
        await other.heard("up")
        os.kill(supervisor_pid, signal.SIGKILL)
    assert other.texts == ["up", "fine"]


async def test_killing_the_reaper_ends_its_runs_and_the_next_run_starts_another(tmp_path: Path, marker: str) -> None:
    listener = Listener()
    async with open_supervisor(tmp_path) as processes:
        async with trio.open_nursery() as nursery:

            async def fails() -> None:
                script = f"{daemon(marker, 'clean')}; echo up; sleep 1000 # {marker}"
                with pytest.raises(ProcessFailed) as caught:
                    await run_script(processes, script, on_line=listener, grace_s=0.1)
                assert caught.value.code == "reaper_lost"

            for _ in range(3):
                nursery.start_soon(fails)
            await until(lambda: len(listener.lines) == 3)
            os.kill(await reaper(), signal.SIGKILL)
        assert not living(marker)
        assert (await run_script(processes, "exit 5"))[0].status == 5


async def test_runs_that_meet_a_reaper_killed_a_moment_ago_are_carried_out_by_another(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        for _ in range(5):
            os.kill(await reaper(), signal.SIGKILL)
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(run, processes, "true")


async def test_killing_reaper_and_run_supervisor_still_ends_what_is_marked_as_the_runs_own(
    tmp_path: Path, marker: str
) -> None:
    listener = Listener()
    env = {"PATH": PATH, "TINYTOWN_TOWN": str(tmp_path), "TINYTOWN_ROUND_ID": marker}
    async with open_supervisor(tmp_path) as processes, trio.open_nursery() as nursery:

        async def fails() -> None:
            with pytest.raises(ProcessFailed) as caught:
                await run_script(
                    processes, f"{daemon(marker)}; echo up; sleep 1000 # {marker}", on_line=listener, env=env
                )
            assert caught.value.code == "reaper_lost"
            assert not living(marker)

        nursery.start_soon(fails)
        await listener.heard("up")
        supervisors = {await reaper(), *await run_supervisors()}
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped, so that neither can answer the other's end
            for pid in supervisors:
                os.kill(pid, number)


async def test_stopped_supervisors_do_not_hold_a_run_beyond_its_limits(
    tmp_path: Path, marker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("runner.END_BOUND_S", "supervisor._CLOSE_BOUND_S"):
        monkeypatch.setattr(f"tinytown.process.{bound}", 0.5)
    listener = Listener()
    env = {"PATH": PATH, "TINYTOWN_TOWN": str(tmp_path), "TINYTOWN_ROUND_ID": marker}
    script = f"{daemon(marker)}; echo up; sleep 1000 # {marker}"
    async with open_supervisor(tmp_path) as processes, trio.open_nursery() as nursery:

        async def fails() -> None:
            with pytest.raises(ProcessFailed) as caught:
                await run_script(processes, script, on_line=listener, env=env, timeout_s=1.0, grace_s=0.1)
            assert caught.value.code == "reaper_lost"

        nursery.start_soon(fails)
        await listener.heard("up")
        for pid in await run_supervisors():
            os.kill(pid, signal.SIGSTOP)
        os.kill(await reaper(), signal.SIGSTOP)
        nursery.start_soon(fails)


@asynccontextmanager
async def other_kernel(tmp_path: Path, marker: str) -> AsyncGenerator[trio.Process]:
    """A kernel in a process of its own with three runs in progress."""
    command = [sys.executable, str(FIXTURES / "kernel.py"), str(tmp_path / "run"), marker, "3"]
    with trio.fail_after(DEADLINE_S):
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            assert await process.stdout.receive_some(1) == b"r"  # of ready
            await until(lambda: len(living(marker)) == 7)  # the kernel itself, three commands, three daemons
            yield process
        finally:
            process.kill()
            await process.wait()
            await process.stdout.aclose()


async def test_killing_the_kernel_ends_every_tree_the_reaper_and_its_supervisors(tmp_path: Path, marker: str) -> None:
    async with other_kernel(tmp_path, marker) as kernel:
        below = descendants_of(kernel.pid)
        kernel.kill()
        await until(lambda: not living(marker))
        await until(lambda: not any(start_time(pid) for pid in below))
    assert os.listdir(tmp_path / "run") == []


async def test_ctrl_c_is_the_kernels_and_ends_everything_in_order(tmp_path: Path, marker: str) -> None:
    async with other_kernel(tmp_path, marker) as kernel:
        below = descendants_of(kernel.pid)
        for pid in below:
            if is_reaper(pid):
                os.kill(pid, signal.SIGINT)
                os.kill(pid, signal.SIGTERM)
        kernel.terminate()
        await kernel.wait()
        await until(lambda: not any(start_time(pid) for pid in below))


async def test_the_next_kernel_sweeps_what_is_left_when_all_are_killed_at_once(tmp_path: Path, marker: str) -> None:
    async with other_kernel(tmp_path, marker) as kernel:
        supervisors = set(filter(is_reaper, descendants_of(kernel.pid)))
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in (kernel.pid, *supervisors):
                os.kill(pid, number)
        await until(lambda: not any(start_time(pid) for pid in (kernel.pid, *supervisors)))
        await until(
            lambda: len(living(marker)) == 6
        )  # a shell that has just forked its `sleep` counts twice until then
        assert len(os.listdir(tmp_path / "run")) == 3
        found = await trio.to_thread.run_sync(lambda: sweep_orphans(tmp_path / "run", town_root=tmp_path))
        assert not living(marker)
    assert {orphan.round_id for orphan in found} == {f"{marker}-{number}" for number in range(3)}
    assert {"sh", "sleep"} < {orphan.name for orphan in found}
    assert os.listdir(tmp_path / "run") == []


async def test_the_sweep_ends_a_stopped_run_supervisor_and_its_tree(tmp_path: Path, marker: str) -> None:
    async with other_kernel(tmp_path, marker) as kernel:
        (main,) = children_of(kernel.pid)
        stopped = children_of(main)
        for pid in (*stopped, main):
            os.kill(pid, signal.SIGSTOP)
        for pid in (kernel.pid, main):
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not start_time(kernel.pid) and not start_time(main))
        found = await trio.to_thread.run_sync(lambda: sweep_orphans(tmp_path / "run", town_root=tmp_path))
        assert stopped <= {orphan.pid for orphan in found}
        assert not living(marker)


def test_the_sweep_spares_other_towns_itself_and_a_pid_that_was_given_to_another(tmp_path: Path, marker: str) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    env = {"PATH": PATH, "TINYTOWN_TOWN": str(tmp_path / "other"), "TINYTOWN_ROUND_ID": "r"}
    command = [sys.executable, "-S", "-c", "print(flush=True); input()", marker]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (run_dir / f"{process.pid}.json").write_text(f'{{"pid": {process.pid}, "start_time": 1, "round_id": "r"}}')
        (run_dir / "1.json").write_text('{"pid": 1, "start_t')
        (run_dir / "not-a-pid.json").write_text("{}")
        assert sweep_orphans(run_dir, town_root=tmp_path) == []
        assert os.listdir(run_dir) == ["not-a-pid.json"]
        process.communicate(b"\n")
        assert process.returncode == 0
