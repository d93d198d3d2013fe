"""``tt-bd lint``: issues whose texts lack what an issue of their type should say."""

from __future__ import annotations

import click

from tinytown_gastown.bd.board import Board, Record, cli_context
from tinytown_gastown.bd.output import Output, common_options, pass_output

_SECTIONS = {
    "bug": ("Steps to Reproduce", "Acceptance Criteria"),
    "task": ("Acceptance Criteria",),
    "feature": ("Acceptance Criteria",),
    "epic": ("Success Criteria",),
}


@click.command("lint")
@click.argument("words", nargs=-1, metavar="[ID...]")
@click.option("-s", "--status", default="open", help="Only with this status; all for every one.")
@click.option("-t", "--type", "type_", default="", help="Only of this type.")
@common_options
@pass_output
def lint(out: Output, words: tuple[str, ...], status: str, type_: str) -> None:
    """Name the sections that issues lack, by their type; without --json it ends with 1 if there are any."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        beads = [board.beads[board.find(word)] for word in words] or [
            bead
            for bead in board.beads.values()
            if status in ("all", bead.status) and type_ in ("", bead.issue_type) and not bead.text("ephemeral")
        ]
        results: list[Record] = []
        for bead in beads:
            texts = (bead.text("description") + "\n" + bead.text("acceptance_criteria")).lower()
            given = {"Acceptance Criteria"} if bead.text("acceptance_criteria") else set[str]()
            missing = [
                f"## {name}"
                for name in _SECTIONS.get(bead.issue_type or "task", ())
                if name not in given and f"# {name}".lower() not in texts
            ]
            if missing:
                kind = bead.issue_type or "task"
                row: Record = {"id": bead.id, "title": bead.title, "type": kind, "missing": missing}
                results.append({**row, "warnings": len(missing)})
    total = sum(row["warnings"] for row in results)
    lines = [f"Template warnings ({len(results)} issues, {total} warnings):"]
    for row in results:
        lines += [f"{row['id']} [{row['type']}]: {row['title']}", *(f"  Missing: {name}" for name in row["missing"])]
    out.answer(
        {"total": total, "issues": len(results), "results": results},
        lines if results else f"✓ No template warnings found ({len(beads)} issues checked)",
    )
    if results and not out.json:
        raise click.exceptions.Exit(1)
