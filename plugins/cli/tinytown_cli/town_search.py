"""Finding the town of a directory, with a ``tinytown.toml`` that was deleted restored from the town's record."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path

from tinytown import state
from tinytown.config import CONFIG_FILE
from tinytown.errors import NotFound
from tinytown.files import draft_of
from tinytown.identity import TOWN_VARIABLE


def find_town(start: Path | None = None) -> Path:
    """As `tinytown.state.find_town`; but a deleted ``tinytown.toml`` is restored, with a warning."""
    try:
        return state.find_town(start)
    except NotFound:
        begin: Path | None = None
        with suppress(OSError, RuntimeError):
            begin = Path(start or os.environ.get(TOWN_VARIABLE) or Path.cwd()).resolve(strict=True)
        if begin and (restored := _restore_settings(begin)):
            return restored
        raise


def _restore_settings(begin: Path) -> Path | None:
    """The root at or above `begin` of a town whose ``tinytown.toml`` was deleted, with that file restored; else None."""
    records = [record for _, record in state.records() if record.settings]
    for directory in (begin, *begin.parents):
        if record := next((record for record in records if record.root == str(directory)), None):
            path = directory / CONFIG_FILE
            with draft_of(path, record.settings, 0o644) as draft:
                draft.replace(path)
            warnings.warn(f"{path} was deleted and is restored; commit it", UserWarning, stacklevel=3)
            return directory
    return None
