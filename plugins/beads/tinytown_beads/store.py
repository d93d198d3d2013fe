"""A town, the plugin's settings, and the directory of its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinytown.state import state_directory
from tinytown_cli.public import TownClient

from tinytown_beads.baseline import Baseline, baseline_path, entries_of, next_order, write_baseline
from tinytown_beads.files import digest
from tinytown_beads.lines import Line, join
from tinytown_beads.merge import Base
from tinytown_beads.settings import Settings


@dataclass(frozen=True, slots=True)
class BeadStore:
    """A town, the plugin's settings, and the directory of the baselines."""

    town: TownClient
    settings: Settings
    directory: Path

    @property
    def prefix(self) -> str:
        return self.settings.prefix or self.town.config.name


def open_store(town: TownClient, settings: Settings) -> BeadStore:
    """The store of a town: its baselines are in the town's state, with mode 0700."""
    directory = state_directory(town.root) / "beads"
    directory.mkdir(mode=0o700, exist_ok=True)
    return BeadStore(town, settings, directory)


def save_baseline(
    store: BeadStore,
    file: Path,
    lines: Sequence[Line],
    bases: Mapping[str, Base],
    before: Baseline | None,
    gone: Sequence[Line] = (),
) -> None:
    """Store the baseline of a bead file; `gone` are lines that were removed from it."""
    order = before.order if before else next_order(store.directory)
    path = str(file.absolute()).encode("utf-8", "replace").decode()
    entries = entries_of(lines, gone, bases)
    baseline = Baseline(path=path, digest=digest(join(lines)), order=order, entries=entries)
    write_baseline(baseline_path(store.directory, file), baseline)
