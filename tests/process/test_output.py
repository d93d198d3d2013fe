"""Lines out of chunks, whatever the chunks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from tinytown.errors import HostFailure
from tinytown.process.output import TAIL_BYTES, Channel, Line, Output

chunks = st.lists(st.binary(max_size=20) | st.text("ab\n", max_size=20).map(str.encode), max_size=12)


@given(chunks, st.integers(1, 12))
def test_lines_do_not_depend_on_how_the_output_was_split(pieces: list[bytes], limit: int) -> None:
    lines: list[Line] = []
    channel = Channel("stdout", limit, lines.append)
    for piece in pieces:
        channel.feed(piece)
    channel.close()
    *whole, last = b"".join(pieces).split(b"\n")
    expected = [*whole, *([last] if last else [])]
    assert lines == [Line("stdout", line[:limit].decode("utf-8", "replace"), len(line) > limit) for line in expected]


@given(chunks, st.integers(0, 60))
def test_lines_within_the_limit_are_delivered(pieces: list[bytes], limit: int) -> None:
    lines: list[Line] = []
    output = Output(lines.append, line_limit_bytes=1000, output_limit_bytes=limit, log_path=None)
    for piece in pieces:
        output.take(output.stderr, piece)
    everything = b"".join(pieces)
    assert len(lines) == everything[:limit].count(b"\n")
    assert output.stderr.tail == everything.decode("utf-8", "replace")


def test_the_tail_is_the_end_of_the_stream_alone() -> None:
    channel = Channel("stdout", 10, lambda line: None)
    for chunk in (b"a" * TAIL_BYTES, b"b" * 10, b"c" * 2):
        channel.remember(chunk)
    assert channel.tail == "a" * (TAIL_BYTES - 12) + "b" * 10 + "cc"


@pytest.mark.timeout(30)
def test_a_pipe_or_a_link_that_takes_the_place_of_a_log_is_not_written_to(tmp_path: Path) -> None:
    log, precious = tmp_path / "log", tmp_path / "precious"
    for trap in (lambda: os.mkfifo(log), lambda: log.symlink_to(precious)):
        output = Output(print, line_limit_bytes=9, output_limit_bytes=99, log_path=log, log_limit_bytes=1)
        output.take(output.stdout, b"a\n")
        log.unlink()
        trap()  # as an agent does at the moment when its log is rotated
        with pytest.raises(HostFailure, match="cannot write the log"):
            Output(print, line_limit_bytes=9, output_limit_bytes=99, log_path=log)
        output.close()
        log.unlink()
    assert not precious.exists()


def test_a_log_that_cannot_be_opened_is_an_error_and_one_that_fills_the_disk_is_not(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="cannot write the log"):
        Output(print, line_limit_bytes=1, output_limit_bytes=1, log_path=tmp_path / "no" / "log")
    if os.path.exists("/dev/full"):
        lines: list[Line] = []
        output = Output(lines.append, line_limit_bytes=9, output_limit_bytes=99, log_path=Path("/dev/full"))
        output.take(output.stdout, b"one\ntwo\n")
        assert [line.text for line in lines] == ["one", "two"]
        output.close()
