"""The commands of ``tt-bd`` that change nothing: list, show, ready, blocked, search, stats, count, stale, children."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click
from tinytown.errors import NotFound, UsageError
from tinytown_beads.bead import moment
from tinytown_beads.ready import blocked, ready, sorted_beads

from tinytown_gastown.bd.board import Board, Record, cli_context
from tinytown_gastown.bd.inputs import split_values
from tinytown_gastown.bd.output import MORE_WORDS, Output, common_options, pass_output
from tinytown_gastown.bd.select import SORTS, chosen, filter_options, in_order, shown_by_default
from tinytown_gastown.bd.status import claim_first
from tinytown_gastown.bd.texts import line_of, page, short, tree

F = TypeVar("F", bound=Callable[..., Any])

_LIMIT = click.option("-n", "--limit", type=click.IntRange(0), default=50, help="The maximum number; 0 for all.")


def _ignored(*names: str) -> Callable[[F], F]:
    """Flags that are accepted and have no effect."""

    def add(command: F) -> F:
        for name in names:
            command = click.option(name, is_flag=True, expose_value=False, help="Has no effect.")(command)
        return command

    return add


def print_issues(
    out: Output, board: Board, ids: Sequence[str], *, none: str, as_tree: bool = False, long: bool = False
) -> None:
    """The issues in a list, a tree, or in full."""
    if long:
        lines: Iterable[str] = [line for id_ in ids for line in (*page(board, id_, long=True), "")]
    else:
        lines = tree(board, ids) if as_tree else [line_of(board, id_) for id_ in ids]
    out.answer([board.shape(id_) for id_ in ids], list(lines) or none)


@click.command("list", context_settings=MORE_WORDS)
@filter_options
@click.option("--all", "everything", is_flag=True, help="Include closed ones and records.")
@click.option("--tree", "as_tree", is_flag=True, help="Children below their parents.")
@click.option("--flat", is_flag=True, help="One line each, which is the default.")
@click.option("--long", is_flag=True, help="Each in full.")
@_ignored("--pretty", "--no-pager", "--skip-labels", "--include-infra", "--include-gates", "--include-templates")
@click.option("--format", "format_", help="Has no effect.")
@_LIMIT
@common_options
@pass_output
def list_(
    out: Output,
    /,
    everything: bool,
    as_tree: bool,
    flat: bool,
    long: bool,
    format_: str | None,
    limit: int,
    **given: Any,
) -> None:
    """List issues that are not closed."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        statuses, types = split_values(given["statuses"]), split_values(given["types"])
        everything = everything or "all" in statuses
        ids = [
            bead.id
            for bead in sorted_beads(board.beads.values())
            if everything or shown_by_default(board, bead.id, statuses, types)
        ]
        ids = chosen(board, ids, **given)[: limit or None]
        print_issues(out, board, ids, none="No issues found.", as_tree=as_tree and not flat, long=long)


@click.command("show")
@click.argument("words", nargs=-1, metavar="ID...")
@click.option("--id", "own_ids", multiple=True, help="An id that looks like a flag.")
@click.option("--children", is_flag=True, help="Only the children.")
@click.option("--refs", is_flag=True, help="Only the issues that refer to it.")
@click.option("--current", is_flag=True, help="The issue that the caller works on.")
@click.option("--thread", is_flag=True, help="The whole conversation of a message.")
@click.option("--long", is_flag=True, help="All fields.")
@click.option("--short", "in_short", is_flag=True, help="One line each.")
@click.option("--include-comments", is_flag=True, help="Has no effect: comments are always shown.")
@click.option("--include-dependents", is_flag=True, help="Include dependents.")
@_ignored("--local-time")
@common_options
@pass_output
def show(
    out: Output, /, words: tuple[str, ...], own_ids: tuple[str, ...], children: bool, refs: bool, current: bool, thread: bool,
    long: bool, in_short: bool, include_comments: bool, include_dependents: bool,
) -> None:  # fmt: skip
    """Show issues."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        wanted = [*words, *own_ids, *([_current(board)] if current else [])]
        if not wanted:
            raise UsageError("issue ID required (use positional args, --id flag, or --current)")
        ids = [board.find(word) for word in wanted]
        if thread:
            ids = list(dict.fromkeys(reply for id_ in ids for reply in _thread(board, id_)))
        if children or refs:
            _show_neighbours(out, board, ids, children=children)
            return
        shapes = [board.detail(id_, dependents=include_dependents) for id_ in ids]
        lines = [
            line for id_ in ids for line in ([short(board, id_)] if in_short else [*page(board, id_, long=long), ""])
        ]
    out.answer(shapes, lines)


@click.command("restore")
@click.argument("words", nargs=-1, required=True, metavar="ID...")
@common_options
@pass_output
def restore(out: Output, words: tuple[str, ...]) -> None:
    """Show issues in full: a town keeps the texts of issues as they are, and compacts none."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [board.find(word) for word in words]
        lines = [line for id_ in ids for line in (*page(board, id_, long=True), "")]
    out.answer([board.detail(id_) for id_ in ids], lines)


