from __future__ import annotations

import threading
import time

import pytest
from tinytown_cli import progress
from tinytown_cli.progress import Progress


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    monkeypatch.setattr(progress, "_REDRAW_S", 0.0)


def test_a_line_is_overwritten_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("importing", is_shown=True) as shown:
        shown.update(done=1_000, total=20_000)
        shown.update("almost")
    written = capsys.readouterr().err
    assert written.split("\r")[1:3] == ["importing: 1,000 of 20,000", "importing: almost         "]
    assert written.endswith(f"\r{' ' * len('importing: almost')}\r")


def test_nothing_is_drawn_where_nobody_looks_or_for_quick_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Progress("importing", is_shown=False) as shown:
        shown.update(done=1)
    monkeypatch.setattr(progress, "QUIET_S", 1_000.0)
    with Progress("importing", is_shown=True) as shown:
        shown.update(done=1)
    assert capsys.readouterr().err == ""


def test_it_is_drawn_at_most_so_often(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_REDRAW_S", 1_000.0)
    with Progress("working", is_shown=True) as shown:
        began = time.monotonic()
        for number in range(100):
            shown.update(done=number)
        assert time.monotonic() - began < 1_000
    assert capsys.readouterr().err.count("working") == 1


def test_it_is_drawn_while_the_work_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_TICK_S", 0.001)
    drawn = threading.Event()
    write = Progress._write

    def noting(shown: Progress, line: str) -> None:
        write(shown, line)
        drawn.set()

    monkeypatch.setattr(Progress, "_write", noting)
    with Progress("starting the kernel", is_shown=True) as shown:
        assert drawn.wait(60)
        shown.clear()
    written = capsys.readouterr().err
    assert written.startswith("\rstarting the kernel … 0 s")
    assert written.endswith("\r")
