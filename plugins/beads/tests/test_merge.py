"""Two sides merged field by field: nobody's change is lost, and a merge that was cut off is none that went wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from tinytown_beads.merge import Base, Merge, merge, next_base
from tinytown_beads.view import COMPARED, SETS, View, changed_fields

NAMES = st.lists(st.sampled_from("abc"), unique=True, max_size=3).map(sorted).map(tuple)
VIEWS = st.builds(
    View,
    title=st.sampled_from("xyz"),
    description=st.sampled_from("xyz"),
    priority=st.sampled_from(["urgent", "normal"]),
    state=st.sampled_from(["open", "completed"]),
    tags=NAMES,
    needs=NAMES,
    assignee=st.sampled_from(["", "ada", "rita"]),
    held=st.sampled_from(["", "deferred"]),
    notes=st.sampled_from(["", "n"]),
    comments=NAMES,
)


def applied(file: View, town: View, merged: Merge, base: Base | None) -> tuple[View, View]:
    """Both sides after what `merge` decided, as sync does it."""
    after = merged.wanted
    answer: dict[str, Any] = {}
    for name in merged.to_file:
        value = getattr(after, name)
        if name in SETS:
            was = set(getattr(base.town, name)) if base else set(getattr(file, name)) & set(getattr(town, name))
            theirs = set(getattr(file, name))
            value = tuple(sorted((theirs | (set(value) - was)) - (was - set(value))))
        answer[name] = value
    return msgspec.structs.replace(file, **answer), after


@given(base=VIEWS, file=VIEWS, town=VIEWS)
def test_after_a_merge_the_sides_differ_only_in_conflicts_and_merging_again_does_nothing(
    base: View, file: View, town: View
) -> None:
    known = Base(base, base)
    merged = merge(known, file, town)
    new_file, new_town = applied(file, town, merged, known)
    assert changed_fields(new_file, new_town) <= merged.conflicts
    following = next_base(known, new_file, new_town, merged.conflicts)
    again = merge(following, new_file, new_town)
    assert again.conflicts == merged.conflicts
    assert applied(new_file, new_town, again, following) == (new_file, new_town)


@given(base=VIEWS, file=VIEWS, town=VIEWS)
def test_a_change_on_one_side_alone_arrives_on_the_other(base: View, file: View, town: View) -> None:
    known = Base(base, base)
    merged = merge(known, file, town)
    new_file, new_town = applied(file, town, merged, known)
    for name in set(COMPARED) - SETS:
        was, theirs, ours = (getattr(each, name) for each in (base, file, town))
        both = (getattr(new_file, name), getattr(new_town, name))
        untold = name == "description" and (base.description, file.description) == (base.title, file.title)
        if untold and ours != was:
            assert both == (ours, ours), "a bead without a description has its title there, which is no news"
        elif theirs != was and ours != was and theirs != ours:
            assert both == (theirs, ours)
            assert name in merged.conflicts
        else:
            assert both == ((theirs, theirs) if ours == was else (ours, ours))
    for name in SETS:
        was, theirs, ours = (set(getattr(each, name)) for each in (base, file, town))
        wanted = (was - (was - theirs) - (was - ours)) | (theirs - was) | (ours - was)
        assert set(getattr(new_file, name)) == set(getattr(new_town, name)) == wanted


@given(base=VIEWS, file=VIEWS, town=VIEWS, cut=st.sampled_from(["after the town", "after the file"]))
def test_a_merge_that_was_cut_off_ends_as_if_it_had_not_been(base: View, file: View, town: View, cut: str) -> None:
    known = Base(base, base)
    merged = merge(known, file, town)
    new_file, new_town = applied(file, town, merged, known)
    left = (file if cut == "after the town" else new_file, new_town)
    again = merge(known, *left)
    assert again.conflicts == merged.conflicts
    assert applied(*left, again, known) == (new_file, new_town)


@given(file=VIEWS, town=VIEWS, side=st.sampled_from(["file", "town"]))
def test_without_a_base_all_differences_are_conflicts_and_a_preferred_side_wins(
    file: View, town: View, side: Any
) -> None:
    different = changed_fields(file, town) - SETS
    different -= {"held"} if bool(file.held) == bool(town.held) else set()
    merged = merge(None, file, town)
    assert merged.conflicts == different
    assert (next_base(None, file, town, merged.conflicts) is None) == bool(different)
    preferred = merge(None, file, town, prefer=side)
    assert not preferred.conflicts
    new_file, new_town = applied(file, town, preferred, None)
    winner = file if side == "file" else town
    for name in different:
        assert getattr(new_file, name) == getattr(new_town, name) == getattr(winner, name)


@given(base=VIEWS, file=VIEWS, town=VIEWS)
def test_what_an_import_did_not_tell_the_file_is_told_by_the_next_sync(base: View, file: View, town: View) -> None:
    known = Base(base, base)
    merged = merge(known, file, town)
    _, new_town = applied(file, town, merged, known)
    following = next_base(known, file, new_town, merged.conflicts, merged.to_file)
    assert following is not None
    later = merge(following, file, new_town)
    assert later.conflicts == merged.conflicts
    new_file, same_town = applied(file, new_town, later, following)
    assert changed_fields(new_file, same_town) <= merged.conflicts
    assert same_town == new_town


@pytest.mark.parametrize(("theirs", "ours"), [("rig/polecats/nux", "nux"), ("Nux/", "nux")])
def test_an_address_and_the_name_at_its_end_are_the_same(theirs: str, ours: str) -> None:
    base = Base(View(assignee=""), View(assignee=""))
    assert merge(base, View(assignee=theirs), View(assignee=ours)).conflicts == frozenset()
