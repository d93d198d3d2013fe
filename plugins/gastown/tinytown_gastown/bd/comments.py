"""``tt-bd comment`` and ``tt-bd comments``."""

from __future__ import annotations

import os
import time

import click
from tinytown.errors import UsageError

from tinytown_gastown.bd.board import Board, cli_context, stamp_now
from tinytown_gastown.bd.inputs import actor_of, clean_input
from tinytown_gastown.bd.output import Output, common_options, pass_output


def add_comment(out: Output, word: str, text: str) -> None:
    """Add a comment, for two spellings of the command."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        id_ = board.find(word)
        words = clean_input(text)
        if not words.strip():
            raise UsageError("comment text required")
        before = board.comments(id_)
        comment = {
            "id": f"{time.time_ns():016x}-{os.urandom(4).hex()}",  # of two in one second the earlier comes first
            "issue_id": id_, "author": actor_of(out, town), "text": words, "created_at": stamp_now(),
        }  # fmt: skip
        board.set_extra_fields(id_, {"comments": [*before, comment]})
    out.answer(comment, f"Comment added to {id_}")


@click.command("comment")
@click.argument("word", metavar="ID")
@click.argument("text")
@common_options
@pass_output
def comment_(out: Output, word: str, text: str) -> None:
    """Add a comment."""
    add_comment(out, word, text)


@click.command("comments")
@click.argument("words", nargs=-1, required=True, metavar="ID | add ID TEXT")
@common_options
@pass_output
def comments(out: Output, words: tuple[str, ...]) -> None:
    """Show an issue's comments, or add one."""
    if words[0] == "add":
        if len(words) != 3:
            raise UsageError("expected comments add ID TEXT")
        add_comment(out, words[1], words[2])
        return
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        entries = board.comments(board.find(words[0]))
    out.answer(entries, [f"{entry.get('author')}: {entry.get('text')}" for entry in entries] or "No comments.")
