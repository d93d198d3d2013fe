"""The program `bd`, if it is on PATH and has a database beside the bead file: its changes go into the file, and ours into it.

Runs ``bd export`` and ``bd import`` and nothing else. The town is synced with the file, never with the database.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinytown.errors import BackendUnavailable, TinytownError

from tinytown_beads.bead import moment
from tinytown_beads.fields import DROPPED_KEYS, ISSUE_KEYS
from tinytown_beads.files import read_file
from tinytown_beads.json_text import ABSENT, as_list, as_object, decode
from tinytown_beads.lines import Line, read_lines, with_changes
from tinytown_beads.settings import Settings

_TIMEOUT_S = 120.0
#: Fields that `bd` computes; theirs and ours need not be the same.
_COMPUTED = frozenset({"_type", "dependency_count", "dependent_count", "comment_count", "parent"})
#: What an edge keeps in the database.
_EDGE_KEYS = ("issue_id", "depends_on_id", "type")


class BdCli:
    """One `bd` at work in the directory above `.beads`."""

    def __init__(self, program: str, file: Path) -> None:
        self.program = program
        self.file = file
        self.directory = file.absolute().parent.parent

    def pull(self, lines: Sequence[Line]) -> list[Line]:
        """`lines` with the changes of the database. Lines and fields that it does not have are preserved."""
        with tempfile.TemporaryDirectory(prefix="tt-bd-") as scratch:
            path = Path(scratch) / "export.jsonl"
            self._run("export", "--all", "-o", str(path))
            exported = read_lines(read_file(path) or b"")
        theirs = {line.key: line for line in exported if line.bead}
        here = {line.key for line in lines if line.kind in ("bead", "tombstone")}
        merged = [
            with_changes(line, _newer_fields(line, theirs[line.key])) if line.bead and line.key in theirs else line
            for line in lines
        ]
        if merged and len(here) < len(here | set(theirs)):
            merged[-1] = merged[-1].ended()
        return merged + [line for key, line in theirs.items() if key not in here]

    def push(self) -> tuple[str, ...]:
        """Import the file into the database; returns what `bd` skipped, in its own words."""
        output = self._run("import", str(self.file.absolute()), "--json")
        try:
            result = as_object(decode(output)) or {}
        except ValueError:
            return ()
        result = as_object(result.get("data")) or result
        stale = [f"{bead_id}: bd has a newer one" for bead_id in as_list(result.get("stale_skipped_ids")) or []]
        return (*stale, *map(str, as_list(result.get("skipped_dependencies")) or []))

    def _run(self, *words: str) -> str:
        """What `bd` prints. Raises: BackendUnavailable if it cannot be started; TinytownError if it fails or hangs."""
        try:
            done = subprocess.run(
                [self.program, *words],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except OSError as error:
            raise BackendUnavailable(
                f"bd cannot be started: {error.strerror}", hint='set bd = "never" in [plugins.beads] to disable bd'
            ) from error
        except subprocess.TimeoutExpired as error:
            raise TinytownError(f"bd {words[0]} did not end within {_TIMEOUT_S:.0f} s", code="bd_failed") from error
        if done.returncode:
            output = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
            raise TinytownError(
                f"bd {words[0]} ended with {done.returncode}: {output[-1][:300] if output else 'no output'}",
                hint='add types with bd config set types.custom, or set bd = "never" in [plugins.beads]',
                code="bd_failed",
            )
        return done.stdout.decode("utf-8", "replace")


def find_bd(file: Path, settings: Settings) -> BdCli | None:
    """The `bd` for a sync of `file`; None without a program, without a database, or if the settings disable it."""
    database = file.parent.name == ".beads" and (file.parent / "metadata.json").is_file()
    program = shutil.which("bd") if settings.bd == "auto" and database else None
    return BdCli(os.path.abspath(program), file) if program else None


def _newer_fields(ours: Line, theirs: Line) -> dict[str, Any]:
    """The fields that are newer in the database. Sub-second times and fields it never keeps do not count.

    A line as new as the database's record wins: the import that follows uses the same rule.
    """
    assert ours.bead is not None
    assert theirs.bead is not None
    old, new = ours.bead.record, theirs.bead.record
    mine, other = moment(ours.bead.text("updated_at")), moment(theirs.bead.text("updated_at"))
    if mine and (other is None or other <= mine):
        return {}
    newer: dict[str, Any] = {}
    for key in ISSUE_KEYS:
        if key in _COMPUTED or key in DROPPED_KEYS or _same(key, old.get(key), new.get(key)):
            continue
        newer[key] = new.get(key, ABSENT)
    return newer


def _same(key: str, ours: Any, theirs: Any) -> bool:
    if key == "labels":
        return set(ours or ()) == set(theirs or ())
    if key == "dependencies":
        return _edges(ours) == _edges(theirs)
    if key == "comments":
        return _comments(ours) == _comments(theirs)
    if key.endswith("_at") or key == "defer_until":
        return ours == theirs or (isinstance(ours, str) and isinstance(theirs, str) and moment(ours) == moment(theirs))
    if ours in (None, "", 0, False, [], {}) and theirs in (None, "", 0, False, [], {}):
        return key != "estimated_minutes" or ours == theirs
    return bool(ours == theirs)


def _edges(value: Any) -> set[tuple[Any, ...]]:
    return {tuple(edge.get(key) for key in _EDGE_KEYS) for item in as_list(value) or [] if (edge := as_object(item))}


def _comments(value: Any) -> set[tuple[Any, ...]]:
    return {
        (comment.get("author"), comment.get("text")) for item in as_list(value) or [] if (comment := as_object(item))
    }
