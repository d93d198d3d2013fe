"""``tt-bd epic`` and ``tt-bd todo``: parts of larger work, and small work."""

from __future__ import annotations

from typing import Any

import click

from tinytown_gastown.bd.board import Board, cli_context
from tinytown_gastown.bd.create import create_issue
from tinytown_gastown.bd.output import Output, common_options, pass_output
from tinytown_gastown.bd.queries import eligible, print_issues
from tinytown_gastown.bd.select import shown_by_default
from tinytown_gastown.bd.status import close_issue


@click.group("epic")
@common_options
def epic() -> None:
    """Epics and their progress."""


@epic.command("status")
@click.option("--eligible-only", is_flag=True, help="Only those whose children are all closed.")
@common_options
@pass_output
def status(out: Output, eligible_only: bool) -> None:
    """Show the open epics with the number of closed children."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [bead.id for bead in board.beads.values() if bead.issue_type == "epic" and not bead.closed]
        rows = [_progress(board, id_) for id_ in ids if not eligible_only or eligible(board, id_)]
    lines = [
        f"{row['epic']['id']} {row['epic']['title']}: {row['closed_children']}/{row['total_children']} children closed"
        f"{', eligible for closure' if row['eligible_for_close'] else ''}"
        for row in rows
    ]
    out.answer(rows, lines or "No open epics found.")


def _progress(board: Board, id_: str) -> dict[str, Any]:
    children = board.children(id_)
    closed = sum(board.beads[child].closed for child in children)
    return {
        "epic": board.brief(id_), "total_children": len(children), "closed_children": closed,
        "eligible_for_close": eligible(board, id_),
    }  # fmt: skip


@epic.command("close-eligible")
@click.option("--dry-run", is_flag=True, help="Only show them.")
@common_options
@pass_output
def close_eligible(out: Output, dry_run: bool) -> None:
    """Close the epics whose children are all closed."""
    if not dry_run:
        out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [id_ for id_ in board.beads if eligible(board, id_)]
        for id_ in () if dry_run else ids:
            close_issue(board, id_, "All children completed")
        rows = [board.brief(id_) for id_ in ids]
    said = "Would close" if dry_run else "✓ Closed"
    out.answer(
        rows if dry_run else {"closed": ids, "count": len(ids)},
        [f"{said} {id_}" for id_ in ids] or "No epics are eligible.",
    )


@click.group("todo", invoke_without_command=True)
@common_options
@click.pass_context
def todo(context: click.Context) -> None:
    """Small tasks."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@todo.command("add")
@click.argument("title")
@click.option("-d", "--description", help="The description.")
@common_options
@pass_output
def add(out: Output, title: str, description: str | None) -> None:
    """Create a task."""
    create_issue(out, title, description=description)


@todo.command("list")
@common_options
@pass_output
def list_(out: Output) -> None:
    """List the open tasks."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [
            id_
            for id_, bead in board.beads.items()
            if bead.issue_type == "task" and shown_by_default(board, id_, (), ())
        ]
        print_issues(out, board, ids, none="No TODOs.")


@todo.command("done")
@click.argument("words", nargs=-1, required=True, metavar="ID...")
@common_options
@pass_output
def done(out: Output, words: tuple[str, ...]) -> None:
    """Close tasks."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [board.find(word) for word in words]
        for id_ in ids:
            close_issue(board, id_, "Completed")
        board.load()
        out.answer([board.shape(id_) for id_ in ids], [f"✓ Closed {id_}" for id_ in ids])