def _current(board: Board) -> str:
    """The issue that the caller works on, else the one that was changed last and is in progress."""
    task_id = board.town.caller.task_id
    own = next((id_ for id_, task in board.tasks.items() if task_id and task.id == task_id), "")
    active = [bead for bead in board.beads.values() if bead.status in ("in_progress", "hooked")]
    if not own and not active:
        raise NotFound("no current issue found")
    return own or max(active, key=lambda bead: bead.text("updated_at")).id


def _thread(board: Board, id_: str) -> list[str]:
    """A message, what it replies to, and all replies, oldest first."""
    known, pending = {id_}, [id_]
    while pending:
        here = pending.pop()
        near = [other for other, type_ in board.dependents(here) if type_ == "replies-to"]
        near += [
            edge.target for edge in board.beads[here].edges if edge.type == "replies-to" and edge.target in board.beads
        ]
        pending += [other for other in near if other not in known]
        known.update(near)
    return sorted(known, key=lambda each: board.beads[each].text("created_at"))


def _show_neighbours(out: Output, board: Board, ids: Sequence[str], *, children: bool) -> None:
    found = {
        id_: [pair for pair in board.dependents(id_) if (pair[1] == "parent-child") == children or not children]
        for id_ in ids
    }
    shapes: Record = {id_: [board.neighbour(*pair) for pair in pairs] for id_, pairs in found.items()}
    word = "Children" if children else "References"
    lines = [
        line
        for id_, pairs in found.items()
        for line in (f"{word} of {id_} ({len(pairs)}):", *(f"  ↳ {short(board, other)}" for other, _ in pairs))
    ]
    out.answer(shapes, lines)


@click.command("children")
@click.argument("word", metavar="ID")
@common_options
@pass_output
def children_(out: Output, word: str) -> None:
    """List the children of an issue."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        print_issues(out, board, board.children(board.find(word)), none="No children.")


@click.command("ready", context_settings=MORE_WORDS)
@filter_options
@click.option("--include-deferred", "deferred_too", is_flag=True, help="Include deferred issues.")
@click.option("--include-ephemeral", "ephemeral", is_flag=True, help="Include wisps.")
@click.option("--claim", is_flag=True, help="Claim the first one.")
@click.option("--explain", is_flag=True, help="Why each issue is ready or blocked.")
@click.option("--gated", is_flag=True, help="Only what a gate has just opened for.")
@_ignored("--pretty", "--plain")
@_LIMIT
@common_options
@pass_output
def ready_(
    out: Output,
    /,
    deferred_too: bool,
    ephemeral: bool,
    claim: bool,
    explain: bool,
    gated: bool,
    limit: int,
    **given: Any,
) -> None:
    """List issues that are ready."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        if given["statuses"] and given["statuses"][0] in SORTS:  # here the flag -s is bd's --sort
            given |= {"sort": given["statuses"][0], "statuses": ()}
        parent = given.pop("parent")
        found = ready(
            board.beads, board.now, types=split_values(given["types"]), deferred=deferred_too,
            ephemeral=ephemeral or bool(given.get("mol")),
        )  # fmt: skip
        ids = chosen(board, [bead.id for bead in found], **given | {"unassigned": given["unassigned"] or claim})
        if parent:
            below = board.below(board.find(parent))
            ids = [id_ for id_ in ids if id_ in below]
        if gated:
            ids = [id_ for id_ in ids if _was_gated(board, id_)]
        if claim:
            claimed = claim_first(out, board, ids)
            ids = [claimed] if claimed else []
        ids = ids[: limit or None]
        if explain:
            _explain(out, board, ids)
        else:
            print_issues(out, board, ids, none="No ready work found.")


def _was_gated(board: Board, id_: str) -> bool:
    return any(
        board.beads[edge.target].issue_type == "gate" for edge in board.beads[id_].edges if edge.target in board.beads
    )


def _explain(out: Output, board: Board, ids: Sequence[str]) -> None:
    waiting = [
        bead.id for bead in sorted_beads(board.beads.values()) if bead.id in blocked(board.beads) and not bead.closed
    ]
    reason = "no blocking dependencies"
    blockers = {id_: _blockers(board, id_) for id_ in waiting}
    answer = {
        "ready": [board.shape(id_) | {"reason": reason, "resolved_blockers": None} for id_ in ids],
        "blocked": [
            board.brief(id_)
            | {
                "blocked_by": [
                    {key: board.records[other].get(key) for key in ("id", "title", "status", "priority")}
                    for other in blockers[id_]
                ],
                "blocked_by_count": len(blockers[id_]),
            }
            for id_ in waiting
        ],
        "summary": {"total_ready": len(ids), "total_blocked": len(waiting), "cycle_count": 0},
    }
    lines = [f"Ready ({len(ids)} issues):", *(f"  {short(board, id_)}: {reason}" for id_ in ids)]
    lines += [f"Blocked ({len(waiting)} issues):"]
    for id_ in waiting:
        lines += [f"  {short(board, id_)}", *(f"    ← blocked by {short(board, other)}" for other in blockers[id_])]
    out.answer(answer, lines)


