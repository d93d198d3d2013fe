"""``tt beads from-gastown``: a town for each rig of a Gastown directory; `migrate` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from tinytown.errors import TinytownError, UsageError
from tinytown_cli.public import CliContext, TownCommand, counted, pass_cli_context

if TYPE_CHECKING:
    from tinytown_gastown.migration.code import CodeChoice
    from tinytown_gastown.migration.migrate import RigMove


@click.command(
    "from-gastown",
    cls=TownCommand,
    examples=["tt beads from-gastown ~/gt --dry-run", "tt beads from-gastown ~/gt --to ~/towns"],
)
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--to",
    "into",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Where the new towns are created.  [default: the current directory]",
)
@click.option(
    "--code",
    type=click.Choice(["clone", "link", "none"]),
    default="clone",
    show_default=True,
    help="The rig's repository: a clone of the old town's, one that borrows its objects, or none.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be done.")
@pass_cli_context
def from_gastown(context: CliContext, directory: Path, into: Path, code: CodeChoice, dry_run: bool) -> None:
    """Make a town for each rig of the Gastown town in DIR, with its beads as tasks. DIR is only read.

    Each town is a directory with the rig's name: its code as the old town has it, its beads in .beads/issues.jsonl and its
    formulas. What has no counterpart is listed. First run bd export -o .beads/issues.jsonl in each rig, so that the export is
    complete. Exits with 1 if there is a problem, or a rig or a bead is left out; the rest is migrated.
    """
    from tinytown_gastown.migration.migrate import move_rig, plan_moves
    from tinytown_gastown.migration.source import read_gastown

    old = read_gastown(directory)
    if into.resolve().is_relative_to(old.root):
        raise UsageError(
            f"{into} is inside the old town, which is read only", hint="choose another directory with --to"
        )
    moves = plan_moves(old, into, code)
    with context.progress("making towns"):
        for move in [] if dry_run else moves:
            try:
                move_rig(move, old)
            except TinytownError as error:
                move.skipped = error.message
    shape = {
        "from": str(old.root),
        "dry_run": dry_run,
        "rigs": [move.shape for move in moves],
        "no_place": [{"path": path, "what": what} for path, what in old.no_place],
        "problems": old.problems,
    }
    lines = [line for move in moves for line in _move_lines(move, dry_run=dry_run)]
    lines += [f"not migrated: {path} ({what})" for path, what in old.no_place]
    context.emit(shape, [*lines, *(f"problem: {problem}" for problem in old.problems)])
    if old.problems or not all(move.is_complete for move in moves):
        click.get_current_context().exit(1)


def _move_lines(move: RigMove, *, dry_run: bool) -> list[str]:
    kinds = ", ".join(f"{count} {kind}" for kind, count in move.kinds.items()) or "no beads"
    lines = [f"{'would make' if dry_run else 'made'} {move.directory}: {kinds}"]
    if move.code:
        borrowed = ", which borrows from it: keep the old town" if move.code == "link" else ""
        lines.append(f"  code: a clone of {move.rig.checkout}{borrowed}")
    if move.skipped:
        lines = [f"skipped {move.rig.name}: {move.skipped}"]
    if move.report is not None:
        lines += [f"  {line}" for line in move.report.lines()]
    lines += [f"  {place}: check it for unmerged work" for place in move.rig.work_places]
    lines += [f"  {id_}: changed in both towns since the last run; kept as it is here" for id_ in move.both_changed]
    if move.notes:
        lines.append(f"  memories that became notes: {', '.join(move.notes)}")
    if move.agents:
        lines.append(f"  {counted(len(move.agents), 'agent')} found; create the ones you want with tt spawn")
    return lines
