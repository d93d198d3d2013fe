"""``[plugins.results]``."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.results]``: how often a task whose result is invalid goes back to its agent before it fails."""

    repair_rounds: Annotated[int, msgspec.Meta(ge=0, le=100)] = 1
