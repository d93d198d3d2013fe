"""``tt top`` on a real terminal, and what it draws for screens of every size."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest
from tinytown.model.agents import Agent, MailCounts
from tinytown.model.events import OtherEvent, RoundEnded
from tinytown.model.results import Status
from tinytown.model.round_records import RoundRecord
from tinytown_ops.top.model import Model
from tinytown_ops.top.text_width import columns, fit
from tinytown_ops.top.view import frame, log_frame, text_of
from tinytown_testing.shell import COMMAND_TIMEOUT_S, Shell, open_shell

NOW_MS = 1_769_852_000_000
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()][0-9A-B]|[=>78])")


# -- drawing ---------------------------------------------------------------------------------------------


def model(*agents: Agent) -> Model:
    made = Model("shop")
    status = Status(
        tasks={"running": 1, "completed": 2},
        backlog=0,
        dead=1,
        hosts=(),
        agents=agents,
        supervisor_mail=MailCounts(),
        schema="1",
    )
    made.update(
        [
            status,
            (),
            (
                RoundRecord(
                    round_id="r",
                    outcome="finished",
                    agent="ada",
                    ended_at="2026-01-31T09:32:00.000Z",
                    usage={"cost_usd": 0.5},
                ),
            ),
        ]
    )
    return made


def agent(name: str, **more: object) -> Agent:
    return Agent(id=name, name=name, cli="shell", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [1, 2, 7, 20, 79, 80, 120, 300])
@pytest.mark.parametrize("height", [1, 2, 3, 6, 10, 24, 100])
def test_a_frame_fits_its_screen_whatever_the_town_holds(width: int, height: int) -> None:
    nasty = "\x1b[2J\x07\n日本語" * 30
    made = model(
        *(agent(f"agent-{n}", state="error", reason=nasty, since="2026-01-31T09:30:00.000Z") for n in range(40))
    )
    for number in range(30):
        made.add_event(OtherEvent(id=f"{number}-0", at="2026-01-31T09:30:00.000Z", type=nasty, fields={nasty: nasty}))
    made.note = nasty
    made.move_selection(25)
    for lines in (frame(made, width, height, NOW_MS), log_frame("ada", [nasty] * 50, 3, width, height)):
        assert len(lines) <= height
        for line in lines:
            assert columns("".join(span.text for span in line)) <= width
            assert "\x1b" not in text_of(line)
            assert "\n" not in text_of(line)
    if height >= 6 and width >= 20:
        assert any(
            span.style == "selected" and "agent-25" in span.text
            for line in frame(made, width, height, NOW_MS)
            for span in line
        )


def test_the_selected_agent_stays_selected_when_others_change() -> None:
    made = model(agent("ada"), agent("bob"))
    assert made.selected == "ada"
    made.move_selection(1)
    made.move_selection(5)
    assert made.selected == "bob"
    made.update([model(agent("new"), agent("ada"), agent("bob")).status, (), ()])
    assert made.selected == "bob"
    made.update([model(agent("new")).status, (), ()])
    assert made.selected == "new"


def test_rates_and_costs_are_those_of_the_rounds() -> None:
    made = model(agent("ada"), agent("bob"))
    assert (made.rate(NOW_MS), made.rate(NOW_MS, "bob")) == (0.2, 0.0)
    assert (made.cost(), made.cost("ada"), made.cost("bob")) == (0.5, 0.5, None)
    made.add_event(RoundEnded(id="1-0", at="2026-01-31T09:33:00.000Z", agent="bob", round_id="s", outcome="finished"))
    assert "bob ended a round" in "\n".join(text_of(line) for line in frame(made, 120, 30, NOW_MS))


def test_texts_are_fitted_by_their_width_in_columns() -> None:
    assert fit("日本語", 5) == "日本…"
    assert fit("日本語", 4) == "日… "
    assert fit("ab", 4) == "ab  "
    assert fit("ab", 0) == ""
    assert columns("e\u0301") == 1


# -- on a terminal ---------------------------------------------------------------------------------------


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, argv: list[str | bytes], tt: Shell, term: str = "xterm-256color") -> None:
        self.master, self.slave = pty.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            argv,
            cwd=tt.directory,
            env={name: value for name, value in tt.variables.items() if name not in ("COLUMNS", "LINES")}
            | {"TERM": term},
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.said = ""

    def resize(self, rows: int, width: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, width, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read(self, seconds: float) -> None:
        """Take what comes; nothing for so long is no error."""
        while select.select([self.master], [], [], seconds)[0]:
            try:
                chunk = os.read(self.master, 65536)
            except OSError:  # nobody has the other end any more
                return
            if not chunk:
                return
            self.said += chunk.decode(errors="replace")
            seconds = 0.05

    def shows(self, *texts: str) -> str:
        """Wait until a whole screen has all of the texts. Another size makes it draw itself anew."""
        deadline, width = time.monotonic() + COMMAND_TIMEOUT_S / 3, 80
        while time.monotonic() < deadline:
            self.said, width = "", 161 - width
            self.resize(24, width)
            self.read(1.0)
            screen = _ANSI.sub("", self.said)
            if all(text in screen for text in texts):
                return screen
            assert self.process.poll() is None, self.said
        raise AssertionError(f"{texts} not in {self.said!r}")

    def end(self) -> int:
        """The exit code, once the terminal is as it was."""
        deadline = time.monotonic() + COMMAND_TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        self.read(0.05)
        assert termios.tcgetattr(self.slave) == self.before
        code = self.process.wait(1)
        os.close(self.master)
        os.close(self.slave)
        return code


@pytest.fixture(scope="module")
def busy() -> Iterator[Shell]:
    with open_shell() as tt:
        tt("init", "--name", "busy")
        tt("start", "--background")
        tt("spawn", "ada", "--cli", "shell")
        tt("spawn", "bob", "--cli", "echo")
        tt("assign", "ada", "echo all is well")
        tt("wait", "ada")
        yield tt


def top(tt: Shell, *words: str, term: str = "xterm-256color") -> Terminal:
    return Terminal(tt.argv("top", *words), tt, term)


def test_the_screen_shows_the_town_and_follows_it(busy: Shell) -> None:
    screen = top(busy)
    screen.shows("busy", "ada", "bob", "1 completed", "AGENT", "q quit")
    task = busy("assign", "bob", "repeat me", "--json").json["task_id"]
    screen.shows("2 completed", f"task {task[:8]} running -> completed")
    screen.type("q")
    assert screen.end() == 0
    assert "\x1b[?1049l" in screen.said  # back on the screen of before


def test_colours_are_left_out_for_who_wants_none(busy: Shell) -> None:
    coloured = re.compile(r"\x1b\[[0-9;]*3[1-3]m")
    for no_color, expected in (("", True), ("1", False)):
        busy.variables["NO_COLOR"] = no_color
        screen = top(busy)
        screen.shows("ada", "idle")
        screen.type("q")
        assert screen.end() == 0
        assert bool(coloured.search(screen.said)) is expected
    del busy.variables["NO_COLOR"]


def test_an_agent_is_selected_paused_resumed_and_its_log_shown(busy: Shell) -> None:
    screen = top(busy)
    screen.shows(">ada")
    screen.type("j")
    screen.shows(">bob")
    screen.type("p")
    busy("wait", "bob", "--for", "paused")
    screen.shows("is paused for")
    screen.type("r")
    busy("wait", "bob")
    screen.type("\x1bOA")
    screen.shows(">ada")
    screen.type("\r")
    screen.shows("log of ada", "all is well")
    screen.type("\x1b")
    screen.shows(">ada", "AGENT")
    screen.type("\x1bOB\x1bOB\x1bOB")
    screen.shows(">bob")
    screen.type("q")
    assert screen.end() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_top_and_restores_the_terminal(busy: Shell, number: signal.Signals, code: int) -> None:
    screen = top(busy)
    screen.shows("ada")
    if number == signal.SIGINT:
        screen.type("\x03")
    else:
        screen.process.send_signal(number)
    assert screen.end() == code
    assert "Traceback" not in screen.said


def test_an_error_restores_the_terminal(busy: Shell) -> None:
    program = "from tinytown_ops.top.screen import open_screen\nwith open_screen():\n    raise RuntimeError('boom')"
    screen = Terminal([sys.executable, "-c", program], busy)
    assert screen.end() == 1
    assert "\x1b[?1049l" in screen.said


def test_top_continues_when_the_server_is_back(busy: Shell) -> None:
    screen = top(busy)
    screen.shows("ada")
    pid = int((busy.state() / "redis.pid").read_text()) if (busy.state() / "redis.pid").exists() else 0
    if pid:
        os.kill(pid, signal.SIGKILL)
    task = busy("assign", "ada", "echo again", "--json").json["task_id"]
    screen.shows(f"task {task[:8]} running -> completed")
    screen.type("q")
    assert screen.end() == 0


def test_a_terminal_that_cannot_place_text_is_refused(busy: Shell) -> None:
    screen = top(busy, term="dumb")
    assert screen.end() == 2
    assert "tt top --once" in screen.said


def test_without_a_terminal_one_frame_is_printed(busy: Shell) -> None:
    for words in (("top",), ("top", "--once")):
        lines = busy(*words).out.splitlines()
        assert lines[0].startswith("busy ")
        assert lines[3].split()[:2] == ["AGENT", "STATE"]
        assert any(line.startswith(" ada ") for line in lines)
    answer = busy("top", "--json").json
    assert [agent["name"] for agent in answer["agents"]] == ["ada", "bob"]
    assert answer["rounds_a_minute"] > 0
