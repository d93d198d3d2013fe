"""What a box is to be, as data and text: no box is made here."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tinytown.config import convert_settings
from tinytown.contracts import Box
from tinytown.errors import ConfigError
from tinytown_sandbox import confine, relay
from tinytown_sandbox.places import access_to, accesses, installation
from tinytown_sandbox.seatbelt import Seatbelt, profile
from tinytown_sandbox.settings import Settings


@pytest.fixture
def box(tmp_path: Path) -> Box:
    for name in ("space", "state/agents/ada/claude", "state/agents/bob", "home/.ssh"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "space" / "tinytown.toml").touch()
    return Box(
        profile="write",
        workspace=tmp_path / "space",
        writable=(tmp_path / "state" / "agents" / "ada",),
        read_only=(tmp_path / "space" / "tinytown.toml",),
        hidden=(tmp_path / "state",),
    )


def seen(box: Box, tmp_path: Path, settings: Settings = Settings()) -> dict[str, str]:  # noqa: B008
    chosen = accesses(box, settings, {"HOME": str(tmp_path / "home")})
    names = "space space/tinytown.toml space/new state state/log state/agents/ada/x state/agents/bob/x".split()
    names += ["home/.ssh/id", "home/x"]
    return {name: access_to(tmp_path / name, chosen) for name in names}


def test_the_nearest_place_decides(box: Box, tmp_path: Path) -> None:
    assert seen(box, tmp_path) == {
        "space": "write",
        "space/tinytown.toml": "read",
        "space/new": "write",
        "state": "hidden",
        "state/log": "hidden",
        "state/agents/ada/x": "write",
        "state/agents/bob/x": "hidden",
        "home/.ssh/id": "hidden",
        "home/x": "read",
    }


def test_a_directory_that_the_kernel_writes_in_is_a_place_of_its_own(box: Box, tmp_path: Path) -> None:
    assert accesses(box, Settings(), {})[tmp_path / "state" / "agents" / "ada" / "claude"] == "write"


def test_settings_of_a_persons_own_cli_stay_as_they_are(box: Box, tmp_path: Path) -> None:
    (tmp_path / "home" / ".claude").mkdir()
    (tmp_path / "home" / ".claude" / "settings.json").touch()
    chosen = accesses(
        replace(box, writable=(tmp_path / "home" / ".claude",)), Settings(), {"HOME": str(tmp_path / "home")}
    )
    assert access_to(tmp_path / "home" / ".claude" / "sessions", chosen) == "write"
    assert access_to(tmp_path / "home" / ".claude" / "settings.json", chosen) == "read"


def test_a_person_has_the_last_word(box: Box, tmp_path: Path) -> None:
    settings = Settings(
        hide=("new",), show=("~/.ssh",), writable=("tinytown.toml", str(tmp_path / "state" / "agents" / "bob"))
    )
    (tmp_path / "space" / "new").touch()
    home = os.environ.get("HOME")
    os.environ["HOME"] = str(tmp_path / "home")
    try:
        now = seen(box, tmp_path, settings)
    finally:
        if home is not None:
            os.environ["HOME"] = home
    assert (now["space/new"], now["home/.ssh/id"]) == ("hidden", "read")
    assert (now["space/tinytown.toml"], now["state/agents/bob/x"]) == ("write", "write")


def test_what_a_program_was_installed_with(tmp_path: Path) -> None:
    for name in ("env/bin", "env/lib", "plain/bin", "a/node_modules/b/node_modules/c"):
        (tmp_path / name).mkdir(parents=True)
    expected = {
        "env/bin/x": "env",
        "plain/bin/x": "plain/bin/x",
        "x": "x",
        "a/node_modules/b/node_modules/c/x": "a/node_modules",
    }
    assert {name: str(installation(tmp_path / name).relative_to(tmp_path)) for name in expected} == expected
    assert installation(Path("/tmp/bin/x")) == Path("/tmp/bin/x")


@pytest.mark.parametrize("network", ["on", "off", ["example.org"], ["*.example.org:8443", "[::1]:80", "10.0.0.1"], []])
def test_a_network_is_on_off_or_a_list_of_hosts(network: object) -> None:
    settings = convert_settings(Settings, {"network": network}, Path("t.toml"), "plugins.sandbox")
    assert settings.hosts == (None if isinstance(network, str) else tuple(network))  # type: ignore[arg-type]


@pytest.mark.parametrize("network", ["some", ["https://example.org"], ["*"], ["a b"], ["a:x"], 3])
def test_anything_else_is_an_error_in_the_settings(network: object) -> None:
    with pytest.raises(ConfigError):
        convert_settings(Settings, {"network": network}, Path("t.toml"), "plugins.sandbox")


def test_settings_forbid_what_they_do_not_know() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"networc": "off"}, Settings)


@pytest.mark.parametrize(
    ("host", "port", "allowed"),
    [
        ("example.org", 443, True),
        ("Example.org.", 80, True),
        ("example.org", 22, False),
        ("evil-example.org", 443, False),
        ("example.org.evil.com", 443, False),
        ("api.github.com", 443, True),
        ("github.com", 443, False),
        ("evilgithub.com", 443, False),
        ("git.example.org", 22, True),
        ("git.example.org", 443, False),
        ("::1", 8080, True),
    ],
)
def test_a_host_is_on_the_list_or_not(host: str, port: int, allowed: bool) -> None:
    hosts = ("example.org", "*.github.com", "git.example.org:22", "[::1]:8080")
    assert relay.is_allowed(host, port, hosts) is allowed


def test_a_name_on_the_list_does_not_lead_to_this_machine() -> None:
    with pytest.raises(OSError, match="on this machine"):
        relay._connect("127.0.0.1", 9, ("*.example.org",))


def test_a_filter_is_whole_instructions_whose_jumps_stay_in_it() -> None:
    program = confine.filter_program()
    if program is None:
        pytest.skip("no filter for this machine")
    code = [program[place : place + 8] for place in range(0, len(program), 8)]
    assert len(program) % 8 == 0
    for number, statement in enumerate(code):
        if statement[0] & 7 == 5:  # a jump
            assert number + 1 + max(statement[2], statement[3]) < len(code)
    assert code[-1][0] == 6  # a return


# -- macOS, as text ------------------------------------------------------------------------------------------


def test_a_profile_of_seatbelt_says_the_same(box: Box, tmp_path: Path) -> None:
    text = profile(accesses(box, Settings(), {}), (tmp_path / "state" / "redis.sock",), network=True)
    lines = text.splitlines()
    assert lines[:3] == ["(version 1)", "(allow default)", "(deny file-write*)"]
    for rule in (
        f'(allow file-read* file-write* (subpath "{tmp_path}/space"))',
        f'(deny file-read* file-write* (subpath "{tmp_path}/state"))',
        f'(allow file-read* file-write* (subpath "{tmp_path}/state/agents/ada"))',
        f'(deny file-write* (subpath "{tmp_path}/space/tinytown.toml"))',
        f'(allow network-outbound (remote unix-socket (path-literal "{tmp_path}/state/redis.sock")))',
    ):
        assert rule in lines
    # The last rule that fits decides: what is inside comes after what it is in.
    assert lines.index(f'(deny file-read* file-write* (subpath "{tmp_path}/state"))') < lines.index(
        f'(allow file-read* file-write* (subpath "{tmp_path}/state/agents/ada"))'
    )
    assert text.count("(") == text.count(")")
    assert "(deny network*)" not in lines


def test_without_the_network_only_the_towns_socket_is_left(tmp_path: Path) -> None:
    lines = profile({}, (tmp_path / "s",), network=False).splitlines()
    assert lines[-2:] == [
        "(deny network*)",
        f'(allow network-outbound (remote unix-socket (path-literal "{tmp_path}/s")))',
    ]


def test_a_path_cannot_end_the_text_it_is_in() -> None:
    text = profile({Path('/a") (allow default) ("\\'): "hidden"}, (), network=True)
    assert '(subpath "/a\\") (allow default) (\\"\\\\")' in text


def test_seatbelt_has_a_problem_where_it_is_not() -> None:
    if not Path("/usr/bin/sandbox-exec").exists():
        assert "sandbox-exec" in Seatbelt(Settings()).problem()
