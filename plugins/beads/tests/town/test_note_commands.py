"""``tt remember``, ``recall`` and ``forget`` as a person types them."""

from __future__ import annotations

from typing import Any


def test_notes_are_kept_shown_and_forgotten(in_town: Any) -> None:
    in_town("remember", "run make services first now, all")
    in_town("remember", "--key", "style", "-", given=b"no tabs\n``` fence\n")
    assert [note["key"] for note in in_town.json("recall")["notes"]] == ["run-make-services-first-now", "style"]
    assert [note["text"] for note in in_town.json("recall", "TABS")["notes"]] == ["no tabs\n``` fence"]
    assert in_town("remember", "run make services first now", code=4).err
    in_town("forget", "style")
    in_town("forget", "style", code=3)
    for bad in ("", "x" * 4001):
        in_town("remember", "--", bad, code=2)
    assert in_town("remember", "--key", "No Good", "x", code=2).err
