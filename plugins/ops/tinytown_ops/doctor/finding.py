"""What ``tt doctor`` says of one thing that it has looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, and, unless all is well, what to do."""

    check: str
    level: Level
    found: str
    fix: str = ""
