"""The commands of ``tt-bd`` that change nothing: list, show, ready, blocked, search, stats, count."""

from __future__ import annotations

from collections import Counter

import click
from tinytown_beads.ready import blocked, ready, sorted_beads

from tinytown_gastown.bd.board import Board, cli_context, matching
from tinytown_gastown.bd.inputs import split_values
from tinytown_gastown.bd.output import Output, common_options, pass_output, priority_of
from tinytown_gastown.bd.status import claim_first

_LIMIT = click.option("-n", "--limit", type=click.IntRange(0), default=50, help="The maximum number; 0 for all.")
_TYPE = click.option("-t", "--type", "types", multiple=True, help="Only this type.")
_ASSIGNEE = click.option("-a", "--assignee", default="", help="Only this assignee.")
_LABELS = click.option("-l", "--label", "labels", multiple=True, help="Only with this label.")
_PRIORITY = click.option("-p", "--priority", callback=priority_of, help="Only this priority.")


def line_of(board: Board, id_: str) -> str:
    """A bead on one line."""
    bead = board.beads[id_]
    assignee = board.records[id_].get("assignee")
    return f"{id_} [P{bead.priority}] [{bead.issue_type}] {bead.status}{f' @{assignee}' if assignee else ''} - {bead.title}"


def _print(out: Output, board: Board, ids: list[str], *, none: str) -> None:
    out.answer([board.shape(id_) for id_ in ids], [line_of(board, id_) for id_ in ids] or none)


@click.command("list")
@click.option("-s", "--status", "statuses", multiple=True, help="Only with this status.")
@_TYPE
@_PRIORITY
@_ASSIGNEE
@_LABELS
@click.option("--parent", default="", help="Only children of this issue.")
@click.option("--all", "everything", is_flag=True, help="Include closed ones.")
@_LIMIT
@common_options
@pass_output
def list_(
    out: Output, statuses: tuple[str, ...], types: tuple[str, ...], priority: int | None, assignee: str,
    labels: tuple[str, ...], parent: str, everything: bool, limit: int,
) -> None:  # fmt: skip
    """List issues that are not closed."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        wanted = split_values(statuses)
        ids = [bead.id for bead in sorted_beads(board.beads.values()) if everything or wanted or not bead.closed]
        ids = matching(
            board, ids, status=wanted, type=split_values(types), priority=priority, assignee=assignee,
            labels=split_values(labels), parent=board.find(parent) if parent else "",
        )  # fmt: skip
        _print(out, board, ids[: limit or None], none="No issues found.")


@click.command("show")
@click.argument("words", nargs=-1, required=True, metavar="ID...")
@click.option("--include-comments", is_flag=True, help="Has no effect: comments are always shown.")
@click.option("--include-dependents", is_flag=True, help="Include dependents.")
@common_options
@pass_output
def show(out: Output, words: tuple[str, ...], include_comments: bool, include_dependents: bool) -> None:
    """Show issues."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [board.find(word) for word in words]
        shapes = [board.detail(id_) for id_ in ids]
        if include_dependents:
            for id_, shape in zip(ids, shapes, strict=True):
                shape["dependents"] = [
                    board.shape(other)
                    for other, bead in board.beads.items()
                    if any(e.target == id_ for e in bead.edges)
                ]
        lines: list[str] = []
        for id_, shape in zip(ids, shapes, strict=True):
            lines += [line_of(board, id_), ""]
            lines += [
                str(shape[key]) for key in ("description", "design", "acceptance_criteria", "notes") if shape.get(key)
            ]
            lines += [f"waits for {edge.target} ({edge.type})" for edge in board.beads[id_].edges if edge.source == id_]
            lines += [f"{comment.get('author')}: {comment.get('text')}" for comment in shape.get("comments") or ()]
        out.answer(shapes, lines)


@click.command("ready")
@_TYPE
@_PRIORITY
@_ASSIGNEE
@click.option("-u", "--unassigned", is_flag=True, help="Only unassigned issues.")
@_LABELS
@click.option("--include-deferred", "deferred", is_flag=True, help="Include deferred issues.")
@click.option("--claim", is_flag=True, help="Claim the first one.")
@_LIMIT
@common_options
@pass_output
def ready_(
    out: Output, types: tuple[str, ...], priority: int | None, assignee: str, unassigned: bool,
    labels: tuple[str, ...], deferred: bool, claim: bool, limit: int,
) -> None:  # fmt: skip
    """List issues that are ready."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ready_beads = ready(board.beads, board.now, types=split_values(types), deferred=deferred)
        ids = matching(
            board, [bead.id for bead in ready_beads], priority=priority, assignee=assignee, unassigned=unassigned or claim,
            labels=split_values(labels),
        )  # fmt: skip
        ids = (
            [claimed] if claim and (claimed := claim_first(out, board, ids)) else [] if claim else ids[: limit or None]
        )
        _print(out, board, ids, none="No ready work found.")


@click.command("blocked")
@common_options
@pass_output
def blocked_(out: Output) -> None:
    """List blocked issues."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        waiting = blocked(board.beads)
        ids = [bead.id for bead in sorted_beads(board.beads.values()) if bead.id in waiting and not bead.closed]
        shapes = [
            board.shape(id_) | {"blocked_by": by, "blocked_by_count": len(by)}
            for id_ in ids
            for by in [_blockers(board, id_)]
        ]
        out.answer(shapes, [f"{line_of(board, id_)}: {waiting[id_]}" for id_ in ids] or "No blocked issues.")


def _blockers(board: Board, id_: str) -> list[str]:
    return [
        edge.target
        for edge in board.beads[id_].edges
        if edge.source == id_ and edge.type in ("blocks", "conditional-blocks", "waits-for")
        and edge.target in board.beads and not board.beads[edge.target].closed
    ]  # fmt: skip


@click.command("search")
@click.argument("query")
@_LIMIT
@common_options
@pass_output
def search(out: Output, query: str, limit: int) -> None:
    """List issues whose id, title or texts contain QUERY, closed ones included."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        fields = ("id", "title", "description", "design", "notes", "acceptance_criteria")
        ids = [
            bead.id
            for bead in sorted_beads(board.beads.values())
            if any(query.lower() in str(board.records[bead.id].get(field, "")).lower() for field in fields)
        ]
        _print(out, board, ids[: limit or None], none=f"No issues found matching {query!r}.")


@click.command("stats")
@common_options
@pass_output
def stats(out: Output) -> None:
    """Count issues by their status."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        by_status = Counter(bead.status for bead in board.beads.values())
        summary = {
            "total_issues": len(board.beads),
            "open_issues": by_status["open"],
            "in_progress_issues": by_status["in_progress"],
            "closed_issues": by_status["closed"],
            "deferred_issues": by_status["deferred"],
            "blocked_issues": sum(not board.beads[id_].closed for id_ in blocked(board.beads)),
            "ready_issues": len(ready(board.beads, board.now)),
        }
    out.answer({"summary": summary}, [f"{key.replace('_', ' ')}: {value}" for key, value in summary.items()])


@click.command("count")
@click.option("-s", "--status", "statuses", multiple=True, help="Only with this status.")
@_TYPE
@common_options
@pass_output
def count(out: Output, statuses: tuple[str, ...], types: tuple[str, ...]) -> None:
    """Count issues."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        number = len(matching(board, list(board.beads), status=split_values(statuses), type=split_values(types)))
    out.answer({"count": number}, str(number))
