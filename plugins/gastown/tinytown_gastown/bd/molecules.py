"""``tt-bd mol`` and ``cook``: formulas poured into issues, their progress and their end.

A poured molecule is a run of the formula: an issue of the type molecule, and a task for each step. A wisp is the same in
`wisps`: its steps are worked through by the agent that created it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from tinytown.errors import NotFound, UsageError
from tinytown_beads.fields import PARENT_EDGE
from tinytown_beads.patch_record import edge_record
from tinytown_beads.ready import ready

from tinytown_gastown.bd.board import Board, Record, cli_context, stamp_now
from tinytown_gastown.bd.dependencies import add_edge
from tinytown_gastown.bd.inputs import actor_of, clean_input
from tinytown_gastown.bd.output import Output, common_options, pass_output
from tinytown_gastown.bd.setup import formula_head
from tinytown_gastown.bd.status import close_issue, remove_issues
from tinytown_gastown.bd.texts import line_of, short
from tinytown_gastown.formulas.commands import cooked_formula, planned_run
from tinytown_gastown.formulas.cooked import Cooked
from tinytown_gastown.formulas.library import FormulaLibrary
from tinytown_gastown.formulas.run import create_run

_VAR = click.option("--var", "words", multiple=True, metavar="NAME=VALUE", help="Set a variable.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only show what would be done.")


@click.command("cook")
@click.argument("name", metavar="FORMULA")
@_VAR
@_DRY_RUN
@click.option("--mode", help="Has no effect: values are filled in where they are given.")
@click.option("--prefix", "--search-path", help="Has no effect.")
@click.option("--persist", "--force", "persist", is_flag=True, help="Has no effect: nothing is stored.")
@common_options
@pass_output
def cook(
    out: Output, name: str, words: tuple[str, ...], dry_run: bool, mode: str | None, prefix: str | None, persist: bool
) -> None:
    """Show the steps of a formula, with its variables filled in."""
    with cli_context(out.directory).open_town() as town:
        library = FormulaLibrary(town.root)
        cooked = cooked_formula(library, name, words, strict=bool(words))
        head = formula_head(library.find(name))
    lines = [f"Formula: {cooked.formula} ({len(cooked.steps)} steps)"]
    for step in cooked.steps:
        needs = f" (needs {', '.join(step.needs)})" if step.needs else ""
        lines.append(f"  {step.id}: {step.title}{needs}")
    out.answer(head | _cooked_shape(cooked), lines)


def _cooked_shape(cooked: Cooked) -> Record:
    steps = [
        {
            "id": step.id, "title": step.title, "description": step.description, "type": step.type,
            "priority": 2 if step.priority is None else step.priority, "needs": list(step.needs), "labels": list(step.labels),
            "parent": step.parent or None, "gate": step.gate,
        }
        for step in cooked.steps
    ]  # fmt: skip
    return {
        "formula": cooked.formula, "proto_id": cooked.formula, "title": cooked.title, "type": cooked.kind, "steps": steps,
        "created": len(steps), "variables": list(cooked.values),
    }  # fmt: skip


@click.group("mol")
@common_options
def mol() -> None:
    """Molecules: formulas at work."""


@mol.command("pour")
@click.argument("name", metavar="FORMULA")
@_VAR
@_DRY_RUN
@click.option("--assignee", default="", help="Who works on its steps.")
@common_options
@pass_output
def pour(out: Output, name: str, words: tuple[str, ...], dry_run: bool, assignee: str) -> None:
    """Create a task for each step of a formula, below an issue of the type molecule."""
    if not dry_run:
        out.refuse_readonly()
    context = cli_context(out.directory)
    with context.open_town() as town:
        board = Board(town)
        cooked = cooked_formula(FormulaLibrary(town.root), name, words)
        root = board.fresh_id(infix="mol-")
        if dry_run:
            out.answer(_cooked_shape(cooked), [f"Would pour {name}: {len(cooked.steps)} steps"])
            return
        board.add(_root(board, out, root, cooked))
        board.load()
        run = planned_run(context, town, name, root, words, agent=assignee, on=board.task_of(root).id)
        create_run(town, run, owner=actor_of(out, town))
    ids = {step.step: step.id for step in run.tasks}
    answer = _created(root, cooked, ids) | {"attached": 0, "phase": "liquid"}
    out.answer(answer, [f"✓ Poured mol: created {len(ids) + 1} issues", f"  Root issue: {root}", "  Phase: liquid"])


mol.add_command(pour, "spawn")
mol.add_command(pour, "run")


def _created(root: str, cooked: Cooked, ids: Mapping[str, str]) -> Record:
    """What was created of a formula: the root and, by step, the issues below it."""
    by_step = {f"{cooked.formula}.{step}": id_ for step, id_ in ids.items()}
    return {"new_epic_id": root, "id_mapping": {cooked.formula: root, **by_step}, "created": len(ids) + 1}


def _root(board: Board, out: Output, id_: str, cooked: Cooked, **more: Any) -> Record:
    now = stamp_now()
    return {
        "_type": "issue", "id": id_, "title": cooked.title or cooked.formula, "status": "open", "priority": 2,
        "issue_type": "molecule", "created_at": now, "updated_at": now, "created_by": actor_of(out, board.town),
        "source_formula": cooked.formula, **more,
    }  # fmt: skip


class _WispGroup(click.Group):
    """``mol wisp FORMULA`` is ``mol wisp create FORMULA``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = next((arg for arg in args if not arg.startswith("-")), "")
        if word not in self.commands and word:
            args = ["create", *args]
        return super().resolve_command(ctx, args)


