"""What holds for a whole run: the server's variant, how much work a round is, where peers are installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .server import Durability

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """`quick` runs ask whether everything works, not how fast it is."""

    durability: Durability
    quick: bool
    environments: Path

    def amount(self, full: int) -> int:
        """How many of `full` things to do in one round: a tenth of them when quick, at least 20."""
        return max(20, full // 10) if self.quick else full
