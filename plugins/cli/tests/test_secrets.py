"""Secrets of settings: where they are looked up, and that they are not shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from tinytown.errors import ConfigError
from tinytown_cli.secrets import look_up, without_secrets


def test_a_setting_may_say_where_its_value_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHONE", " ntfy://host/secret\n")
    (tmp_path / "phone").write_text("ntfy://host/other\n")
    assert look_up("env:PHONE", tmp_path) == "ntfy://host/secret"
    assert look_up("file:phone", tmp_path) == look_up(f"file:{tmp_path}/phone", Path("/")) == "ntfy://host/other"
    assert look_up("ntfy://host/topic", tmp_path) == "ntfy://host/topic"
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"\xff")
    for text, message in (
        ("env:GONE", "the variable GONE is not set"),
        ("file:gone", "No such file"),
        ("file:empty", "is empty"),
        ("file:binary", "not UTF-8"),
        ("file:.", "Is a directory"),
    ):
        with pytest.raises(ConfigError, match=message):
            look_up(text, tmp_path)


def test_no_part_of_an_address_is_shown() -> None:
    text = "cannot send to hook.example.org/T0ken?key=va1ue of tgram://T0ken"
    shown = without_secrets(text, "https://ann:pass@hook.example.org/T0ken?key=va1ue")
    assert "T0ken" not in shown
    assert "va1ue" not in shown