@mol.group("wisp", cls=_WispGroup)
@common_options
def wisp() -> None:
    """Wisps: molecules that leave nothing behind."""


@wisp.command("create")
@click.argument("name", metavar="FORMULA")
@_VAR
@_DRY_RUN
@click.option("--root-only", is_flag=True, help="Only the molecule itself, without its steps.")
@common_options
@pass_output
def wisp_create(out: Output, name: str, words: tuple[str, ...], dry_run: bool, root_only: bool) -> None:
    """Create a wisp: the steps of a formula, for the one who creates it."""
    if not dry_run:
        out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        cooked = cooked_formula(FormulaLibrary(town.root), name, words)
        root = board.fresh_id(infix="wisp-")
        records = [_root(board, out, root, cooked, ephemeral=True)]
        records += [] if root_only else _steps(board, out, root, cooked)
        if dry_run:
            out.answer(_cooked_shape(cooked), [f"Would create a wisp of {name}: {len(cooked.steps)} steps"])
            return
        board.add_wisps(records)
    ids = {str(record["id"]).removeprefix(f"{root}."): str(record["id"]) for record in records[1:]}
    answer = _created(root, cooked, ids) | {"phase": "vapor"}
    out.answer(answer, [f"✓ Created wisp: {len(records)} issues", f"  Root issue: {root}", "  Phase: vapor"])


def _steps(board: Board, out: Output, root: str, cooked: Cooked) -> list[Record]:
    records: list[Record] = []
    for step in cooked.steps:
        id_ = f"{root}.{step.id}"
        edges = [edge_record(id_, f"{root}.{step.parent}" if step.parent else root, PARENT_EDGE, board.now)]
        edges += [edge_record(id_, f"{root}.{need}", "blocks", board.now) for need in step.needs]
        record = _root(board, out, id_, cooked) | {
            "title": step.title, "description": step.description, "issue_type": step.type, "ephemeral": True,
            "priority": 2 if step.priority is None else step.priority, "labels": sorted(step.labels), "dependencies": edges,
        }  # fmt: skip
        record |= {"assignee": step.assignee} if step.assignee else {}
        records.append({key: value for key, value in record.items() if value not in ("", [])})
    return records


