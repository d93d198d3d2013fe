"""Where the snapshots are that a town's kernel takes of it: beside its state, which they are to outlive. Quick to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytown.state import beside_state, town_id

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = "@snapshots"


def snapshots_directory(root: Path) -> Path:
    """The directory with the own snapshots of the town at `root`. Raises: as `tinytown.state.state_directory`."""
    return beside_state(town_id(root), SUFFIX)


def newest_snapshot(root: Path) -> Path | None:
    """The newest of them, by its name; None without any."""
    return max(snapshots_directory(root).glob("*.jsonl"), default=None)
