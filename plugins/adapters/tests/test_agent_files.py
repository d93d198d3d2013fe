"""Files that an agent may have made to harm whoever reads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tinytown_adapters import read_agent_file
from tinytown_adapters.session_store import load_session

pytestmark = pytest.mark.timeout(30)  # a pipe that nobody writes to would be waited for


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    assert read_agent_file(tmp_path / "file", 10) == b"x" * 10
    with pytest.raises(OSError, match="more than 9 bytes"):
        read_agent_file(tmp_path / "file", 9)


def test_anything_else_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "link").symlink_to("secret")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("link", "pipe", "directory", "nothing"):
        with pytest.raises(OSError):  # noqa: PT011 - each its own
            read_agent_file(tmp_path / name)


def test_a_session_that_is_a_pipe_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "session.json")
    assert load_session(tmp_path, "1") is None
