"""What the versions of `bd` take and keep: one entry for each range that a sync supports. Pure.

Source: the commands and the interchange format of `bd` 0.42 to 1.0.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tinytown_beads.fields import FIRST_IMPORT_KEYS, ISSUE_KEYS

Version = tuple[int, int, int]

#: Keys that an import of 0.42 to 0.55 does not know.
_NEWER_KEYS = frozenset(
    "_type spec_id source_system metadata started_at no_history wisp_type dependency_count dependent_count comment_count "
    "parent".split()
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One range of versions, from `first` up to but without `end`.

    `export` and `import_` are the words before the file, `types` the types that need no configuration. `drops` are keys that
    it does not store. `updates` are the flags of ``bd update`` for fields that an import leaves alone on a known bead. With
    `numbers_comments` ids of comments are integers; with `own_ids` every id begins with the prefix of the database; with
    `rewrites_file` an import also writes the whole bead file. With `keeps_reasons` an import leaves the reason alone for which a
    known bead was closed, and with `hides_deferral` an export lacks the dates of deferral.
    """

    first: Version
    end: Version
    export: tuple[str, ...]
    import_: tuple[str, ...]
    types: frozenset[str]
    drops: frozenset[str] = frozenset()
    updates: tuple[tuple[str, str], ...] = (("defer_until", "--defer"), ("due_at", "--due"), ("spec_id", "--spec-id"))
    numbers_comments: bool = False
    own_ids: bool = False
    rewrites_file: bool = False
    keeps_reasons: bool = False
    hides_deferral: bool = False

    def keeps(self, key: str) -> bool:
        """Whether a field survives an import and an export."""
        return key not in self.drops

    @property
    def kept_on_update(self) -> frozenset[str]:
        """The fields of a known bead that a sync can change."""
        changeable = frozenset(ISSUE_KEYS) - frozenset(FIRST_IMPORT_KEYS) - self.drops
        return changeable | {key for key, _ in self.updates}


_PLAIN_TYPES = frozenset({"bug", "feature", "task", "epic", "chore"})
_TYPES_0_61 = _PLAIN_TYPES | {"decision", "message", "molecule", "event"}
_TYPES_1_0 = _TYPES_0_61 | {"spike", "story", "milestone"}

DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        first=(0, 42, 0), end=(0, 47, 0), export=("export", "-o"), import_=("import", "-i"), types=_PLAIN_TYPES,
        drops=_NEWER_KEYS | {"due_at", "defer_until", "owner"}, updates=(), numbers_comments=True,
        own_ids=True, rewrites_file=True, keeps_reasons=True,
    ),
    Dialect(
        first=(0, 47, 0), end=(0, 56, 0), export=("export", "-o"), import_=("import", "-i"), types=_PLAIN_TYPES,
        drops=_NEWER_KEYS | {"due_at", "defer_until"}, updates=(("defer_until", "--defer"), ("due_at", "--due")),
        hides_deferral=True, numbers_comments=True,
        own_ids=True, rewrites_file=True, keeps_reasons=True,
    ),
    Dialect(first=(0, 61, 0), end=(1, 0, 0), export=("export", "--all", "-o"), import_=("import",), types=_TYPES_0_61),
    Dialect(first=(1, 0, 0), end=(1, 0, 3), export=("export", "--all", "-o"), import_=("import",), types=_TYPES_1_0),
    Dialect(
        first=(1, 0, 3), end=(3, 0, 0), export=("export", "--all", "-o"), import_=("import",), types=_TYPES_1_0 | {"gate"}
    ),
)  # fmt: skip
#: The supported ranges, for errors and the manual.
SUPPORTED = "0.42 to 0.55, and 0.61 to 2.x"


def version_in(text: str) -> Version | None:
    """The version that ``bd version`` printed; None if it names none."""
    match = re.search(r"\b(\d{1,4})\.(\d{1,4})\.(\d{1,4})\b", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def dialect_of(version: Version) -> Dialect | None:
    """The dialect of a version; None if it is not supported."""
    return next((dialect for dialect in DIALECTS if dialect.first <= version < dialect.end), None)
