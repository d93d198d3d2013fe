"""Coming from Tinytown 0.10, as people type it: from a server or a directory, with the settings, once or twice."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tinytown.redis import Address, BlockingClient
from tinytown_migrate.old_settings import convert_settings, is_old, old_server_url
from tinytown_server.server import EmbeddedServer
from tinytown_testing.shell import Shell

from plugins.migrate.tests.old_towns import ADA, write_old_town

OLD_TOML = """\
name = "Shop"
default_cli = "tests"
max_agents = 10
use_central_redis = false

[agent]
idle_timeout_secs = 300

[agent_clis.claude]
name = "claude"
command = "claude --print"

[agent_clis.tests]
name = "tests"
command = "pytest -q | tail -5"
env = {{ API_KEY = "sk-secret" }}

[agent_clis.plain]
name = "plain"
command = "my-agent --print 'two words'"

[redis]
use_socket = true
socket_path = "{socket}"
password = "tt_secret"
"""


@pytest.fixture
def old(tt: Shell) -> Iterator[Path]:
    """The directory of an old town, whose server has it under the name Shop."""
    directory = tt.directory.parent / "old"
    directory.mkdir()
    server = EmbeddedServer(directory / "server")
    server.ensure()
    with BlockingClient(Address("unix", path=str(server.socket_path))) as client:
        write_old_town(client, "hash", "Shop")
    (directory / "tinytown.toml").write_text(OLD_TOML.format(socket=server.socket_path))
    yield directory
    server.stop()


def url(old: Path) -> str:
    return f"unix://{old / 'server' / 'redis.sock'}"


def test_a_town_is_made_from_the_old_ones_directory(tt: Shell, old: Path) -> None:
    before = {path: path.read_bytes() for path in old.iterdir() if path.is_file()}
    dry = tt("migrate", "--from-town", str(old), "--dry-run", "--json").json
    assert list(tt.directory.iterdir()) == []
    told = tt("migrate", "--from-town", str(old), "--json").json
    assert (told["old_town"], told["layouts"]) == ("Shop", {"hash": 10})
    added = {"agents": 3, "tasks": 7, "messages": 10, "dead_letters": 2, "plugin_data": 0}
    assert told["added"] == dry["added"] == added
    assert told["config"]["file"] == str(tt.directory / "tinytown.toml")
    assert told["left_out"] == {"activity": 1, "events": 1, "mission": 2}
    assert len(Path(told["leftovers"]).read_text().splitlines()) == 4
    assert {path: path.read_bytes() for path in before} == before
    status = tt("status", "--json").json
    assert (status["town"], status["tasks"]["pending"], status["dead"]) == ("shop", 4, 2)
    assert tt("inbox", "ada", "--json").json["messages"][0]["description"] == "the older"
    again = tt("migrate", "--from-town", str(old), "--json").json
    assert (set(again["added"].values()), again["same"], again["conflicts"]) == ({0}, told["added"], [])


def test_no_secret_of_the_old_settings_is_in_the_new_ones(tt: Shell, old: Path) -> None:
    answer = tt("migrate", "--from-town", str(old))
    text = (tt.directory / "tinytown.toml").read_text()
    for secret in ("tt_secret", "sk-secret"):
        assert secret not in text + answer.out + answer.err
    assert tomllib.loads(text) == {
        "name": "shop",
        "default_cli": "tests",
        "agent_clis": {
            "tests": {"command": ["sh", "-c", "pytest -q | tail -5"]},
            "plain": {"command": "my-agent --print 'two words'"},
        },
    }


def test_in_its_own_directory_the_old_file_is_kept_as_a_copy(tt: Shell, old: Path) -> None:
    before = (old / "tinytown.toml").read_text()
    tt("migrate", "--from-town", ".", cwd=old, code=4)
    tt("migrate", "--from-town", ".", "--dry-run", cwd=old)
    assert (old / "tinytown.toml").read_text() == before
    tt("migrate", "--from-town", ".", "--write", cwd=old)
    assert (old / "tinytown.toml.old").read_text() == before
    assert tt("status", "--json", cwd=old).json["tasks"]["assigned"] == 2
    again = tt("migrate", "--from-town", ".", "--json", cwd=old).json
    assert set(again["added"].values()) == {0}
    assert (old / "tinytown.toml.old").read_text() == before


def test_a_town_that_is_here_keeps_its_settings_and_its_agents(tt: Shell, old: Path) -> None:
    tt("init", "--name", "mine")
    tt("spawn", "ada", "--cli", "shell")
    settings = (tt.directory / "tinytown.toml").read_text()
    told = tt("migrate", "--from", url(old), "--json").json
    assert {each["new"] for each in told["renamed"]} == {"ada-a000", "ada-c000"}
    assert (told["config"], told["conflicts"]) == (None, [])
    assert (tt.directory / "tinytown.toml").read_text() == settings
    assert {each["id"]: each["name"] for each in tt("list", "--json").json["agents"]}[ADA] == "ada-a000"


def test_several_towns_on_one_server_are_listed_and_chosen_from(tt: Shell, old: Path) -> None:
    tt("init", "--name", "mine")
    with BlockingClient(Address("unix", path=str(old / "server" / "redis.sock"))) as client:
        write_old_town(client, "nameless")
    error = tt("migrate", "--from", url(old), "--json", code=2).error
    assert error["code"] == "ambiguous"
    assert "Shop" in error["message"]
    assert tt("migrate", "--from", url(old), "--name", "zed", "--json", code=3).error["code"] == "not_found"
    told = tt("migrate", "--from", url(old), "--nameless", "--output", "old.jsonl", "--json").json
    assert (told["old_town"], told["layouts"]) == (None, {"json": 10})
    tt("restore", told["output"])
    assert len(tt("list", "--json").json["agents"]) == 3


def test_words_that_cannot_be_meant_are_refused(tt: Shell, old: Path) -> None:
    tt("init", "--name", "mine")
    tt("migrate", code=2)
    tt("migrate", "--from", url(old), "--from-town", str(old), code=2)
    tt("migrate", "--from", url(old), "--name", "x", "--nameless", code=2)
    tt("migrate", "--from", "http://x", code=2)
    tt("migrate", "--from-town", str(tt.directory / "nowhere"), code=3)
    tt("migrate", "--from", f"unix://{tt.directory}/nobody.sock", code=5)
    error = tt("migrate", "--from", f"unix://{tt.directory}/.tt/redis.sock", "--json", code=3).error
    assert "no old town" in error["message"]


def test_a_password_of_the_environment_is_used_and_never_shown(tt: Shell, old: Path) -> None:
    socket = old / "server" / "redis.sock"
    with BlockingClient(Address("unix", path=str(socket))) as client:
        client.command("CONFIG", "SET", "requirepass", "hunter2")
    try:
        tt("init", "--name", "mine")
        tt("migrate", "--from", url(old), code=5)
        told = tt("migrate", "--from", url(old), "--dry-run", "-v", env={"TINYTOWN_REDIS_PASSWORD": "hunter2"})
        assert "hunter2" not in told.out + told.err
    finally:
        with BlockingClient(Address("unix", path=str(socket), password="hunter2")) as client:
            client.command("CONFIG", "SET", "requirepass", "")


def test_where_an_old_town_has_its_server(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    socket.touch()
    assert old_server_url({"redis": {"socket_path": "redis.sock"}}, tmp_path) == f"unix://{socket}"
    assert old_server_url({"redis": {"socket_path": "gone.sock"}}, tmp_path) == "redis://127.0.0.1:6379/0"
    central = {
        "use_central_redis": True,
        "redis": {"port": 16379, "password": "p@ss/word", "socket_path": "redis.sock"},
    }
    assert old_server_url(central, tmp_path) == "redis://:p%40ss%2Fword@127.0.0.1:16379/0"
    assert old_server_url({"redis": {"tls_enabled": True, "host": "r"}}, tmp_path) == "rediss://r:6379/0"
    assert old_server_url({"redis": {"url": "redis://u:p@h:1/2"}}, tmp_path) == "redis://u:p@h:1/2"


def test_settings_that_have_no_place_are_named_with_the_reason() -> None:
    table = tomllib.loads(OLD_TOML.format(socket="s") + "\n[townhall]\nrest_port = 1\n[x]\ny = 1\n")
    assert is_old(table)
    told = {each.key: each.reason for each in convert_settings(table).not_taken}
    assert {"name", "max_agents", "agent.idle_timeout_secs", "townhall", "x.y", "redis.password"} <= set(told)
    assert "tinytown-claude" in told["agent_clis.claude"]
    assert "TINYTOWN_REDIS_PASSWORD" in told["redis.password"]
    assert not is_old(tomllib.loads('name = "x"\n[redis]\nurl = "redis://h"\n'))


def test_an_external_server_stays_the_towns_without_its_password() -> None:
    table = {"name": "x", "redis": {"url": "rediss://u:p@h:7/2", "tls_ca_cert": "ca.pem", "host": "unused"}}
    settings = convert_settings(table)
    assert tomllib.loads(settings.text)["redis"] == {"url": "rediss://u@h:7/2", "ca_file": "ca.pem"}
    assert json.dumps([each.key for each in settings.not_taken]).count("redis") == 2
