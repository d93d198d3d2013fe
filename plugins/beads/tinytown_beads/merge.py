"""Three-way merge of two sides of one piece of work, field by field. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tinytown_beads.view import COMPARED, SETS, View

Side = Literal["file", "town"]


class Base(msgspec.Struct, frozen=True):
    """The views of both sides at their last sync."""

    file: View
    town: View


@dataclass(frozen=True, slots=True)
class Merge:
    """The fields that go to each side, and the conflicts. `wanted` is the town's view afterwards."""

    to_town: frozenset[str]
    to_file: frozenset[str]
    conflicts: frozenset[str]
    wanted: View


def merge(base: Base | None, file: View, town: View, *, prefer: Side | None = None) -> Merge:
    """Merge the file's and the town's view of one piece of work.

    Without a base every difference is a conflict, except in sets, which are united. `prefer` resolves conflicts.
    """
    to_town: set[str] = set()
    to_file: set[str] = set()
    conflicts: set[str] = set()
    wanted: dict[str, Any] = {}
    for name in COMPARED:
        ours, theirs = getattr(town, name), getattr(file, name)
        if name in SETS:
            united = _merged_set(base, name, theirs, ours)
            if united != ours:
                to_town.add(name)
                wanted[name] = united
            if base is None or set(getattr(base.town, name)) != set(ours):
                to_file.add(name)
            continue
        news_here = base is None or not _same(name, getattr(base.town, name), ours)
        news_there = base is None or not _same(name, getattr(base.file, name), theirs)
        if (not news_here and not news_there) or (news_here and news_there and _same(name, ours, theirs)):
            continue
        side: Side | None = prefer if news_here and news_there else "town" if news_here else "file"
        if name == "description" and news_here and base is not None and _has_no_description(base.file, file):
            side = "town"  # only the title is news there
        if side is None:
            conflicts.add(name)
        elif side == "town":
            to_file.add(name)
        else:
            to_town.add(name)
            wanted[name] = theirs
    for name, other in (("state", "outcome"), ("held", "held_until")):
        if name in wanted:
            wanted[other] = getattr(file, other)
    return Merge(frozenset(to_town), frozenset(to_file), frozenset(conflicts), msgspec.structs.replace(town, **wanted))


def next_base(
    before: Base | None, file: View, town: View, withheld: frozenset[str], unwritten: frozenset[str] = frozenset()
) -> Base | None:
    """The base after a sync.

    In the fields `withheld` the sides still differ and the former base remains; None if there was none. The fields
    `unwritten` of the town are not in the file yet and stay changes.
    """
    if before is None:
        if withheld:
            return None
        both = {name: _common(getattr(file, name), getattr(town, name)) for name in unwritten & SETS}
        return Base(file, msgspec.structs.replace(town, **both))
    old_file = {name: getattr(before.file, name) for name in withheld}
    old_town = {name: getattr(before.town, name) for name in withheld | unwritten}
    for name in (unwritten & SETS) - withheld:
        gone = set(getattr(before.file, name)) - set(getattr(file, name))
        shared = _common(getattr(file, name), getattr(town, name))
        old_town[name] = tuple(sorted((set(old_town[name]) - gone) | set(shared)))
    return Base(msgspec.structs.replace(file, **old_file), msgspec.structs.replace(town, **old_town))


def _common(theirs: tuple[str, ...], ours: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(theirs) & set(ours)))


def _merged_set(base: Base | None, name: str, theirs: tuple[str, ...], ours: tuple[str, ...]) -> tuple[str, ...]:
    """Our set with their additions and without their removals."""
    before = set(getattr(base.file, name)) if base else set(ours) & set(theirs)
    united = (set(ours) | (set(theirs) - before)) - (before - set(theirs))
    return tuple(sorted(united))


def _same(name: str, one: Any, other: Any) -> bool:
    if name == "assignee":
        return bool(last_part(one) == last_part(other))
    if name == "held":
        return bool(one) == bool(other)
    return bool(one == other)


def _has_no_description(*views: View) -> bool:
    """Whether these are views of a bead without a description, which has its title in its place."""
    return all(view.description == view.title for view in views)


def last_part(path: str) -> str:
    """The last part of an address such as `shop/polecats/nux`, in lower case."""
    return path.rstrip("/").rpartition("/")[2].lower()
