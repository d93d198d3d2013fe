"""One sync with the database of `bd`: its state of the last sync, on disk beside the baseline of the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime

from tinytown.errors import Refused

from tinytown_beads.baseline import Baseline, baseline_path
from tinytown_beads.bd_cli import BdCli
from tinytown_beads.database import DatabaseState, Pulled, plan_push, pull, read_state, state_after, write_state
from tinytown_beads.files import read_file, replace_file
from tinytown_beads.lines import Line
from tinytown_beads.store import BeadStore


class DatabaseSync:
    """The database beside a bead file during one sync: `pull` first, then `push`."""

    def __init__(self, program: BdCli, store: BeadStore, baseline: Baseline | None) -> None:
        self.program = program
        self.known = baseline.unpack()[0] if baseline else []
        self.path = baseline_path(store.directory, program.file).with_suffix(".database")
        content = read_file(self.path)
        state = read_state(content) if content is not None else None
        self.state: DatabaseState | None = state if state and state.identity == program.identity else None
        self.pulled: Pulled | None = None
        self.prefix = self.state.prefix if self.state else ""

    def pull(self, lines: Sequence[Line]) -> Pulled:
        """The lines of the file with the changes of the database, see `database.pull`.

        Raises: TinytownError; Refused if the database cannot be written, or has lost everything.
        """
        dialect = self.program.dialect
        if not os.access(self.program.beads, os.W_OK):
            raise Refused(
                f"{self.program.beads} is not writable", hint="allow it, or sync another file", code="read_only"
            )
        exported = self.program.export()
        self.prefix = self.prefix or self.program.prefix()
        self.sign = self.program.sign()  # after it: reading may touch the files
        if self.state and self.state.records and not any(line.bead for line in exported):
            raise Refused(
                f"the database of bd is empty; at the last sync it had {len(self.state.records)} beads",
                hint=f"bd doctor finds it; if it is meant to be empty, remove {self.path}",
                code="bd_empty",
            )
        self.pulled = pull(lines, self.known, exported, self.state, dialect)
        return self.pulled

    @property
    def has_changed(self) -> bool:
        """Whether somebody has written to the database since `pull`."""
        return self.program.sign() != self.sign

    def push(self, lines: Sequence[Line], now: datetime) -> tuple[str, ...]:
        """Bring the database to `lines`; returns what `bd` refused, with reasons. Raises: TinytownError."""
        assert self.pulled is not None
        push = plan_push(lines, self.known, self.pulled, self.state, self.program.dialect, self.program.vocabulary, now)
        skipped = tuple(f"{key}: {reason}" for key, reason in push.refused.items())
        exported: Sequence[Line] = ()
        if push.records or push.commands:
            skipped += self.program.push(push)
            exported = self.program.export()
        state = state_after(lines, self.pulled, push, exported, self.program.identity, self.prefix)
        before = read_file(self.path)
        after = write_state(state)
        if after != before:
            replace_file(self.path, after, was=before, mode=0o600)
        return skipped

    def lacks(self, lines: Sequence[Line]) -> tuple[str, ...]:
        """The beads of the file that the database does not have and that are not pushed into it."""
        assert self.pulled is not None
        lacking = self.pulled.lacking
        return tuple(line.key for line in lines if line.bead and not line.bead.ephemeral and line.key in lacking)
