"""Create a town for each rig of a Gastown town, with its bead file. The source directory is only read."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from tinytown.errors import Refused
from tinytown_beads.apply import read_town
from tinytown_beads.convoys import create_groups, groups_for
from tinytown_beads.description import field_of
from tinytown_beads.files import read_file, replace_file
from tinytown_beads.groups.record import PLUGIN, now
from tinytown_beads.json_text import as_object, decode
from tinytown_beads.lines import Line, beads_of, extend, join, read_lines
from tinytown_beads.mapping import map_beads
from tinytown_beads.notes import TEXT_BYTES, Note, field_of as note_field, notes_in
from tinytown_beads.report import Report
from tinytown_beads.settings import read_settings
from tinytown_beads.store import open_store
from tinytown_beads.syncing import import_file
from tinytown_beads.view import clean_text
from tinytown_cli.public import CliContext, TownClient

from tinytown_gastown.migration.code import CodeChoice, bring_code
from tinytown_gastown.migration.source import HEADQUARTERS, GastownTown, Rig

BEAD_FILE = Path(".beads") / "issues.jsonl"


@dataclass(slots=True)
class RigMove:
    """The planned or completed migration of one rig."""

    rig: Rig
    directory: Path
    beads: int
    kinds: dict[str, int]
    report: Report | None = None
    skipped: str = ""
    agents: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    #: Beads that have changed in the old town and in the new one since the last time.
    both_changed: list[str] = field(default_factory=list[str])
    #: The keys of memories that became notes.
    notes: list[str] = field(default_factory=list[str])
    #: How the code of the rig is brought along; None if there is none, or something is at `directory` already.
    code: CodeChoice | None = None

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the rig was left out or is undecided; what has no counterpart here is neither."""
        return not (self.skipped or self.both_changed) and (self.report is None or self.report.is_complete)

    @property
    def shape(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "rig": self.rig.name,
            "prefix": self.rig.prefix,
            "town": str(self.directory),
            "repository": self.rig.repository,
            "branch": self.rig.branch,
            "code": self.code,
            "sources": self.rig.sources,
            "beads": self.beads,
            "kinds": self.kinds,
            "agents": self.agents,
            "formulas": sorted(path.name for path in self.rig.formulas),
            "work_places": self.rig.work_places,
            "skipped": self.skipped,
            "both_changed": self.both_changed,
            "notes": self.notes,
            "import": None if self.report is None else self.report.shape,
        }


def plan_moves(old: GastownTown, into: Path, code: CodeChoice = "clone") -> list[RigMove]:
    """The migrations of all rigs, with `code` where there is a repository. Headquarters become a town only if they have beads."""
    moves: list[RigMove] = []
    for rig in old.rigs.values():
        beads = beads_of(rig.lines)
        kinds = dict(Counter(bead.kind for bead in beads.values()).most_common())
        move = RigMove(rig, into / rig.name, len(beads), kinds)
        if code != "none" and rig.checkout is not None and not move.directory.exists():
            move.code = code
        move.agents = [
            {
                "bead": bead.id,
                "role": field_of(bead.text("description"), "role_type"),
                "state": field_of(bead.text("description"), "agent_state"),
                "work": field_of(bead.text("description"), "hook_bead"),
            }
            for bead in beads.values()
            if bead.kind == "agent"
        ]
        if rig.name == HEADQUARTERS and not rig.lines:
            continue
        moves.append(move)
    return moves


def move_rig(move: RigMove, old: GastownTown) -> None:
    """Create the town of one rig and import its beads. A second run continues.

    Raises: Refused with code ``exists`` for a directory with other content, or with git's words if the code cannot be cloned.
    """
    directory = move.directory
    config, bead_file = directory / "tinytown.toml", directory / BEAD_FILE
    if directory.exists() and any(directory.iterdir()) and not config.exists():
        raise Refused(f"{directory} exists and is not empty", hint="choose another directory with --to", code="exists")
    if move.code is not None and move.rig.checkout is not None:
        bring_code(move.rig.checkout, directory, move.code, branch=move.rig.branch, origin=move.rig.repository)
    directory.mkdir(parents=True, exist_ok=True)
    if not config.exists():
        replace_file(config, _settings(move.rig).encode(), was=None)
    bead_file.parent.mkdir(exist_ok=True)
    _copy_formulas([*move.rig.formulas, *old.formulas], directory / ".beads" / "formulas")
    context = CliContext()
    context.town = str(directory)
    with context.open_town() as town:
        store = open_store(town, read_settings(town.config))
        _bring_lines(move, bead_file, store.directory / "from-gastown.jsonl")
        move.report = import_file(store, bead_file)
        here = map_beads(beads_of(move.rig.lines), datetime.now(UTC)).task_ids
        elsewhere = [bead for rig in old.rigs.values() if rig is not move.rig for bead in beads_of(rig.lines).values()]
        create_groups(town, groups_for(elsewhere, here, read_town(town)))
        move.notes = _bring_memories(town, move.rig.lines)


def _bring_memories(town: TownClient, lines: list[Line]) -> list[str]:
    """Make a note of each memory that has none; their keys. An existing note is left unchanged."""
    known = {note.key for note in notes_in(town.run(town.operations.plugin_data(PLUGIN)))}
    brought: list[str] = []
    for line in lines:
        record = as_object(decode(line.text)) if line.kind == "memory" else None
        text = clean_text(str(record["value"]), TEXT_BYTES) if record else ""
        key = re.sub(r"[^a-z0-9._-]+", "-", line.key.lower()).strip("._-")[:63] if text else ""
        if key and key not in known:
            note = Note(key=key, text=text, by="bd", at=now())
            town.run(town.operations.set_plugin_field(PLUGIN, note_field(key), msgspec.to_builtins(note)))
            brought.append(key)
    return brought


def _bring_lines(move: RigMove, bead_file: Path, kept: Path) -> None:
    """Apply the changes of the old town since the last run to the bead file of the new one; `kept` has the state of that run.

    A line that has changed on both sides is kept as it is here, and reported.
    """
    new, before = move.rig.lines, read_file(bead_file)
    last = {line.key: line.text for line in read_lines(read_file(kept) or b"") if line.key}
    lines = [] if before is None else read_lines(before)
    positions = {(line.kind, line.key): number for number, line in enumerate(lines) if line.key}
    more: list[Line] = []
    for line in new:
        number = positions.get((line.kind, line.key))
        if number is None:
            more += [line] if line.key not in last else []  # what was taken out of the file stays out
        elif line.text != lines[number].text and line.text != last.get(line.key):
            # A bead file that has just come with the code is no change of anybody's.
            if last.get(line.key) == lines[number].text or move.code is not None:
                lines[number] = line.ended()
            else:
                move.both_changed.append(line.key)
    extend(lines, more)
    after = join(line.ended() for line in lines)
    if after != before:
        replace_file(bead_file, after, was=before)
    content = join(line.ended() for line in new)
    if content != (was := read_file(kept)):
        replace_file(kept, content, was=was, mode=0o600)


def _settings(rig: Rig) -> str:
    name = re.sub(r"[^a-z0-9._-]+", "-", rig.name.lower()).strip("._-") or "rig"
    prefix = f"\n[plugins.beads]\nprefix = {json.dumps(rig.prefix)}\n" if rig.prefix else ""
    return f"# Made from the rig {rig.name} of a Gastown town.\nname = {json.dumps(name)}\n{prefix}"


def _copy_formulas(formulas: list[Path], into: Path) -> None:
    """Copy formulas, the first of a name; existing files are not replaced."""
    for path in formulas:
        target = into / path.name
        if not target.exists():
            into.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
