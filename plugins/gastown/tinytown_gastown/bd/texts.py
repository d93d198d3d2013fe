"""Issues for people: on one line, in a tree, and in full."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tinytown_beads.fields import BLOCKING_EDGES, CHILDREN_EDGE, PARENT_EDGE
from tinytown_beads.json_text import as_object
from tinytown_beads.task_as_bead import OURS

from tinytown_gastown.bd.board import Board

_ICONS = {
    "open": "○", "in_progress": "◐", "blocked": "●", "closed": "✓", "deferred": "❄", "pinned": "P", "hooked": "◇",
}  # fmt: skip
_TEXTS = (
    ("DESCRIPTION", "description"),
    ("DESIGN", "design"),
    ("ACCEPTANCE CRITERIA", "acceptance_criteria"),
    ("NOTES", "notes"),
)


def icon(board: Board, id_: str) -> str:
    """The sign of an issue's status."""
    return _ICONS.get(board.beads[id_].status, "?")


def line_of(board: Board, id_: str) -> str:
    """An issue on one line."""
    bead = board.beads[id_]
    labels = f" [{' '.join(bead.labels)}]" if bead.labels else ""
    assignee = board.records[id_].get("assignee")
    return (
        f"{icon(board, id_)} {id_} [P{bead.priority}] [{bead.issue_type}] {bead.status}"
        f"{f' @{assignee}' if assignee else ''}{labels} - {bead.title}"
    )


def short(board: Board, id_: str) -> str:
    """An issue in a few words."""
    bead = board.beads[id_]
    kind = "" if bead.issue_type == "task" else f" [{bead.issue_type}]"
    return f"{icon(board, id_)} {id_} P{bead.priority}{kind} {bead.title}"


def tree(board: Board, ids: Sequence[str]) -> Iterator[str]:
    """The issues with their children below them."""
    wanted = set(ids)
    below: dict[str, list[str]] = {}
    for id_ in ids:
        parent = board.beads[id_].parent
        below.setdefault(parent if parent in wanted and parent != id_ else "", []).append(id_)
    drawn: set[str] = set()

    def draw(id_: str, stem: str, last: bool | None) -> Iterator[str]:
        drawn.add(id_)
        branch = "" if last is None else "└── " if last else "├── "
        yield f"{stem}{branch}{short(board, id_)}"
        children = [child for child in below.get(id_, ()) if child not in drawn]
        deeper = stem + ("" if last is None else "    " if last else "│   ")
        for number, child in enumerate(children):
            yield from draw(child, deeper, number == len(children) - 1)

    for id_ in below.get("", ()):
        yield from draw(id_, "", None)
    for id_ in ids:  # parents in a circle, which files may have
        if id_ not in drawn:
            yield from draw(id_, "", None)


def page(board: Board, id_: str, *, long: bool = False) -> Iterator[str]:
    """An issue in full."""
    bead, record = board.beads[id_], board.records[id_]
    kind = "" if bead.issue_type == "task" else f" [{bead.issue_type.upper()}]"
    yield f"{icon(board, id_)} {id_}{kind} · {bead.title}   [P{bead.priority} · {bead.status.upper()}]"
    people = [
        ("Owner", record.get("owner") or record.get("created_by")),
        ("Assignee", record.get("assignee")),
        ("Type", bead.issue_type),
    ]
    yield " · ".join(f"{name}: {value}" for name, value in people if value)
    dates = (("Created", "created_at"), ("Updated", "updated_at"), ("Started", "started_at"), ("Closed", "closed_at"),
             ("Due", "due_at"), ("Deferred", "defer_until"))  # fmt: skip
    yield " · ".join(f"{name}: {str(record[key])[:10]}" for name, key in dates if record.get(key))
    if record.get("close_reason"):
        yield f"Close reason: {record['close_reason']}"
    for heading, key in _TEXTS:
        if record.get(key) or key == "description":
            yield from ("", heading, *(f"  {line}" for line in str(record.get(key) or "(none)").splitlines()))
    if bead.labels:
        yield from ("", f"LABELS: {', '.join(bead.labels)}")
    metadata = {key: value for key, value in (as_object(record.get("metadata")) or {}).items() if key != OURS}
    if metadata:
        yield from ("", "METADATA", *(f"  {key}: {value}" for key, value in metadata.items()))
    yield from _neighbours(board, id_)
    comments = board.comments(id_)
    if comments:
        yield from ("", "COMMENTS")
        for comment in comments:
            yield f"  [{comment.get('author')}] at {str(comment.get('created_at'))[:16].replace('T', ' ')}"
            yield from (f"    {line}" for line in str(comment.get("text")).splitlines())
    if long:
        details = [(key, record.get(key)) for key in ("estimated_minutes", "spec_id", "external_ref", "wisp_type", "await_type",
                                                       "await_id", "source_system")]  # fmt: skip
        known = [f"  {key}: {value}" for key, value in details if value not in (None, "")]
        yield from ("", "EXTENDED DETAILS", *known) if known else ()


def _neighbours(board: Board, id_: str) -> Iterator[str]:
    bead = board.beads[id_]
    if bead.parent in board.beads:
        yield from ("", "PARENT", f"  ↑ {short(board, bead.parent)}")
    waits = [
        edge.target
        for edge in bead.edges
        if edge.type in BLOCKING_EDGES | {CHILDREN_EDGE} and edge.target in board.beads
    ]
    yield from _section("DEPENDS ON", "→", board, waits)
    children = board.children(id_)
    yield from _section("CHILDREN", "↳", board, children)
    if children:
        closed = sum(board.beads[child].closed for child in children)
        yield f"  {closed}/{len(children)} complete ({100 * closed // len(children)}%)"
    blocks = [key for key, type_ in board.dependents(id_) if type_ in BLOCKING_EDGES | {CHILDREN_EDGE}]
    yield from _section("BLOCKS", "←", board, blocks)
    others = [
        f"{edge.type} {short(board, edge.target)}"
        for edge in bead.edges
        if edge.type not in BLOCKING_EDGES | {CHILDREN_EDGE, PARENT_EDGE} and edge.target in board.beads
    ]
    if others:
        yield from ("", "RELATED", *(f"  ↔ {line}" for line in others))


def _section(heading: str, sign: str, board: Board, ids: Iterable[str]) -> Iterator[str]:
    lines = [f"  {sign} {short(board, id_)}" for id_ in ids]
    if lines:
        yield from ("", heading, *lines)
