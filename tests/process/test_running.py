"""Commands that are conversed with: what is sent arrives in order, and leaving the conversation leaves nothing."""

# ruff: noqa: PT012 - what a whole conversation raises is the question here

from __future__ import annotations

import os
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.errors import ProcessFailed
from tinytown.process import Line, ProcessSupervisor, RunningCommand

from tests.process.test_supervisor import (
    PATH,
    Listener,
    daemon,
    living,
    marker,
    nothing_left_open,
    open_supervisor,
    reaper,
    run,
    until,
)

__all__ = ["marker", "nothing_left_open"]

ECHO = 'while read line; do echo "got $line"; done; echo over'


def open_script(
    processes: ProcessSupervisor, script: str, listener: Any = lambda line: None, **options: Any
) -> AbstractAsyncContextManager[RunningCommand]:
    return processes.open(
        ["sh", "-c", script], cwd=Path("/"), env={"PATH": PATH}, on_line=listener, **{"grace_s": 0.3, **options}
    )


async def test_what_is_sent_is_answered_until_the_input_ends(tmp_path: Path) -> None:
    heard = Listener()
    async with open_supervisor(tmp_path) as processes, open_script(processes, ECHO, heard) as running:
        for word in ("one", "two"):
            await running.send(f"{word}\n".encode())
            await heard.heard(f"got {word}")
        running.close_stdin()
        ended = await running.wait()
        assert (ended.status, ended.reason, heard.texts[-1]) == (0, "exited", "over")
        with pytest.raises(ProcessFailed) as caught:
            await running.send(b"three\n")
        assert caught.value.code == "stdin_closed"


async def test_more_than_a_pipe_holds_is_sent_while_the_command_answers_as_much(tmp_path: Path) -> None:
    size = 0

    def count(line: Line) -> None:
        nonlocal size
        size += len(line.text) + 1

    async with open_supervisor(tmp_path) as processes, open_script(processes, "cat", count) as running:
        for _ in range(10):
            await running.send((b"x" * 999 + b"\n") * 100)
        running.close_stdin()
        assert (await running.wait()).status == 0
    assert size == 1_000_000


async def test_sending_to_a_command_that_reads_no_more_or_has_ended_is_an_error(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        for script in ("exec <&-; sleep 60", "exit 3"):
            async with open_script(processes, script) as running:
                with pytest.raises(ProcessFailed, match="reads no more"):
                    while True:
                        await running.send(b"x" * 1000)
                        await trio.sleep(0.001)


async def test_leaving_or_cancelling_ends_the_tree(tmp_path: Path, marker: str) -> None:
    async with open_supervisor(tmp_path) as processes:
        async with open_script(processes, f"{daemon(marker)} & cat"):
            await until(lambda: living(marker))
        assert not living(marker)
        with trio.CancelScope() as scope:
            async with open_script(processes, f"{daemon(marker)} & cat") as running:
                await until(lambda: living(marker))
                scope.cancel()
                await running.wait()
        assert scope.cancelled_caught
        assert not living(marker)
        with pytest.raises(ZeroDivisionError):
            async with open_script(processes, "cat"):
                raise ZeroDivisionError
        assert processes.running == 0


@pytest.mark.parametrize("command", ["no-such-command", "/"])
async def test_what_cannot_be_run_is_told_when_it_is_opened(tmp_path: Path, command: str) -> None:
    async with open_supervisor(tmp_path) as processes:
        with pytest.raises(ProcessFailed):
            async with processes.open([command], cwd=Path("/"), env={"PATH": PATH}, on_line=lambda line: None):
                raise AssertionError("it was never entered")


async def test_its_limits_hold_and_a_reaper_that_is_killed_ends_the_conversation(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as processes:
        async with open_script(processes, "cat", silence_s=0.2) as running:
            assert (await running.wait()).reason == "silence"
        with pytest.raises(ProcessFailed) as caught:
            async with open_script(processes, "cat"):
                os.kill(await reaper(), signal.SIGKILL)
                await trio.sleep_forever()
        assert caught.value.code == "reaper_lost"
        assert (await run(processes, "true"))[0].status == 0


async def test_what_the_listener_raises_comes_out_of_the_conversation(tmp_path: Path) -> None:
    def listen(line: Line) -> None:
        raise ValueError("not that")

    async with open_supervisor(tmp_path) as processes:
        with pytest.raises(ValueError, match="not that"):
            async with open_script(processes, "echo hello; cat", listen):
                await trio.sleep_forever()


async def test_a_paused_command_reads_what_was_sent_once_it_continues(tmp_path: Path) -> None:
    heard = Listener()
    async with open_supervisor(tmp_path) as processes, open_script(processes, f"echo $$; {ECHO}", heard) as running:
        await until(lambda: heard.texts)
        stat = Path(f"/proc/{heard.texts[0]}/stat")
        processes.pause_all()
        await until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        await running.send(b"one\n")
        assert len(heard.texts) == 1
        processes.continue_all()
        await heard.heard("got one")
