"""The warnings of kinds of agents, and the file that caches them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from tinytown.contracts import AgentBackend, AgentContext, AgentSession
from tinytown.state import state_directory
from tinytown_cli.backend_warnings import cache_warnings, cached_warnings, warnings_by_kind, warnings_of


class Backend(AgentBackend):
    kind = "any"

    def open(self, context: AgentContext) -> AbstractAsyncContextManager[AgentSession]:
        raise AssertionError("no session is opened for a warning")


class Careful(Backend):
    def warnings(self) -> Sequence[str]:
        return ("it bites\x1b[31m", 5)  # type: ignore[return-value]


class Terse(Backend):
    def warnings(self) -> Sequence[str]:
        return "it bites"


class Broken(Backend):
    def warnings(self) -> Sequence[str]:
        raise RuntimeError("no idea")


def test_warnings_are_safe_for_a_terminal_and_include_failures() -> None:
    assert warnings_of(Careful()) == ["it bites\\x1b[31m", "5"]
    assert warnings_of(Backend()) == []
    assert warnings_of(Terse()) == ["it bites"]
    (warning,) = warnings_of(Broken())
    assert "no idea" in warning


def test_warnings_are_cached_for_one_kernel(tmp_path: Path, no_town_environment: None) -> None:
    state_directory(tmp_path).mkdir(parents=True)
    warnings = warnings_by_kind({"b": Careful(), "a": Backend()})
    assert warnings == {"b": ["it bites\\x1b[31m", "5"]}
    cache_warnings(tmp_path, 7, warnings)
    assert cached_warnings(tmp_path, 7) == warnings
    assert cached_warnings(tmp_path, 8) is None
    assert [path.name for path in state_directory(tmp_path).iterdir()] == ["warnings.json"]


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"{", b"\xff", b'{"a": 5}', b"5", b'{"kernel": 7, "warnings": 5}']
)
def test_an_unreadable_cache_is_ignored(tmp_path: Path, content: bytes | None, no_town_environment: None) -> None:
    cache_warnings(tmp_path, 7, {})  # no directory: no file, no error
    state_directory(tmp_path).mkdir(parents=True)
    if content is not None:
        (state_directory(tmp_path) / "warnings.json").write_bytes(content)
    assert cached_warnings(tmp_path, 7) is None
