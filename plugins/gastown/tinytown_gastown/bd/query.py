"""``tt-bd query``: issues by an expression such as ``status=open AND (priority<=1 OR label=urgent)``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click
from tinytown.errors import UsageError
from tinytown_beads.bead import moment
from tinytown_beads.ready import sorted_beads

from tinytown_gastown.bd.board import Board, cli_context
from tinytown_gastown.bd.output import Output, common_options, pass_output
from tinytown_gastown.bd.queries import print_issues
from tinytown_gastown.bd.select import SORTS, in_order
from tinytown_gastown.bd.times import parse_moment

Test = Callable[[str], bool]

_TOKEN = re.compile(r"\s*(\(|\)|<=|>=|!=|=|<|>|\"[^\"]*\"|'[^']*'|[^\s()<>=!\"']+)")
_MOMENTS = {
    "created": "created_at",
    "updated": "updated_at",
    "closed": "closed_at",
    "due": "due_at",
    "defer": "defer_until",
}
_TEXTS = ("title", "description", "notes", "design", "id")
_WORDS = {
    "status": "status", "type": "issue_type", "assignee": "assignee", "owner": "owner", "parent": "parent",
    "spec": "spec_id", "mol_type": "mol_type",
}  # fmt: skip
_FLAGS = ("pinned", "ephemeral", "template")
_DEEPEST = 50


class _Parser:
    """A recursive descent over the tokens of one expression."""

    def __init__(self, board: Board, text: str) -> None:
        self.board = board
        self.tokens = _TOKEN.findall(text)
        if "".join("".join(self.tokens).split()) != "".join(text.split()):
            raise UsageError(f"invalid query {text[:80]!r}")
        self.at = 0

    def parse(self) -> Test:
        test = self._either(0)
        if self.at < len(self.tokens):
            raise UsageError(f"unexpected {self.tokens[self.at][:40]!r} in the query")
        return test

    def _next(self) -> str:
        if self.at >= len(self.tokens):
            raise UsageError("the query ends too early")
        self.at += 1
        return str(self.tokens[self.at - 1])

    def _is(self, word: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at].upper() == word:
            self.at += 1
            return True
        return False

    def _either(self, depth: int) -> Test:
        tests = [self._both(depth)]
        while self._is("OR"):
            tests.append(self._both(depth))
        return tests[0] if len(tests) == 1 else lambda id_: any(test(id_) for test in tests)

    def _both(self, depth: int) -> Test:
        tests = [self._single(depth)]
        while self._is("AND"):
            tests.append(self._single(depth))
        return tests[0] if len(tests) == 1 else lambda id_: all(test(id_) for test in tests)

    def _single(self, depth: int) -> Test:
        if depth > _DEEPEST:
            raise UsageError("the query is nested too deeply")
        if self._is("NOT"):
            inner = self._single(depth + 1)
            return lambda id_: not inner(id_)
        if self._is("("):
            inner = self._either(depth + 1)
            if not self._is(")"):
                raise UsageError("expected ) in the query")
            return inner
        return self._comparison()

    def _comparison(self) -> Test:
        field, sign, value = self._next().lower(), self._next(), self._next().strip("\"'")
        if sign not in ("=", "!=", "<", "<=", ">", ">="):
            raise UsageError(f"expected a comparison after {field[:40]!r}, got {sign[:40]!r}")
        if field == "priority":
            if not value.upper().removeprefix("P").isdigit():
                raise UsageError(f"expected a priority from 0 to 4, got {value[:40]!r}")
            number = int(value.upper().removeprefix("P"))
            return lambda id_: _compare(sign, self.board.beads[id_].priority, number)
        if field in _MOMENTS:
            return self._moment(_MOMENTS[field], sign, value)
        if sign not in ("=", "!="):
            raise UsageError(f"{field[:40]!r} can only be compared with = and !=")
        test = self._equality(field, value)
        return test if sign == "=" else lambda id_: not test(id_)

    def _equality(self, field: str, value: str) -> Test:
        board = self.board
        if field in ("label", "labels"):
            return lambda id_: value in board.beads[id_].labels or (value == "none" and not board.beads[id_].labels)
        if field in _TEXTS:
            return lambda id_: value.lower() in str(board.records[id_].get(field) or "").lower()
        if field in _FLAGS:
            key = "is_template" if field == "template" else field
            return lambda id_: bool(board.records[id_].get(key)) == (value.lower() == "true")
        if field == "parent":
            return lambda id_: board.beads[id_].parent == value
        if field in _WORDS:
            return lambda id_: str(board.records[id_].get(_WORDS[field]) or "none").lower() == value.lower()
        raise UsageError(
            f"unknown field {field[:40]!r}",
            hint=f"known: {', '.join((*_WORDS, *_TEXTS, 'label', 'priority', *_MOMENTS))}",
        )

    def _moment(self, key: str, sign: str, value: str) -> Test:
        # Here bd means by 7d the time seven days ago.
        limit = moment(parse_moment(f"-{value}" if re.fullmatch(r"\d+[hdwmy]", value) else value))

        def test(id_: str) -> bool:
            when = moment(str(self.board.records[id_].get(key) or ""))
            return when is not None and limit is not None and _compare(sign, when, limit)

        return test


def _compare(sign: str, one: Any, other: Any) -> bool:
    match sign:
        case "=":
            return bool(one == other)
        case "!=":
            return bool(one != other)
        case "<":
            return bool(one < other)
        case "<=":
            return bool(one <= other)
        case ">":
            return bool(one > other)
        case _:
            return bool(one >= other)


@click.command("query")
@click.argument("words", nargs=-1, metavar="EXPRESSION")
@click.option("-a", "--all", "everything", is_flag=True, help="Include closed ones.")
@click.option("--sort", type=click.Choice(SORTS), help="Sort by this.")
@click.option("-r", "--reverse", is_flag=True, help="The other way round.")
@click.option("--long", is_flag=True, help="Each in full.")
@click.option("-n", "--limit", type=click.IntRange(0), default=50, help="The maximum number; 0 for all.")
@common_options
@pass_output
def query(
    out: Output, words: tuple[str, ...], everything: bool, sort: str | None, reverse: bool, long: bool, limit: int
) -> None:
    """List the issues that an expression describes, such as "status=open AND priority<=1"."""
    text = " ".join(words)
    if not text:
        context = click.get_current_context()
        out.answer({"help": context.get_help()}, context.get_help().splitlines())
        return
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        test = _Parser(board, text).parse()
        closed_too = everything or re.search(r"\bstatus\b|\bclosed\b", text) is not None
        ids = [
            bead.id for bead in sorted_beads(board.beads.values()) if (closed_too or not bead.closed) and test(bead.id)
        ]
        ids = in_order(board, ids, sort, reverse=reverse)[: limit or None]
        print_issues(out, board, ids, none="No issues found.", long=long)