@wisp.command("list")
@click.option("--all", "everything", is_flag=True, help="Include closed ones.")
@common_options
@pass_output
def wisp_list(out: Output, everything: bool) -> None:
    """List the wisps."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [
            id_ for id_ in board.wisps if not board.beads[id_].parent and (everything or not board.beads[id_].closed)
        ]
        shapes = [board.brief(id_) | {"type": board.beads[id_].issue_type} for id_ in ids]
        lines = [line_of(board, id_) for id_ in ids]
    out.answer({"wisps": shapes, "count": len(ids)}, lines or "No wisps found")


@wisp.command("gc")
@click.option("--closed", "--all", "--force", "closed", is_flag=True, help="Every closed one.")
@click.option("--age", help="Has no effect: closed wisps are removed after their time.")
@_DRY_RUN
@common_options
@pass_output
def wisp_gc(out: Output, closed: bool, age: str | None, dry_run: bool) -> None:
    """Remove closed wisps."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [id_ for id_ in board.wisps if closed and board.beads[id_].closed]
        if not dry_run:
            out.refuse_readonly()
            board.remove_wisps(ids)
    out.answer({"cleaned_ids": ids, "cleaned_count": len(ids), "dry_run": dry_run}, f"✓ Cleaned {len(ids)} wisps")


@mol.command("list")
@common_options
@pass_output
def list_(out: Output) -> None:
    """List the open molecules."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [id_ for id_, bead in board.beads.items() if bead.issue_type == "molecule" and not bead.closed]
        out.answer(
            [board.brief(id_) | _progress(board, id_) for id_ in ids],
            [short(board, id_) for id_ in ids] or "No molecules found.",
        )


@mol.command("show")
@click.argument("word", metavar="ID")
@click.option("-p", "--parallel", is_flag=True, help="Has no effect.")
@common_options
@pass_output
def show(out: Output, word: str, parallel: bool) -> None:
    """Show a molecule with its steps."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        root = board.find(word)
        steps = board.below(root)
        answer = {
            "root": board.brief(root), "issues": [board.brief(id_) for id_ in (root, *steps)], "is_compound": False,
            "dependencies": [edge for id_ in steps for edge in board.records[id_].get("dependencies") or ()],
        }  # fmt: skip
        lines = [short(board, root), f"  Steps: {len(steps)}", *(f"  {short(board, id_)}" for id_ in steps)]
    out.answer(answer, lines)


