"""Coloured output is accepted as text, and nothing that a terminal might obey comes back raw."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from tinytown.errors import UsageError
from tinytown.model.text import check_text
from tinytown_cli.context import CliContext
from tinytown_cli.main import report
from tinytown_cli.terminal_text import plain_text
from tinytown_testing.shell import Shell

NASTY = (Path(__file__).parent / "inputs" / "terminal.txt").read_bytes()
#: Carriage return, escape, C1, bidi, characters without width, and tags.
RAW = re.compile("[\r\x1b\x07\x08\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")

#: The same without joiners, which scripts and emoji need, and what else nobody sees or some take for the end of a line.
NOT_SHOWN = re.compile(
    "[\r\x00\x1b\x07\x08\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\U000e0000-\U000e007f]"
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\x1b[1;31mFAILED\x1b[0m 3 tests", "FAILED 3 tests"),
        ("\x1b]0;title\x07\x1b(B\x1b[?25lshown", "shown"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred\x9b0m", "red"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("10 %\r20 %\rFAILED", "10 %\n20 %\nFAILED"),
        ("bold\x08\x08d", "boldd"),
        ("\u202eevil\u2069", "evil"),
        ("a\tb\nc ä 日本", "a\tb\nc ä 日本"),
        ("half\x1b", "half"),
    ],
)
def test_coloured_text_becomes_plain(text: str, plain: str) -> None:
    assert plain_text(text) == plain
    assert check_text("a text", plain_text(text), 1000)


def test_a_file_that_is_no_text_is_still_refused(in_town: Shell) -> None:
    assert "U+0000" in in_town("send", "supervisor", "-", given=b"\x7fELF\x00\x01", code=2).err


def test_what_a_terminal_might_obey_is_accepted_and_comes_back_harmless(in_town: Shell) -> None:
    in_town("spawn", "reader", "--cli", "shell")
    in_town("send", "reader", "-", "--info", given=NASTY)
    task = in_town.json("assign", "reader", "-", "--title", "look", given=NASTY)["task_id"]
    in_town("task", "fail", task, "--reason", "-", given=NASTY)
    for words in (
        ("inbox", "reader"),
        ("inbox", "reader", "--full"),
        ("task", "show", task),
        ("task", "list"),
        ("status",),
        ("events",),
        ("why", task),
    ):
        shown = in_town(*words).out
        assert not RAW.search(shown), (words, shown)
        as_json = in_town(*words, "--json").out
        assert not RAW.search(as_json), (words, as_json)
    summary = in_town.json("inbox", "reader")["messages"][0]["summary"]
    assert summary.startswith("FAILED: 3 tests\nall 212 tests pass\n")
    assert "\u200b" in summary  # carried, and escaped where it is shown


@given(
    st.text(st.characters(codec="utf-8") | st.sampled_from("\r\x1b\x9b\u200b\u200e\u2028\u202e\u2066\u3164\U000e0041"))
)
def test_no_text_reaches_the_terminal_raw_whatever_prints_it(text: str) -> None:
    context = CliContext()
    with contextlib.redirect_stdout(plain := io.StringIO()), contextlib.redirect_stderr(plain):
        context.emit({}, [text])
        context.warn(text)
        report(UsageError(text, hint=text))
    written, context.json = io.BytesIO(), True
    writer = io.TextIOWrapper(written, encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(writer):
        context.emit({"text": text}, [])
    for shown in (plain.getvalue(), written.getvalue().decode()):
        assert not NOT_SHOWN.search(shown.replace("\r\n", "\n")), repr(shown)
    assert json.loads(written.getvalue())["text"] == text
