"""``tt remember``, ``recall`` and ``forget`` as a person types them."""

from __future__ import annotations

from typing import Any


def test_notes_are_kept_shown_and_forgotten(tt: Any) -> None:
    tt("remember", "run make services first now, all")
    tt("remember", "--key", "style", "-", given=b"no tabs\n``` fence\n")
    assert [note["key"] for note in tt.json("recall")["notes"]] == ["run-make-services-first-now", "style"]
    assert [note["text"] for note in tt.json("recall", "TABS")["notes"]] == ["no tabs\n``` fence"]
    assert tt("remember", "run make services first now", code=4).err
    tt("forget", "style")
    tt("forget", "style", code=3)
    for bad in ("", "x" * 4001, "bell \x07"):
        tt("remember", "--", bad, code=2)
    assert tt("remember", "--key", "No Good", "x", code=2).err