@mol.command("current")
@click.argument("word", metavar="[ID]", required=False)
@click.option("--for", "agent", default="", help="The molecules of this assignee.")
@click.option("--limit", type=click.IntRange(0), default=0, help="The maximum number of steps; 0 for all.")
@click.option("--range", "span", help="Has no effect.")
@common_options
@pass_output
def current(out: Output, word: str | None, agent: str, limit: int, span: str | None) -> None:
    """Show where the work on a molecule is: the steps that are done, in progress and next."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        roots = [_root_of(board, board.find(word))] if word else _active(board, agent or actor_of(out, town))
        rows = [_position(board, root) for root in roots]
        lines = [line for row in rows for line in _position_lines(board, row, limit)]
        nobody = f"No molecules in progress for {agent or actor_of(out, town)}."
    out.answer(rows, lines or nobody)


def _active(board: Board, actor: str) -> list[str]:
    """The molecules with a step in progress for somebody, or created by them and open."""
    roots: list[str] = []
    for bead in board.beads.values():
        mine = board.is_same_person(bead.text("assignee"), actor) and bead.status in ("in_progress", "hooked")
        made = bead.issue_type == "molecule" and not bead.closed and bead.text("created_by") == actor
        root = _root_of(board, bead.id) if mine or made else ""
        if root and board.children(root) and root not in roots:
            roots.append(root)
    return roots


def _root_of(board: Board, id_: str) -> str:
    """The topmost parent of an issue."""
    seen = {id_}
    while (parent := board.beads[id_].parent) in board.beads and parent not in seen:
        seen.add(parent)
        id_ = parent
    return id_


def _position(board: Board, root: str) -> Record:
    able = {bead.id for bead in ready(board.beads, board.now, ephemeral=True)}
    rows: list[Record] = []
    for id_ in board.below(root):
        bead = board.beads[id_]
        state = (
            "done"
            if bead.closed
            else "current"
            if bead.status == "in_progress"
            else "ready"
            if id_ in able
            else "blocked"
        )
        rows.append({"issue": board.brief(id_), "status": state, "is_current": state == "current"})
    following = next((row["issue"] for row in rows if row["status"] == "ready"), None)
    working = next((row["issue"] for row in rows if row["is_current"]), None)
    return {
        "molecule_id": root, "molecule_title": board.beads[root].title, "assignee": board.records[root].get("assignee") or "",
        "current_step": working, "next_step": following, "steps": rows, **_progress(board, root),
    }  # fmt: skip


def _progress(board: Board, root: str) -> Record:
    steps = board.below(root)
    return {"completed": sum(board.beads[id_].closed for id_ in steps), "total": len(steps)}


def _position_lines(board: Board, row: Record, limit: int) -> list[str]:
    lines = [f"You're working on molecule {row['molecule_id']}: {row['molecule_title']}"]
    lines += [f"  [{step['status']}] {short(board, step['issue']['id'])}" for step in row["steps"][: limit or None]]
    return [*lines, f"Progress: {row['completed']}/{row['total']} steps complete"]


@mol.command("progress")
@click.argument("word", metavar="ID")
@common_options
@pass_output
def progress(out: Output, word: str) -> None:
    """Show the progress of a molecule."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        root = board.find(word)
        counts = _progress(board, root)
        title = board.beads[root].title
    percent = round(100 * counts["completed"] / counts["total"], 1) if counts["total"] else 0
    answer = {"molecule_id": root, "molecule_title": title, **counts, "percent": percent}
    out.answer(answer, f"{root}: {counts['completed']}/{counts['total']} steps ({percent}%)")


@mol.command("burn")
@click.argument("words", nargs=-1, required=True, metavar="ID...")
@click.option("--force", "-f", is_flag=True, help="Has no effect: nothing is asked.")
@_DRY_RUN
@common_options
@pass_output
def burn(out: Output, words: tuple[str, ...], force: bool, dry_run: bool) -> None:
    """Delete a molecule with its steps, without a digest."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [id_ for word in words for root in [board.find(word)] for id_ in (*board.below(root)[::-1], root)]
        if not dry_run:
            out.refuse_readonly()
            remove_issues(board, ids)
    answer = {"molecule_id": words[0], "deleted_ids": ids, "deleted_count": len(ids), "dry_run": dry_run}
    out.answer(answer, f"{'Would burn' if dry_run else '✓ Burned'} {' '.join(words)}: {len(ids)} issues")


@mol.command("squash")
@click.argument("word", metavar="ID")
@click.option("--summary", default="", help="The text of the digest; - reads standard input.")
@click.option("--keep-children", is_flag=True, help="Keep the steps of a wisp.")
@click.option("--no-digest", is_flag=True, help="Create no digest.")
@_DRY_RUN
@common_options
@pass_output
def squash(out: Output, word: str, summary: str, keep_children: bool, no_digest: bool, dry_run: bool) -> None:
    """Close a molecule, and replace the steps of a wisp by one digest."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        root = board.find(word)
        steps = board.below(root)
        title = f"Digest: {board.beads[root].title}"[:500]
        if dry_run:
            out.answer(
                {"molecule_id": root, "squashed_ids": steps, "dry_run": True},
                f"Would squash {root}: {len(steps)} steps",
            )
            return
        out.refuse_readonly()
        text = clean_input(summary) if summary else "\n".join(short(board, id_) for id_ in steps)
        gone = [id_ for id_ in (*steps, root) if id_ in board.wisps] if not keep_children else []
        digest = ""
        if not no_digest:
            digest = board.fresh_id()
            closed = {"status": "closed", "closed_at": stamp_now(), "close_reason": f"Squashed from {root}"}
            record = _root(
                board, out, digest, Cooked(formula="", title=title, kind="", values={}, steps=()), ephemeral=True
            )
            board.add(record | closed | {"issue_type": "task", "description": text, "wisp_type": "recovery"})
        if root not in board.wisps:
            close_issue(board, root, text)
        board.remove_wisps(gone)
    answer = {
        "molecule_id": root, "digest_id": digest, "squashed_ids": steps, "squashed_count": len(steps),
        "deleted_count": len(gone), "kept_children": keep_children,
    }  # fmt: skip
    out.answer(answer, f"✓ Squashed {root}: {len(steps)} steps{f', digest {digest}' if digest else ''}")


