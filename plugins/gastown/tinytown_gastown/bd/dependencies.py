"""``tt-bd dep`` and its short forms: which issue waits for which, and other edges."""

from __future__ import annotations

import click
from tinytown.errors import NotFound, UsageError
from tinytown_beads.extra_fields import other_edges
from tinytown_beads.fields import BLOCKING_EDGES, PARENT_EDGE
from tinytown_beads.patch_record import edge_record
from tinytown_cli import administration

from tinytown_gastown.bd.board import Board, Record, cli_context
from tinytown_gastown.bd.inputs import json_object, text_of_file
from tinytown_gastown.bd.output import Output, common_options, pass_output
from tinytown_gastown.bd.status import close_issue
from tinytown_gastown.bd.texts import line_of


@click.group("dep")
@common_options
def dep() -> None:
    """Show and change dependencies."""


@dep.command("add")
@click.argument("word", metavar="ID", required=False)
@click.argument("need", metavar="DEPENDS-ON-ID", required=False)
@click.option("--blocked-by", "--depends-on", "blocker", help="The issue that it depends on.")
@click.option("-t", "--type", "type_", default="blocks", help="blocks, parent-child, related, discovered-from, ...")
@click.option("--file", "path", metavar="FILE", help="Edges as JSON lines; - is standard input.")
@click.option("--no-cycle-check", is_flag=True, help="Has no effect: a town refuses every cycle.")
@common_options
@pass_output
def add(
    out: Output,
    word: str | None,
    need: str | None,
    blocker: str | None,
    type_: str,
    path: str | None,
    no_cycle_check: bool,
) -> None:
    """Add a dependency of ID on another issue."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        if path:
            edges = [_edge_in(line) for line in text_of_file(path).splitlines() if line.strip()]
        elif word and (need or blocker):
            edges = [(word, need or blocker or "", type_)]
        else:
            raise UsageError("expected ID and DEPENDS-ON-ID, or --file")
        results = [add_edge(board, *edge) for edge in edges]
    lines = [
        f"✓ Added dependency: {row['issue_id']} depends on {row['depends_on_id']} ({row['type']})" for row in results
    ]
    out.answer(results if path else results[0], lines)


def _edge_in(line: str) -> tuple[str, str, str]:
    record = json_object(line)
    names = (("from", "issue_id"), ("to", "depends_on_id"), ("type", "type"))
    source, target, type_ = (str(record.get(short) or record.get(long) or "") for short, long in names)
    if not source or not target:
        raise UsageError(f"expected from and to in {line[:80]!r}")
    return source, target, type_ or "blocks"


def add_edge(board: Board, word: str, need: str, type_: str) -> Record:
    """Add a dependency; what bd answers. Raises: UsageError; Refused for a cycle."""
    town = board.town
    source, target = board.find(word), board.find(need)
    answer = {"status": "added", "issue_id": source, "depends_on_id": target, "type": type_}
    if source == target:
        raise UsageError(f"cannot add self-dependency: {source} cannot depend on itself")
    if source in board.wisps:
        edges = [*(board.wisps[source].get("dependencies") or ()), edge_record(source, target, type_, board.now)]
        board.set_extra_fields(source, {"dependencies": edges})
        return answer
    task = board.task_of(source)
    if type_ in BLOCKING_EDGES:
        town.run(administration.add_need(town.operations.keys, task.id, board.task_of(target).id))
    elif type_ == PARENT_EDGE:
        town.run(administration.update_task(town.operations, task.id, parent=board.task_of(target).id))
    else:
        edge = edge_record(source, target, type_, board.now)
        loose = other_edges(board.records[source].get("dependencies"), source)
        board.set_extra_fields(source, {"dependencies": [*loose, edge]})
    return answer


@dep.command("remove")
@click.argument("word", metavar="ID")
@click.argument("need", metavar="DEPENDS-ON-ID")
@common_options
@pass_output
def remove(out: Output, word: str, need: str) -> None:
    """Remove a dependency of ID."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        source, target = board.find(word), board.find(need)
        if all(edge.target != target for edge in board.beads[source].edges):
            raise NotFound(f"no dependency of {source} on {target}")
        if source in board.wisps:
            edges = board.wisps[source].get("dependencies") or ()
            left = [edge for edge in edges if edge.get("depends_on_id") != target]
            board.set_extra_fields(source, {"dependencies": left})
        else:
            _remove_edges(board, source, target)
    result = {"status": "removed", "issue_id": source, "depends_on_id": target}
    out.answer(result, f"✓ Removed dependency: {source} no longer depends on {target}")


