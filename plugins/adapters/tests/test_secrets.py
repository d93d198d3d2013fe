"""Which values are taken for secrets, and how they are masked."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from tinytown.errors import HostFailure
from tinytown_adapters import Secrets, known_secrets, open_masked_log

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


def test_each_line_of_a_key_is_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADAN0\nAb3dEf9h=\nshort\n-----END KEY-----"
    secrets = known_secrets({"A_KEY": key})
    assert secrets.masked(f"it is {key}") == "it is ***"
    assert secrets.masked("MIIEvQIBADAN0, short\nAb3dEf9h=\n-----END KEY-----") == "***, short\n***\n-----END KEY-----"


def test_a_log_never_has_one(tmp_path: Path) -> None:
    with open_masked_log(tmp_path / "log", known_secrets({"A_KEY": KEY}), limit_bytes=inf) as write:
        write(f"it is {KEY}")
        assert (tmp_path / "log").read_text() == "it is ***\n"


def test_a_log_is_written_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "other")
    with pytest.raises(HostFailure), open_masked_log(tmp_path / "log", known_secrets({}), limit_bytes=inf):
        pass
    assert not (tmp_path / "other").exists()