@mol.command("bond")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--type", "type_", type=click.Choice(["sequential", "parallel", "conditional"]), default="sequential", help="How."
)
@_VAR
@click.option("--ephemeral", "--pour", "ephemeral", is_flag=True, help="Has no effect on issues that exist.")
@click.option("--ref", "--as", "reference", help="Has no effect.")
@_DRY_RUN
@common_options
@pass_output
def bond(
    out: Output,
    first: str,
    second: str,
    type_: str,
    words: tuple[str, ...],
    ephemeral: bool,
    reference: str | None,
    dry_run: bool,
) -> None:
    """Join two molecules: B waits for A, or becomes part of it."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        for word in (first, second):
            if not board.is_known(word) and word in FormulaLibrary(town.root).files():
                raise UsageError(f"{word} is a formula", hint="pour it first: tt-bd mol pour, or tt-bd mol wisp")
        one, other = board.find(first), board.find(second)
        edge = {"sequential": "blocks", "conditional": "conditional-blocks"}.get(type_, PARENT_EDGE)
        if not dry_run:
            out.refuse_readonly()
            add_edge(board, other, one, edge)
    answer = {"result_id": one, "result_type": "compound_molecule", "bond_type": type_, "spawned": 0}
    out.answer(answer, f"{'Would bond' if dry_run else '✓ Bonded'} {other} to {one} ({type_})")


@mol.command("ready")
@click.option("--gated", is_flag=True, help="Has no effect: they are always so.")
@common_options
@pass_output
def mol_ready(out: Output, gated: bool) -> None:
    """List the molecules with a step that is ready."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        able = [bead.id for bead in ready(board.beads, board.now, ephemeral=True)]
        roots = list(dict.fromkeys(_root_of(board, id_) for id_ in able if _root_of(board, id_) != id_))
        out.answer(
            {"molecules": [board.brief(id_) for id_ in roots], "count": len(roots)},
            [short(board, id_) for id_ in roots] or "No molecules are ready.",
        )


@mol.command("stale")
@common_options
@pass_output
def mol_stale(out: Output) -> None:
    """List the molecules whose steps are all closed while they are open."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [
            id_ for id_, bead in board.beads.items()
            if not bead.closed and bead.issue_type in ("molecule", "epic")
            and (counts := _progress(board, id_))["total"] and counts["total"] == counts["completed"]
        ]  # fmt: skip
        out.answer(
            [board.brief(id_) | _progress(board, id_) for id_ in ids],
            [short(board, id_) for id_ in ids] or "No stale molecules.",
        )


@mol.command("seed")
@click.argument("names", nargs=-1, metavar="[FORMULA...]")
@click.option("--patrol", is_flag=True, help="Has no effect.")
@common_options
@pass_output
def seed(out: Output, names: tuple[str, ...], patrol: bool) -> None:
    """Check that formulas can be found."""
    with cli_context(out.directory).open_town() as town:
        library = FormulaLibrary(town.root)
        for name in names:
            if name not in library.files():
                raise NotFound(f"no formula called {name[:80]!r}", hint="tt-bd formula list shows them")
    out.answer({"status": "ok", "formulas": list(names)}, "✓ All formulas are there")
