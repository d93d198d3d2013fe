"""Files written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from tinytown.files import replace_file


def test_a_file_of_the_program_is_private_and_leaves_no_draft(tmp_path: Path) -> None:
    replace_file(tmp_path / "a", b"one")
    replace_file(tmp_path / "a", b"two")
    assert ((tmp_path / "a").read_bytes(), os.listdir(tmp_path)) == (b"two", ["a"])
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
