"""``tt-bd label``, and the states that labels hold: ``state`` and ``set-state``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import click
from tinytown.errors import UsageError
from tinytown_cli import administration

from tinytown_gastown.bd.board import Board, cli_context
from tinytown_gastown.bd.inputs import split_values, tags_for
from tinytown_gastown.bd.output import Output, common_options, pass_output


def relabel(board: Board, id_: str, *, add: Collection[str] = (), remove: Collection[str] = ()) -> None:
    """Add and remove labels of an issue."""
    after = [label for label in board.beads[id_].labels if label not in remove]
    after = list(dict.fromkeys((*after, *add)))
    if id_ not in board.wisps:
        tags = tags_for(after, board.beads[id_].issue_type)
        board.town.run(administration.update_task(board.town.operations, board.task_of(id_).id, tags=tags))
    board.set_extra_fields(id_, {"labels": after})


@click.group("label")
@common_options
def label() -> None:
    """Show and change labels."""


def _change(out: Output, words: Sequence[str], *, status: str) -> None:
    """Labels that follow the ids of issues: the last word, or all words after the only id."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        *id_words, last = words
        if not id_words:
            raise UsageError("expected ID... LABEL")
        known = [word for word in id_words if board.is_known(word)] or [id_words[0]]
        labels = split_values([word for word in id_words if word not in known] + [last])
        ids = [board.find(word) for word in known]
        for id_ in ids:
            if status == "added":
                relabel(board, id_, add=labels)
            else:
                relabel(board, id_, remove=labels)
    rows = [{"issue_id": id_, "label": label_, "status": status} for id_ in ids for label_ in labels]
    out.answer(rows, [f"✓ {status.title()} label {row['label']!r}: {row['issue_id']}" for row in rows])


@label.command("add")
@click.argument("words", nargs=-1, required=True, metavar="ID... LABEL")
@common_options
@pass_output
def add(out: Output, words: tuple[str, ...]) -> None:
    """Add a label to issues."""
    _change(out, words, status="added")


@label.command("remove")
@click.argument("words", nargs=-1, required=True, metavar="ID... LABEL")
@common_options
@pass_output
def remove(out: Output, words: tuple[str, ...]) -> None:
    """Remove a label from issues."""
    _change(out, words, status="removed")


@label.command("list")
@click.argument("word", metavar="ID")
@common_options
@pass_output
def list_(out: Output, word: str) -> None:
    """List the labels of an issue."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        id_ = board.find(word)
        labels = sorted(board.beads[id_].labels)
    out.answer(
        labels, [f"Labels of {id_}:", *(f"  - {each}" for each in labels)] if labels else f"{id_} has no labels."
    )


@label.command("list-all")
@common_options
@pass_output
def list_all(out: Output) -> None:
    """List all labels with the number of their issues."""
    with cli_context(out.directory).open_town() as town:
        counts = Counter(each for bead in Board(town).beads.values() for each in bead.labels)
    rows = [{"label": name, "count": counts[name]} for name in sorted(counts)]
    out.answer(rows, [f"{row['label']}  ({row['count']} issues)" for row in rows] or "No labels.")


@click.command("state")
@click.argument("word", metavar="ID")
@click.argument("dimension")
@common_options
@pass_output
def state(out: Output, word: str, dimension: str) -> None:
    """Show a state of an issue: the label DIMENSION:VALUE."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        id_ = board.find(word)
        value = next(
            (each.partition(":")[2] for each in board.beads[id_].labels if each.startswith(f"{dimension}:")), None
        )
    out.answer({"issue_id": id_, "dimension": dimension, "value": value}, value or f"(no {dimension} state)")


@click.command("set-state")
@click.argument("word", metavar="ID")
@click.argument("pair", metavar="DIMENSION=VALUE")
@click.option("--reason", default="", help="Has no effect: the town's events say who changed it.")
@common_options
@pass_output
def set_state(out: Output, word: str, pair: str, reason: str) -> None:
    """Set a state of an issue: the label DIMENSION:VALUE replaces the former one."""
    dimension, equals, value = pair.partition("=")
    if not equals or not dimension or not value:
        raise UsageError(f"invalid state {pair[:80]!r} (expected dimension=value)")
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        id_ = board.find(word)
        old = [each for each in board.beads[id_].labels if each.startswith(f"{dimension}:")]
        relabel(board, id_, add=[f"{dimension}:{value}"], remove=old)
    answer = {
        "issue_id": id_,
        "dimension": dimension,
        "old_value": old[0].partition(":")[2] if old else None,
        "new_value": value,
    }
    out.answer(answer, f"✓ Set {dimension} = {value}: {id_}")
