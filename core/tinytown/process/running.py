"""A running command to converse with: what it is sent, and how it ended. Made by `ProcessSupervisor.open`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from tinytown.errors import ProcessFailed
from tinytown.process.runner import Exit


class RunningCommand:
    """A command whose standard input is open. Its lines go to the `on_line` of `open`."""

    def __init__(self) -> None:
        self._sending, self._receiving = trio.open_memory_channel[bytes](0)
        self._over = trio.Event()
        self._exit: Exit | None = None
        self._task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED

    async def send(self, content: bytes) -> None:
        """Write to its standard input; returns once all that was sent before is written.

        Raises: ProcessFailed with code ``stdin_closed`` if the command reads no more, or has ended.
        """
        try:
            await self._sending.send(content)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ProcessFailed("the command reads no more of its standard input", code="stdin_closed") from error

    def close_stdin(self) -> None:
        """End its standard input, once all that was sent is written."""
        self._sending.close()

    async def wait(self) -> Exit:
        """How it ended, once it has, with everything that it started."""
        await self._over.wait()
        assert self._exit is not None
        return self._exit

    async def carry_out(self, run: Callable[[], Awaitable[Exit]], *, task_status: trio.TaskStatus[None]) -> None:
        """Run it; `open` starts this task."""
        self._task_status = task_status
        self._exit = await run()
        self._over.set()

    def begin(self) -> None:
        """It has started."""
        self._task_status.started()

    async def feed(self, write: Callable[[bytes], Awaitable[bool]]) -> None:
        """Write what is sent until its input ends or `write` says that it reads no more."""
        with self._receiving:
            async for content in self._receiving:
                if not await write(content):
                    return
