"""What a kind of agents has to say of itself, and the file in which that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tinytown_cli.backend_warnings import keep_warnings, kept_warnings, warnings_by_kind, warnings_of


class Careful:
    def warnings(self) -> Sequence[str]:
        return ("it bites\x1b[31m", 5)  # type: ignore[return-value]


class Terse:
    def warnings(self) -> str:
        return "it bites"


class Broken:
    def warnings(self) -> Sequence[str]:
        raise RuntimeError("no idea")


def test_a_backend_may_say_something_or_nothing_and_fail_without_harm() -> None:
    assert warnings_of(Careful()) == ["it bites\\x1b[31m", "5"]
    assert warnings_of(object()) == warnings_of(None) == []
    assert warnings_of(Terse()) == ["it bites"]
    (told,) = warnings_of(Broken())
    assert "no idea" in told


def test_what_the_kinds_have_to_say_is_kept_for_one_kernel(tmp_path: Path) -> None:
    (tmp_path / ".tt").mkdir()
    warnings = warnings_by_kind({"b": Careful(), "a": object()})
    assert warnings == {"b": ["it bites\\x1b[31m", "5"]}
    keep_warnings(tmp_path, 7, warnings)
    assert kept_warnings(tmp_path, 7) == warnings
    assert kept_warnings(tmp_path, 8) is None
    assert [path.name for path in (tmp_path / ".tt").iterdir()] == ["warnings.json"]


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"{", b"\xff", b'{"a": 5}', b"5", b'{"kernel": 7, "warnings": 5}']
)
def test_what_cannot_be_read_is_nothing(tmp_path: Path, content: bytes | None) -> None:
    keep_warnings(tmp_path, 7, {})  # no directory: no file, no error
    (tmp_path / ".tt").mkdir()
    if content is not None:
        (tmp_path / ".tt" / "warnings.json").write_bytes(content)
    assert kept_warnings(tmp_path, 7) is None