def _remove_edges(board: Board, source: str, target: str) -> None:
    town, task, other = board.town, board.task_of(source), board.tasks.get(target)
    if other and other.id in task.needs:
        needs = [id_ for id_ in task.needs if id_ != other.id]
        town.run(administration.update_task(town.operations, task.id, needs=needs))
    if other and other.id == task.parent:
        town.run(administration.update_task(town.operations, task.id, parent=""))
    loose = other_edges(board.records[source].get("dependencies"), source)
    left = [edge for edge in loose if edge.get("depends_on_id") != target]
    if left != loose:
        board.set_extra_fields(source, {"dependencies": left})


@dep.command("list")
@click.argument("word", metavar="ID")
@click.option(
    "--direction",
    type=click.Choice(["down", "up"]),
    default="down",
    help="down: what it depends on; up: what depends on it.",
)
@click.option("-t", "--type", "type_", default="", help="Only this type.")
@common_options
@pass_output
def list_(out: Output, word: str, direction: str, type_: str) -> None:
    """List the dependencies of ID."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        pairs = [pair for pair in _neighbours(board, board.find(word), direction) if not type_ or pair[1] == type_]
        shapes = [board.neighbour(*pair) for pair in pairs]
        lines = [f"{line_of(board, id_)} via {kind}" for id_, kind in pairs]
    out.answer(shapes, lines or ("No dependents." if direction == "up" else "No dependencies."))


def _neighbours(board: Board, id_: str, direction: str) -> list[tuple[str, str]]:
    """The issues at the other ends of an issue's edges, with their types."""
    if direction == "up":
        return [pair for pair in board.dependents(id_) if pair[0] != id_]
    return [
        (edge.target, edge.type) for edge in board.beads[id_].edges if edge.source == id_ and edge.target in board.beads
    ]


