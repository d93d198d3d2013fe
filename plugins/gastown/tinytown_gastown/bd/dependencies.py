"""``tt-bd dep``: which issue waits for which."""

from __future__ import annotations

import click
from tinytown.errors import NotFound, UsageError
from tinytown_beads.extra_fields import other_edges
from tinytown_beads.fields import BLOCKING_EDGES, PARENT_EDGE
from tinytown_beads.ready import graph_of
from tinytown_cli import administration

from tinytown_gastown.bd.board import Board, cli_context, stamp_now
from tinytown_gastown.bd.output import Output, common_options, pass_output
from tinytown_gastown.bd.queries import line_of


@click.group("dep")
@common_options
def dep() -> None:
    """Show and change dependencies."""


@dep.command("add")
@click.argument("word", metavar="ID")
@click.argument("need", metavar="DEPENDS-ON-ID")
@click.option(
    "-t", "--type", "type_", default="blocks", help="The type: blocks, parent-child, related, discovered-from, ..."
)
@common_options
@pass_output
def add(out: Output, word: str, need: str, type_: str) -> None:
    """Add a dependency of ID on another issue."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        source, target = board.find(word), board.find(need)
        task = board.task_of(source)
        if source == target:
            raise UsageError("an issue cannot depend on itself")
        if type_ in BLOCKING_EDGES:
            town.run(administration.add_need(town.operations.keys, task.id, board.task_of(target).id))
        elif type_ == PARENT_EDGE:
            town.run(town.operations.update_task(task.id, parent=board.task_of(target).id))
        else:
            edge = {"issue_id": source, "depends_on_id": target, "type": type_, "created_at": stamp_now()}
            loose = other_edges(board.records[source].get("dependencies"), source)
            board.set_extra_fields(source, {"dependencies": [*loose, edge]})
    result = {"status": "added", "issue_id": source, "depends_on_id": target, "type": type_}
    out.answer(result, f"Added dependency: {source} depends on {target} ({type_})")


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
        task = board.task_of(source)
        if all(edge.target != target for edge in board.beads[source].edges):
            raise NotFound(f"no dependency of {source} on {target}")
        other = board.tasks.get(target)
        if other and other.id in task.needs:
            town.run(town.operations.update_task(task.id, needs=[id_ for id_ in task.needs if id_ != other.id]))
        if other and other.id == task.parent:
            town.run(town.operations.update_task(task.id, parent=""))
        loose = other_edges(board.records[source].get("dependencies"), source)
        left = [edge for edge in loose if edge.get("depends_on_id") != target]
        if left != loose:
            board.set_extra_fields(source, {"dependencies": left})
    result = {"status": "removed", "issue_id": source, "depends_on_id": target}
    out.answer(result, f"Removed dependency: {source} no longer depends on {target}")


@dep.command("list")
@click.argument("word", metavar="ID")
@common_options
@pass_output
def list_(out: Output, word: str) -> None:
    """List the dependencies of ID."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        edges = [edge for edge in board.beads[board.find(word)].edges if edge.target in board.beads]
        shapes = [board.shape(edge.target) | {"dependency_type": edge.type} for edge in edges]
        lines = [f"{line_of(board, edge.target)} ({edge.type})" for edge in edges]
    out.answer(shapes, lines or "No dependencies.")


@dep.command("tree")
@click.argument("word", metavar="ID")
@common_options
@pass_output
def tree(out: Output, word: str) -> None:
    """Show the dependencies of ID as a tree."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        graph, root = graph_of(board.beads), board.find(word)
        visited: list[tuple[str, int]] = []
        stack, seen = [(root, 0)], set[str]()
        while stack:
            id_, depth = stack.pop()
            visited.append((id_, depth))
            if id_ not in seen:
                seen.add(id_)
                stack += [(edge.target, depth + 1) for edge in reversed(graph.edges.get(id_, ()))]
        shapes = [board.shape(id_) | {"depth": depth} for id_, depth in visited]
        lines = [f"{'  ' * depth}{line_of(board, id_)}" for id_, depth in visited]
    out.answer(shapes, lines)


@dep.command("cycles")
@common_options
@pass_output
def cycles(out: Output) -> None:
    """Look for cycles; a town refuses to create one."""
    with cli_context(out.directory).open_town() as town:
        Board(town)
    out.answer([], "No dependency cycles detected.")
