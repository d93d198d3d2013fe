"""Which values are taken for secrets, and how they are masked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from tinytown_adapters import Secrets, known_secrets

KEY = "sk-live-0123456789"


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("OPENAI_API_KEY", KEY, KEY),
        ("DATABASE_URL", f"postgres://ada:{KEY}@localhost/db", KEY),
        ("REDIS_URL", "redis://:p%40ssw0rd-1@localhost", "p@ssw0rd-1"),
        ("SHORT_TOKEN", "abc-1", ""),
        ("TOKEN_TYPE", "production", ""),
        ("SSH_KEY", "/srv/keys/id_ed25519", ""),
        ("EDITOR", "sk-live-but-no-secret-by-its-name", ""),
        ("TINYTOWN_TASK_TOKEN", "0123456789abcdef", ""),
        ("BROKEN_URL", "http://[ada:secret-word-1@x", "http://[ada:secret-word-1@x"),
    ],
)
def test_a_secret_is_known_by_its_name_and_its_value(name: str, value: str, hidden: str) -> None:
    shown = known_secrets({name: value}).masked(f"it is {value}, {hidden}.")
    assert shown.count("***") == (0 if not hidden else 2 if hidden in value else 1)
    assert not hidden or hidden not in shown


def test_secrets_in_settings_are_known_however_deep_they_are() -> None:
    settings = {"notify": {"targets": {"team": {"api_key": KEY}}, "pushover_token": 5, "level": "attention-1"}}
    assert known_secrets({}, settings).masked(f"{KEY} attention-1") == "*** attention-1"


def test_the_longer_one_is_masked_whole_and_what_json_makes_of_it_too() -> None:
    secrets = Secrets(iter(["abcdefgh-1", "abcdefgh-1-and-more", 'quo"te-é\n1']))
    assert secrets.masked('abcdefgh-1-and-more, abcdefgh-1, {"a": "quo\\"te-é\\n1"}') == '***, ***, {"a": "***"}'


@given(st.text(), st.text(min_size=8).filter(lambda text: not text.isalpha() and text[0] not in "/~*"))
def test_nothing_is_left_of_a_secret_and_nothing_else_is_touched(around: str, secret: str) -> None:
    secrets = Secrets(iter([secret]))
    assert secret not in secrets.masked(around + secret)
    assert secrets.masked_bytes((around + secret).encode()) == secrets.masked(around + secret).encode()
    assert Secrets(iter([])).masked(around) == around


@pytest.mark.parametrize("before", [0, 5, (1 << 20) - 5, (1 << 20) - len(KEY), 1 << 20])
def test_a_file_is_masked_in_place_also_where_two_pieces_meet(tmp_path: Path, before: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"." * before + KEY.encode() + b"\nend" + KEY.encode())
    known_secrets({"A_KEY": KEY}).mask_file(path)
    stars = b"*" * len(KEY)
    assert path.read_bytes() == b"." * before + stars + b"\nend" + stars


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(f"{KEY} {KEY}")
    known_secrets({"A_KEY": KEY}).mask_file(path, from_byte=len(KEY))
    assert path.read_text() == f"{KEY} {'*' * len(KEY)}"


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "other")
    (tmp_path / "other").write_text(KEY)
    with pytest.raises(OSError, match="symbolic"):
        known_secrets({"A_KEY": KEY}).mask_file(tmp_path / "log")
