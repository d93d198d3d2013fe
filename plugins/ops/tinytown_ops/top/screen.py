"""The live screen of ``tt top``: a terminal under curses, kept up to date by the town's events.

`view` draws it. The town is queried only after an event, and at most `_QUERIES_PER_S` times a second. However it ends, the
terminal is restored.
"""

from __future__ import annotations

import contextlib
import curses
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import trio
import trio.lowlevel
from tinytown.concurrency import open_background
from tinytown.config import Config
from tinytown.errors import TinytownError, UsageError
from tinytown.kernel import log_path
from tinytown.model.agents import DesiredState
from tinytown.model.events import Event
from tinytown.town import Town, connect_town

from tinytown_ops.explain.log_file import Log, readable
from tinytown_ops.top.model import Model
from tinytown_ops.top.view import Line, Style, frame, log_frame

_QUERIES_PER_S = 4
_TICK_S = 1.0
_RETRY_S = 2.0  # the server could not be reached
_ESCAPE_DELAY_MS = 25
_LOG_LINES = 2_000

_QUIT = frozenset({ord("q"), ord("Q")})
_ENTER = frozenset({10, 13, curses.KEY_ENTER})
_BACK = frozenset({27, curses.KEY_LEFT, curses.KEY_BACKSPACE, 127})
_UP = frozenset({curses.KEY_UP, ord("k")})
_DOWN = frozenset({curses.KEY_DOWN, ord("j")})


def watch(root: Path, config: Config) -> int:
    """Show the town until the user quits; 0, or the number of the signal that ended it.

    Raises: UsageError if the terminal cannot move the cursor; what `connect_town` raises.
    """
    return trio.run(_watch, root, config)


async def _watch(root: Path, config: Config) -> int:
    async with connect_town(root, config) as town:
        with open_screen() as window:
            return await Screen(town, window).run()


@contextlib.contextmanager
def open_screen() -> Generator[curses.window]:
    """The terminal as a curses screen; restored afterwards. Raises: UsageError."""
    try:
        curses.setupterm()
        can_move = curses.tigetstr("cup") is not None
    except curses.error:  # an unknown terminal
        can_move = False
    if not can_move:
        raise UsageError(
            f"expected a terminal that can move the cursor, got TERM={os.environ.get('TERM', '')!r}",
            hint="tt top --once prints the screen once",
        )
    window = curses.initscr()
    try:
        curses.noecho()
        curses.cbreak()
        window.keypad(True)
        window.nodelay(True)
        curses.set_escdelay(_ESCAPE_DELAY_MS)
        with contextlib.suppress(curses.error):
            curses.curs_set(0)
        if _has_colours():
            with contextlib.suppress(curses.error):
                curses.start_color()
                curses.use_default_colors()
                for number, colour in enumerate((curses.COLOR_GREEN, curses.COLOR_YELLOW, curses.COLOR_RED), 1):
                    curses.init_pair(number, colour, -1)
        yield window
    finally:
        with contextlib.suppress(curses.error):
            curses.curs_set(1)
        window.keypad(False)
        curses.echo()
        curses.nocbreak()
        curses.endwin()