@click.command("blocked", context_settings=MORE_WORDS)
@click.option("--parent", help="Only below this issue.")
@common_options
@pass_output
def blocked_(out: Output, parent: str | None) -> None:
    """List blocked issues."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        waiting = blocked(board.beads)
        below = board.below(board.find(parent)) if parent else None
        ids = [
            bead.id
            for bead in sorted_beads(board.beads.values())
            if bead.id in waiting and not bead.closed and (below is None or bead.id in below)
        ]
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
@click.argument("words", nargs=-1, metavar="[QUERY]")
@click.option("--query", "asked", help="The text to search for.")
@filter_options
@click.option("--long", is_flag=True, help="Each in full.")
@_LIMIT
@common_options
@pass_output
def search(out: Output, /, words: tuple[str, ...], asked: str | None, long: bool, limit: int, **given: Any) -> None:
    """List issues whose id, title or texts contain QUERY. Closed ones need a --status."""
    query = asked or " ".join(words)
    if not query:
        raise UsageError("search query is required")
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        fields = ("id", "title", "description", "design", "notes", "acceptance_criteria")
        everything = bool(split_values(given["statuses"]))
        ids = [
            bead.id
            for bead in sorted_beads(board.beads.values())
            if (everything or not bead.closed)
            and any(query.lower() in str(board.records[bead.id].get(field, "")).lower() for field in fields)
        ]
        print_issues(
            out,
            board,
            chosen(board, ids, **given)[: limit or None],
            none=f"No issues found matching {query!r}.",
            long=long,
        )


@click.command("stale")
@click.option("-d", "--days", type=click.IntRange(0), default=30, help="Not changed for so many days.")
@click.option("-s", "--status", default="", help="Only with this status.")
@_LIMIT
@common_options
@pass_output
def stale(out: Output, days: int, status: str, limit: int) -> None:
    """List open issues that have not changed for long, the oldest first."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        before = board.now - timedelta(days=days)
        old = [
            bead.id
            for bead in board.beads.values()
            if not bead.closed and (not status or bead.status == status)
            and (changed := moment(bead.text("updated_at"))) and changed < before
        ]  # fmt: skip
        old = in_order(board, old, "updated", reverse=True)[: limit or None]
        print_issues(out, board, old, none="No stale issues found.")


@click.command("stats", context_settings=MORE_WORDS)
@_ignored("--all", "--assigned", "--no-activity")
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
            "pinned_issues": by_status["pinned"],
            "blocked_issues": sum(not board.beads[id_].closed for id_ in blocked(board.beads)),
            "ready_issues": len(ready(board.beads, board.now)),
            "epics_eligible_for_closure": sum(eligible(board, bead.id) for bead in board.beads.values()),
            "average_lead_time_hours": _lead_time_hours(board),
        }
    out.answer({"summary": summary}, [f"{key.replace('_', ' ')}: {value}" for key, value in summary.items()])


def eligible(board: Board, id_: str) -> bool:
    """Whether an issue is an open epic whose children are all closed."""
    bead, children = board.beads[id_], board.children(id_)
    return (
        bead.issue_type == "epic"
        and not bead.closed
        and bool(children)
        and all(board.beads[child].closed for child in children)
    )


def _lead_time_hours(board: Board) -> float:
    def times(id_: str) -> tuple[datetime | None, datetime | None]:
        return moment(board.beads[id_].text("created_at")), moment(board.beads[id_].text("closed_at"))

    hours = [(end - begin).total_seconds() / 3600 for begin, end in map(times, board.beads) if begin and end]
    return round(sum(hours) / len(hours), 2) if hours else 0


@click.command("count")
@filter_options
@click.option("--by-status", "by", flag_value="status", help="For each status.")
@click.option("--by-type", "by", flag_value="issue_type", help="For each type.")
@click.option("--by-priority", "by", flag_value="priority", help="For each priority.")
@click.option("--by-assignee", "by", flag_value="assignee", help="For each assignee.")
@click.option("--by-label", "by", flag_value="label", help="For each label.")
@common_options
@pass_output
def count(out: Output, /, by: str | None, **given: Any) -> None:
    """Count issues."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = chosen(board, list(board.beads), **given)
        if by is None:
            out.answer({"count": len(ids)}, str(len(ids)))
            return
        names = [name for id_ in ids for name in _names(board, id_, by)]
    groups = [{"group": name, "count": number} for name, number in sorted(Counter(names).items())]
    out.answer({"total": len(ids), "groups": groups}, [f"{group['group']}: {group['count']}" for group in groups])


def _names(board: Board, id_: str, by: str) -> list[str]:
    if by == "label":
        return list(board.beads[id_].labels) or ["(no labels)"]
    value = board.records[id_].get(by)
    return [f"P{value}" if by == "priority" else str(value or "(unassigned)")]
