"""`tt migrate` as people type it: from a server or a directory, with the settings, once or twice."""

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

from .old_towns import ADA, write_old_town

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


def test_a_town_is_created_from_the_directory_of_the_old_one(tt: Shell, old: Path) -> None:
    before = {path: path.read_bytes() for path in old.iterdir() if path.is_file()}
    dry = tt("migrate", "--from-town", str(old), "--dry-run", "--json").json
    assert list(tt.directory.iterdir()) == []
    report = tt("migrate", "--from-town", str(old), "--json").json
    assert (report["old_town"], report["layouts"]) == ("Shop", {"hash": 10})
    added = {"agents": 3, "tasks": 7, "messages": 10, "dead_letters": 2, "plugin_data": 0}
    assert report["added"] == dry["added"] == added
    assert report["config"]["file"] == str(tt.directory / "tinytown.toml")
    assert report["left_out"] == {"activity": 1, "events": 1, "mission": 2}
    assert len(Path(report["leftovers"]).read_text().splitlines()) == 4
    assert {path: path.read_bytes() for path in before} == before
    status = tt("status", "--json").json
    assert (status["town"], status["tasks"]["pending"], status["dead"]) == ("shop", 4, 2)
    assert tt("inbox", "ada", "--json").json["messages"][0]["description"] == "the older"
    again = tt("migrate", "--from-town", str(old), "--json").json
    assert (set(again["added"].values()), again["same"], again["conflicts"]) == ({0}, report["added"], [])


def test_the_new_settings_hold_no_secret(tt: Shell, old: Path) -> None:
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


def test_an_existing_town_keeps_its_settings_and_agents(tt: Shell, old: Path) -> None:
    tt("init", "--name", "mine")
    tt("spawn", "ada", "--cli", "shell")
    settings = (tt.directory / "tinytown.toml").read_text()
    report = tt("migrate", "--from", url(old), "--json").json
    assert {item["new"] for item in report["renamed"]} == {"ada-a000", "ada-c000"}
    assert (report["config"], report["conflicts"]) == (None, [])
    assert (tt.directory / "tinytown.toml").read_text() == settings
    assert {item["id"]: item["name"] for item in tt("list", "--json").json["agents"]}[ADA] == "ada-a000"


def test_one_of_several_towns_on_a_server_is_chosen(tt: Shell, old: Path) -> None:
    tt("init", "--name", "mine")
    with BlockingClient(Address("unix", path=str(old / "server" / "redis.sock"))) as client:
        write_old_town(client, "nameless")
    error = tt("migrate", "--from", url(old), "--json", code=2).error
    assert error["code"] == "ambiguous"
    assert "Shop" in error["message"]
    assert tt("migrate", "--from", url(old), "--name", "zed", "--json", code=3).error["code"] == "not_found"
    report = tt("migrate", "--from", url(old), "--nameless", "--output", "old.jsonl", "--json").json
    assert (report["old_town"], report["layouts"]) == (None, {"json": 10})
    tt("restore", report["output"])
    assert len(tt("list", "--json").json["agents"]) == 3


def test_invalid_options_are_refused(tt: Shell, old: Path) -> None:
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
        report = tt("migrate", "--from", url(old), "--dry-run", "-v", env={"TINYTOWN_REDIS_PASSWORD": "hunter2"})
        assert "hunter2" not in report.out + report.err
    finally:
        with BlockingClient(Address("unix", path=str(socket), password="hunter2")) as client:
            client.command("CONFIG", "SET", "requirepass", "")


def test_the_server_of_an_old_town_is_found(tmp_path: Path) -> None:
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


def test_settings_without_a_counterpart_are_reported_with_the_reason() -> None:
    table = tomllib.loads(OLD_TOML.format(socket="s") + "\n[townhall]\nrest_port = 1\n[x]\ny = 1\n")
    assert is_old(table)
    report = {item.key: item.reason for item in convert_settings(table).not_taken}
    assert {"name", "max_agents", "agent.idle_timeout_secs", "townhall", "x.y", "redis.password"} <= set(report)
    assert "tinytown-claude" in report["agent_clis.claude"]
    assert "TINYTOWN_REDIS_PASSWORD" in report["redis.password"]
    assert not is_old(tomllib.loads('name = "x"\n[redis]\nurl = "redis://h"\n'))


def test_an_external_server_is_kept_without_its_password() -> None:
    table = {"name": "x", "redis": {"url": "rediss://u:p@h:7/2", "tls_ca_cert": "ca.pem", "host": "unused"}}
    settings = convert_settings(table)
    assert tomllib.loads(settings.text)["redis"] == {"url": "rediss://u@h:7/2", "ca_file": "ca.pem"}
    assert json.dumps([item.key for item in settings.not_taken]).count("redis") == 2
