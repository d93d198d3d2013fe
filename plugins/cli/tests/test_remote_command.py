"""What comes back from a townhall that ran a command: taken if it is an answer, whoever made it."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import click
import pytest
from tinytown.errors import ProtocolViolation, Refused
from tinytown_cli import remote_command
from tinytown_cli.context import CliContext
from tinytown_cli.remote_command import run_at_townhall

ANSWER: dict[str, Any] = {"outputs": [[{"rows": []}, ["nothing"]]], "warnings": [], "exit_code": 0, "error": None}
ERROR = {"code": "refused", "message": "it is merged", "hint": "", "exit_code": 4}


def answered(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Town:
        def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
            return raw

    @contextmanager
    def opened(*_: Any, **__: Any) -> Generator[Town]:
        yield Town()

    monkeypatch.setattr(remote_command, "open_remote_town", opened)
    with click.Context(click.Command("merge")) as ctx:
        run_at_townhall(CliContext(), "merge list", ctx, (), frozenset())


def test_what_a_command_printed_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answered(json.dumps(ANSWER).encode(), monkeypatch)
    assert capsys.readouterr().out == "nothing\n"


def test_its_error_is_raised_by_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="it is merged"):
        answered(json.dumps(ANSWER | {"error": ERROR}).encode(), monkeypatch)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        *(
            json.dumps(ANSWER | wrong).encode()
            for wrong in (
                {"outputs": None},
                {"outputs": [1]},
                {"outputs": [[1, "two", 3]]},
                {"warnings": [7]},
                {"exit_code": "0"},
                {"error": {"code": "x"}},
                {"error": ERROR | {"message": None}},
            )
        ),
    ],
)
def test_what_is_no_answer_is_an_error_of_the_protocol(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="answered no output"):
        answered(raw, monkeypatch)