@dep.command("tree")
@click.argument("word", metavar="ID")
@click.option("--direction", type=click.Choice(["down", "up", "both"]), default="down", help="As for list.")
@click.option("--reverse", is_flag=True, help="The same as --direction up.")
@click.option("-d", "--max-depth", type=click.IntRange(1), default=50, help="How deep.")
@click.option("--status", default="", help="Only with this status.")
@click.option("--show-all-paths", is_flag=True, help="Repeat an issue on each of its paths.")
@click.option(
    "--format", "format_", type=click.Choice(["text", "mermaid"]), default="text", help="mermaid: a flowchart."
)
@common_options
@pass_output
def tree(
    out: Output,
    word: str,
    direction: str,
    reverse: bool,
    max_depth: int,
    status: str,
    show_all_paths: bool,
    format_: str,
) -> None:
    """Show the dependencies of ID as a tree."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        root = board.find(word)
        directions = ["down", "up"] if direction == "both" else ["up" if reverse else direction]
        rows = [row for way in directions for row in _walk(board, root, way, max_depth, show_all_paths)]
        rows = [row for row in rows if not status or board.beads[row[0]].status == status]
        shapes = [
            board.brief(id_)
            | {"depth": depth, "parent_id": above, "truncated": False}
            | ({"edge_from_parent": type_} if type_ else {})
            for id_, depth, above, type_ in rows
        ]
        lines = [
            f"{'    ' * depth}{line_of(board, id_)}{f' [{type_}]' if type_ else ''}" for id_, depth, _, type_ in rows
        ]
        if format_ == "mermaid":
            lines = _flowchart(board, rows)
    out.answer(shapes, lines)


def _flowchart(board: Board, rows: list[tuple[str, int, str, str]]) -> list[str]:
    """A Mermaid flowchart: each issue a node, each edge from what is above to what is below."""
    names = {id_: f"n{number}" for number, id_ in enumerate(dict.fromkeys(row[0] for row in rows))}
    nodes = [f'  {names[id_]}["{id_}: {_quoted(board.beads[id_].title)}"]' for id_ in names]
    edges = dict.fromkeys(f"  {names[above]} --> {names[id_]}" for id_, _, above, _ in rows if above in names)
    return ["flowchart TD", *nodes, *edges]


def _quoted(text: str) -> str:
    """Text for a label of Mermaid, in which quotes and angle brackets have a meaning."""
    return " ".join(text.translate({34: "#quot;", 60: "#lt;", 62: "#gt;"}).split())


def _walk(board: Board, root: str, direction: str, max_depth: int, all_paths: bool) -> list[tuple[str, int, str, str]]:
    """The issues of a tree with their depth, the issue above, and the type of the edge to it."""
    rows: list[tuple[str, int, str, str]] = []
    stack = [(root, 0, "", "", frozenset({root}))]
    seen = set[str]()
    while stack:
        id_, depth, above, type_, path = stack.pop()
        rows.append((id_, depth, above, type_))
        if depth >= max_depth or (id_ in seen and not all_paths):
            continue
        seen.add(id_)
        below = [pair for pair in _neighbours(board, id_, direction) if pair[0] not in path]
        stack += [(other, depth + 1, id_, kind, path | {other}) for other, kind in reversed(below)]
    return rows


@dep.command("cycles")
@common_options
@pass_output
def cycles(out: Output) -> None:
    """Find dependency cycles; a town refuses to create one."""
    with cli_context(out.directory).open_town() as town:
        Board(town)
    out.answer([], "✓ No dependency cycles detected")


def _link(name: str, type_: str, help_: str) -> click.Command:
    """A command ``NAME ID OTHER`` that adds an edge of one type."""

    @click.command(name, help=help_)
    @click.argument("word", metavar="ID")
    @click.argument("other", metavar="OTHER-ID")
    @click.option("-t", "--type", "given", default=type_, help="The type of the edge.")
    @common_options
    @pass_output
    def command(out: Output, word: str, other: str, given: str) -> None:
        out.refuse_readonly()
        with cli_context(out.directory).open_town() as town:
            result = add_edge(Board(town), word, other, given)
        out.answer(result, f"✓ Linked {result['issue_id']} to {result['depends_on_id']} ({given})")

    return command


link = _link("link", "blocks", "Make an issue depend on another.")
relate = _link("relate", "relates-to", "Relate two issues.")
dep.add_command(relate)


def _replaced(name: str, flag: str, type_: str, help_: str) -> click.Command:
    """A command that closes an issue in favour of another one."""

    @click.command(name, help=help_)
    @click.argument("word", metavar="ID")
    @click.option(flag, "other", required=True, metavar="ID", help="The other issue.")
    @common_options
    @pass_output
    def command(out: Output, word: str, other: str) -> None:
        out.refuse_readonly()
        with cli_context(out.directory).open_town() as town:
            board = Board(town)
            source, target = board.find(word), board.find(other)
            pair = (target, source) if type_ == "supersedes" else (source, target)
            add_edge(board, *pair, type_)
            board.load()
            reason = f"{name} of {target}" if name == "duplicate" else f"superseded by {target}"
            close_issue(board, source, reason, force=True)
        key = "canonical" if name == "duplicate" else "replacement"
        out.answer({name: source, key: target, "status": "closed"}, f"✓ Closed {source}: {name}, see {target}")

    return command


duplicate = _replaced("duplicate", "--of", "duplicates", "Close an issue as a duplicate of another.")
supersede = _replaced("supersede", "--with", "supersedes", "Close an issue that another one replaces.")
