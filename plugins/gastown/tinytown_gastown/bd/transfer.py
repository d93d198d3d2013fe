"""``tt-bd import`` and ``tt-bd export``: the same files as ``tt beads import`` and ``export``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from tinytown.errors import UsageError
from tinytown_beads.files import read_file, replace_file

from tinytown_gastown.bd.board import Board, cli_context
from tinytown_gastown.bd.output import Output, common_options, pass_output


@click.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("-i", "--input", "given", type=click.Path(path_type=Path), help="The file.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@common_options
@pass_output
def import_(out: Output, file: Path | None, given: Path | None, dry_run: bool) -> None:
    """Import the issues of a file."""
    from tinytown_beads.syncing import import_file

    out.refuse_readonly()
    path = given or file
    if path is None:
        raise UsageError("file required")
    with cli_context(out.directory).open_town() as town:
        report = import_file(Board(town).store, path, dry_run=dry_run)
    out.answer(report.shape, report.lines())
    if not report.is_complete:
        click.get_current_context().exit(1)


@click.command("export")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The output file.  [default: standard output]")
@click.option("--all", "everything", is_flag=True, help="Has no effect: everything is exported.")
@common_options
@pass_output
def export(out: Output, output: Path | None, everything: bool) -> None:
    """Write the town as beads, each on a line: what `tt beads export` writes."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
    if output is None:
        sys.stdout.buffer.write(board.document)
        sys.stdout.flush()
        return
    replace_file(output, board.document, was=read_file(output))
    number = len(board.beads)
    out.answer({"exported": number, "output": str(output)}, f"Exported {number} issues to {output}")
