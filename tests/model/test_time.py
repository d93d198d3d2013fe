from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st
from tinytown.errors import UsageError
from tinytown.model.time import check_moment, parse_rfc3339, rfc3339


def test_a_moment_is_written_in_utc_with_milliseconds() -> None:
    assert rfc3339(1_769_851_800_125) == "2026-01-31T09:30:00.125Z"


@settings(deadline=None, database=None, derandomize=True)
@given(st.integers(0, 253_402_300_799_999))
def test_every_moment_is_read_as_it_was_written(ms: int) -> None:
    assert parse_rfc3339(rfc3339(ms)) == check_moment(rfc3339(ms)) == ms


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01T00:00:00Z"])
def test_what_is_not_a_moment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="RFC 3339") as caught:
        check_moment(text)
    assert "2026-01-31T09:30:00Z" in caught.value.hint