class Screen:
    """One run of the live screen. `run` owns all its tasks; everything happens in one thread."""

    def __init__(self, town: Town, window: curses.window) -> None:
        self._town = town
        self._window = window
        self._model = Model(town.name, auto_claim=town.config.auto_claim)
        self._changed = trio.Event()
        self._log_of: str | None = None
        self._scrolled = 0
        self._ended = trio.Event()
        self._signal = 0
        self._clock_ahead_ms = 0

    async def run(self) -> int:
        """Show the town and handle keys until the end; 0, or the number of the signal that ended it."""
        with (
            trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH) as signals,
            self._town.subscribe(self._on_event),
        ):
            async with open_background() as nursery:
                nursery.start_soon(self._handle_signals, signals)
                nursery.start_soon(self._refresh)
                nursery.start_soon(self._tick)
                nursery.start_soon(self._handle_keys, nursery)
                await self._ended.wait()
        return self._signal

    # -- events and signals

    def _on_event(self, event: Event) -> None:
        self._model.add_event(event)
        self._changed.set()

    async def _handle_signals(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGWINCH:
                size = os.get_terminal_size(sys.stdout.fileno())
                curses.resizeterm(size.lines, size.columns)
                self._window.clear()
                self._draw()
            else:
                self._signal = number
                self._ended.set()

    async def _refresh(self) -> None:
        """Query the town after each event."""
        await self._read_latest_events()
        while True:
            self._changed = trio.Event()
            try:
                operations = self._model.queries(self._town.operations)
                self._model.update([await self._town.run(operation) for operation in operations])
            except TinytownError as error:
                self._model.error = error.message
            self._draw()
            with trio.move_on_after(_RETRY_S if self._model.error else float("inf")):
                await self._changed.wait()
            await trio.sleep(1 / _QUERIES_PER_S)

    async def _read_latest_events(self) -> None:
        """Read the latest events, and how far the server's clock is ahead: times are shown by the server's clock."""
        with contextlib.suppress(TinytownError):
            seconds, microseconds = await self._town.link.command("TIME")
            self._clock_ahead_ms = int(seconds) * 1000 + int(microseconds) // 1000 - int(time.time() * 1000)
            for event in await self._town.run(self._town.operations.latest_events(self._model.events.maxlen or 1)):
                self._model.add_event(event)

    async def _tick(self) -> None:
        """Redraw once a second: durations and logs grow without events."""
        while True:
            await trio.sleep(_TICK_S)
            self._draw()

    # -- keys

    async def _handle_keys(self, nursery: trio.Nursery) -> None:
        """Handle keys; what takes time runs in `nursery`."""
        while True:
            await trio.lowlevel.wait_readable(sys.stdin.fileno())
            key = self._window.getch()
            if key == curses.ERR and not sys.stdin.isatty():
                break
            while key != curses.ERR:
                self._handle_key(key, nursery)
                key = self._window.getch()
            self._draw()
            await trio.lowlevel.checkpoint()
        self._ended.set()

    def _handle_key(self, key: int, nursery: trio.Nursery) -> None:
        model = self._model
        model.note = ""
        if key in _QUIT:
            self._ended.set()
        elif self._log_of is not None:
            if key in _ENTER | _BACK:
                self._log_of = None
            elif key in _UP | _DOWN:
                self._scrolled = max(0, self._scrolled + (1 if key in _UP else -1))
            elif key in (curses.KEY_PPAGE, curses.KEY_NPAGE):
                page = self._window.getmaxyx()[0] - 2
                self._scrolled = max(0, self._scrolled + (page if key == curses.KEY_PPAGE else -page))
        elif key in _UP | _DOWN:
            model.move_selection(-1 if key in _UP else 1)
        elif key in (curses.KEY_PPAGE, curses.KEY_NPAGE):
            model.move_selection(-10 if key == curses.KEY_PPAGE else 10)
        elif model.selected and key in _ENTER:
            self._log_of, self._scrolled = model.selected, 0
        elif model.selected and key in (ord("p"), ord("r")):
            nursery.start_soon(self._set_desired_state, model.selected, "paused" if key == ord("p") else "running")

    async def _set_desired_state(self, agent: str, state: DesiredState) -> None:
        try:
            await self._town.run(self._town.operations.set_desired_state(agent, state, reason="requested in tt top"))
            self._model.note = f"{'pause' if state == 'paused' else 'resume'} requested for {agent}"
        except TinytownError as error:
            self._model.note = str(error)
        self._draw()

    # -- drawing

    def _draw(self) -> None:
        height, width = self._window.getmaxyx()
        if self._log_of is None:
            now_ms = int(time.time() * 1000) + self._clock_ahead_ms
            lines = frame(self._model, width, height, now_ms)
        else:
            log = Log(log_path(self._town.root, self._log_of))
            raw = log.last_lines(min(_LOG_LINES, height + self._scrolled))
            lines_of_log = [readable(line.decode("utf-8", "replace").rstrip("\r\n")) for line in raw]
            self._scrolled = min(self._scrolled, max(0, len(lines_of_log) - (height - 2)))
            lines = log_frame(self._log_of, lines_of_log, self._scrolled, width, height)
        self._window.erase()
        for row, line in enumerate(lines):
            self._put(row, line)
        self._window.refresh()

    def _put(self, row: int, line: Line) -> None:
        encoding = self._window.encoding
        with contextlib.suppress(
            curses.error
        ):  # writing a screen's last cell moves the cursor off it: an error to curses
            self._window.move(row, 0)
            for span in line:
                text = span.text.encode(encoding, "replace").decode(encoding)
                self._window.addstr(text, _attribute(span.style))


def _has_colours() -> bool:
    return not os.environ.get("NO_COLOR") and curses.has_colors()  # https://no-color.org


def _attribute(style: Style) -> int:
    match style:
        case "plain":
            return curses.A_NORMAL
        case "bold":
            return curses.A_BOLD
        case "dim":
            return curses.A_DIM
        case "selected":
            return curses.A_REVERSE
        case "good" | "busy" | "bad":
            bold = curses.A_NORMAL if style == "good" else curses.A_BOLD
            if not _has_colours():
                return bold
            return curses.color_pair(("good", "busy", "bad").index(style) + 1) | bold
