"""The service that watches the kernel's event loop from a thread of its own: who holds it up is named, and in the end not called.

A task sets a time four times a second; the thread sees when it does not, and looks at the stack of the loop's thread and at whose
task is running. What it sees counts, not what has passed: a kernel that is stopped, or that the machine leaves no time, holds
nothing up.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio
from tinytown.contracts import Service
from tinytown.errors import PluginRefused, TinytownError
from tinytown.plugin import CURRENT_PLUGIN, Plugins
from tinytown.town import Town

from tinytown_ops.watchdog.stalls import Stall, find_culprit, keep, plugins_by_module

#: Where the notice about plugins that are left out is kept: no plugin's own, since it is about others.
NOTICES = "plugins"

_log = logging.getLogger("tinytown.kernel")

BEAT_S = 0.25
#: A stall beyond this is reported.
STALL_S = 2.0
#: A plugin that was seen at holding up the loop for so long in all is not called any more.
SUSPEND_AFTER_S = 30.0


class Watchdog(Service):
    """The service ``watchdog`` of one kernel, whose plugins are `plugins`."""

    name = "watchdog"

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._seen_s: dict[str, float] = {}

    async def run(self, town: Town) -> None:
        """Watch until cancelled."""
        await self._report_deaths(town)
        watch = _Watch(town.root, threading.get_ident())
        thread = threading.Thread(target=watch.run, name="tinytown-watchdog", daemon=True)
        thread.start()
        trio.lowlevel.add_instrument(watch)
        try:
            while True:
                for stall, seen_s in watch.beat():
                    await self._report(town, stall, seen_s)
                await trio.sleep(BEAT_S)
        finally:
            trio.lowlevel.remove_instrument(watch)
            watch.ended.set()
            thread.join(2 * BEAT_S)

    async def _report_deaths(self, town: Town) -> None:
        """Say in the log, the events and ``tt status`` which plugins are not loaded because processes died in them."""
        left_out = {
            str(problem.fields.get("plugin")): problem.message
            for problem in self._plugins.problems
            if isinstance(problem.__cause__, PluginRefused) and problem.__cause__.code == "plugin_deaths"
        }
        operations, here = town.operations, f"on {os.uname().nodename}: "
        with suppress(TinytownError):
            for plugin, text in left_out.items():
                _log.error(text)
                await town.run(operations.emit("plugin_reported", {"plugin": plugin, "text": text}))
            before = await town.run(operations.plugin_field(NOTICES, "notice"))
            notice = here + "; ".join(left_out.values()) if left_out else None
            if notice != before and (notice or str(before).startswith(here)):
                await town.run(operations.set_plugin_field(NOTICES, "notice", notice))

    async def _report(self, town: Town, stall: Stall, seen_s: float) -> None:
        where = f"held up the kernel for {stall.seconds:.1f} s in {stall.function}"
        _log.warning("plugin %s %s", stall.plugin, where)
        total_s = self._seen_s[stall.plugin] = self._seen_s.get(stall.plugin, 0.0) + seen_s
        if total_s > SUSPEND_AFTER_S:
            reason = f"it held up the kernel for {total_s:.0f} s in all, last in {stall.function}"
            self._plugins.suspend(stall.plugin, reason)
            where += f"; {reason}: it is not called any more"
        try:
            await town.run(town.operations.emit("plugin_reported", {"plugin": stall.plugin, "text": where}))
        except TinytownError as error:  # the log has it
            _log.info("not reported to the town: %s", error)


class _Watch(trio.abc.Instrument):
    """What the thread and the loop share; each attribute is set by one of them and read by the other."""

    def __init__(self, root: Path, loop_thread: int) -> None:
        self.ended = threading.Event()
        self._root = root
        self._loop_thread = loop_thread
        self._plugins = plugins_by_module()
        self._beat_at = time.monotonic()
        self._task: trio.lowlevel.Task | None = None
        self._over: list[tuple[Stall, float]] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._task = task

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._task = None  # the loop waits: for nobody

    def beat(self) -> list[tuple[Stall, float]]:
        """Called by the loop: it runs. The stalls that ended since, each with the seconds that a plugin was seen at it."""
        self._beat_at = time.monotonic()
        over, self._over = self._over, []
        return over

    def run(self) -> None:
        """The thread."""
        stall: Stall | None = None
        seen_s = 0.0
        before, used_before_s, woken_at = time.monotonic(), time.process_time(), 0.0
        while not self.ended.wait(BEAT_S):
            beat_at, now, used_s = self._beat_at, time.monotonic(), time.process_time()
            was_late = now - before > STALL_S / 2
            if was_late and used_s - used_before_s < (now - before) / 2:
                woken_at = now  # the process was stopped, or the machine had no time for it
            before, used_before_s = now, used_s
            held_s = now - max(beat_at, woken_at)
            if held_s < STALL_S - BEAT_S:
                if stall is not None:
                    self._end(stall, seen_s)
                stall, seen_s = None, 0.0
                continue
            called = self._task.context.get(CURRENT_PLUGIN, "") if self._task is not None else ""
            frame = sys._current_frames().get(self._loop_thread)  # pyright: ignore[reportPrivateUsage] - its documented name
            plugin, function, stack = find_culprit(frame, self._plugins, called)
            if self._beat_at != beat_at or not plugin:
                continue  # it has just ended, or nobody is to blame
            seen_s += BEAT_S if stall is not None or was_late else STALL_S
            since = stall.since if stall is not None else _now()
            is_new = stall is None
            stall = Stall(plugin=plugin, function=function, stack=stack, since=since, seconds=held_s, is_over=False)
            if is_new:
                _log.error(
                    "plugin %s holds up the kernel: nothing else has run for %.1f s\n  %s",
                    plugin,
                    held_s,
                    "\n  ".join(stack),
                )
            keep(self._root, stall)

    def _end(self, stall: Stall, seen_s: float) -> None:
        over = msgspec.structs.replace(stall, is_over=True)
        keep(self._root, over)
        self._over.append((over, seen_s))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
