"""`tt migrate` as people type it: from a server or a directory, with the settings, once or twice."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tinytown.redis import Address, parse_url
from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.rust_towns import is_old
from tinytown_migrate.old_clis import OldCli, recognize
from tinytown_migrate.old_settings import convert_settings, old_server_url
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
    with BlockingClient(parse_url(server.url)) as client:
        write_old_town(client, "hash", "Shop")
        client.command("CONFIG", "SET", "requirepass", "")  # as servers of that release have it
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
    settings = tomllib.loads((tt.directory / "tinytown.toml").read_text())
    assert tt("where", "--json").json["id"] == settings["id"]
    again = tt("migrate", "--from-town", str(old), "--json").json
    assert tomllib.loads((tt.directory / "tinytown.toml").read_text()) == settings
    assert (set(again["added"].values()), again["same"], again["conflicts"]) == ({0}, report["added"], [])


def test_the_new_settings_hold_no_secret(tt: Shell, old: Path) -> None:
    answer = tt("migrate", "--from-town", str(old))
    text = (tt.directory / "tinytown.toml").read_text()
    for secret in ("tt_secret", "sk-secret"):
        assert secret not in text + answer.out + answer.err
    settings = tomllib.loads(text)
    assert settings.pop("id").startswith("shop-")
    assert settings == {
        "name": "shop",
        "default_cli": "tests",
        "agent_clis": {
            "tests": {"command": ["sh", "-c", "pytest -q | tail -5"]},
            "plain": {"command": "my-agent --print 'two words'"},
        },
        "plugins": {"claude": {"extra_args": ["--verbose"]}},  # of an agent that ran a whole command
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
    with BlockingClient(parse_url(EmbeddedServer(old / "server").url)) as client:
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
    error = tt("migrate", "--from", tt.server().url, "--json", code=3).error
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
    assert old_server_url({"redis": {"socket_path": "gone.sock"}}, tmp_path) == f"unix://{tmp_path}/gone.sock"
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


@pytest.mark.parametrize(
    ("command", "old"),
    [
        ("claude --print --dangerously-skip-permissions", OldCli(kind="claude", full=True)),
        ("/usr/bin/claude -p --model opus --verbose", OldCli(kind="claude", model="opus", others=("--verbose",))),
        ("codex exec -m gpt-5.4-mini", OldCli(kind="codex-mini")),
        ("codex exec --dangerously-bypass-approvals-and-sandbox", OldCli(kind="codex", full=True)),
        ("codex exec --model=gpt-5.4", OldCli(kind="codex", model="gpt-5.4")),
        ("gh copilot", OldCli(kind="copilot")),
        ("auggie --print", OldCli(kind="auggie")),
        ("aider --yes --no-auto-commits --message", OldCli(kind="aider")),
        ("cursor-agent", OldCli(kind="cursor")),
        ("claude --api-key sk-1 --model opus", OldCli(kind="claude", model="opus")),
        ("claude --print | tee log", None),
        ("gh issue list", None),
        ("my-agent --print", None),
        ("claude 'never closed", None),
        ("", None),
    ],
)
def test_what_the_old_town_ran_is_a_kind_with_settings(command: str, old: OldCli | None) -> None:
    assert recognize(command) == old


def test_what_a_preset_chose_becomes_settings_of_its_plugin_if_that_is_installed() -> None:
    table = {
        "name": "x",
        "default_cli": "claude --print --dangerously-skip-permissions",
        "agent_clis": {"codex": {"command": "codex exec -m gpt-5.4 --full-auto"}},
    }
    settings = convert_settings(table, commands=["codex"], plugins={"claude"})
    assert tomllib.loads(settings.text) == {
        "name": "x",
        "default_cli": "claude",
        "plugins": {"claude": {"permissions": "full"}},
    }
    assert '# [plugins.codex]\n# model = "gpt-5.4"\n# extra_args = ["--full-auto"]\n' in settings.text


def test_letters_with_accents_lose_no_more_than_these(tt: Shell, old: Path) -> None:
    assert convert_settings({"name": "Ünï Café"}).name == "uni-cafe"
    with BlockingClient(Address("unix", path=str(old / "server" / "redis.sock"))) as client:
        client.command("HSET", f"tt:Shop:agent:{ADA}", "name", "Zoë", "nickname", "Ünï")
    report = tt("migrate", "--from-town", str(old), "--json").json
    assert {"id": ADA, "old": "Zoë", "new": "Zoe"} in report["renamed"]
    assert tt("list", "--json").json["agents"][0]["nickname"] == "Uni"


@pytest.mark.parametrize("words", [("--dry-run",), ()])
def test_workers_that_still_run_are_named_and_nothing_is_written(tt: Shell, old: Path, words: tuple[str, ...]) -> None:
    before = (old / "tinytown.toml").read_bytes()
    id_ = str(uuid.uuid4())  # a process is looked for on the whole machine, also by other tests
    with BlockingClient(Address("unix", path=str(old / "server" / "redis.sock"))) as client:
        client.command("HSET", f"tt:Shop:agent:{id_}", "id", id_, "name", "eve", "state", "idle", "cli", "claude")
    sleep = "import time; time.sleep(600)"
    worker = subprocess.Popen([sys.executable, "-c", sleep, "--town", str(old), "agent-loop", "eve", id_, "10"])
    try:
        refused = tt("migrate", "--from-town", ".", "--write", *words, "--json", cwd=old, code=4).error
        assert refused["code"] == "workers_running"
        assert f"(process {worker.pid})" in refused["message"]
        assert "is no longer on the server" in refused["message"]
        assert f"kill {worker.pid}" in refused["hint"]
        assert (old / "tinytown.toml").read_bytes() == before
        assert sorted(path.name for path in old.iterdir()) == ["server", "tinytown.toml"]
        assert tt("migrate", "--from-town", ".", "--write", "--force", "--dry-run", "--json", cwd=old).json["dry_run"]
    finally:
        worker.kill()
        worker.wait()
    tt("migrate", "--from-town", ".", "--write", cwd=old)


def test_an_agent_that_was_alive_a_moment_ago_elsewhere_counts(tt: Shell, old: Path) -> None:
    with BlockingClient(Address("unix", path=str(old / "server" / "redis.sock"))) as client:
        now = subprocess.run(["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"], capture_output=True, text=True, check=True).stdout
        client.command("HSET", f"tt:Shop:agent:{ADA}", "state", "working", "last_heartbeat", now.strip())
        assert "alive " in tt("migrate", "--from-town", str(old), "--json", code=4).error["message"]
        client.command("HSET", f"tt:Shop:agent:{ADA}", "state", "stopped")
    tt("migrate", "--from-town", str(old), "--dry-run")


def test_a_migration_that_cannot_be_written_leaves_the_old_file(tt: Shell, old: Path) -> None:
    (old / "tinytown.toml").write_text(
        (old / "tinytown.toml").read_text() + '\n[agent_clis."no name"]\ncommand = "x"\n'
    )
    before = (old / "tinytown.toml").read_bytes()
    env = {"REDIS_URL": "redis://127.0.0.1:1"}
    tt("migrate", "--from-town", ".", "--write", cwd=old, env=env, code=5)
    assert (old / "tinytown.toml").read_bytes() == before


def test_the_way_to_start_the_server_of_a_socket_town_is_said(tt: Shell, old: Path) -> None:
    table = (old / "tinytown.toml").read_text().replace("redis.sock", "gone.sock")
    (old / "tinytown.toml").write_text(table)
    error = tt("migrate", "--from-town", str(old), "--json", code=5).error
    assert "look for the dump.rdb" in error["hint"]
    (old / "dump.rdb").touch()
    error = tt("migrate", "--from-town", str(old), "--json", code=5).error
    assert f"its data is in {old}/dump.rdb: cd {old} && redis-server --port 0 --unixsocket" in error["hint"]


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("status",),
        ("spawn", "ada"),
        ("task", "list"),
        ("start",),
        ("assign", "ada", "x"),
        ("inbox",),
    ],
)
def test_in_a_town_of_the_old_program_every_command_says_that_migrating_is_the_way(
    tt: Shell, old: Path, words: tuple[str, ...]
) -> None:
    error = tt(*words, "--json", cwd=old, code=2).error
    assert "is a town of Tinytown 0.10 (in Rust)" in error["message"]
    assert f"tt migrate --from-town {old} --dry-run" in error["hint"]


def test_the_doctor_says_so_too(tt: Shell, old: Path) -> None:
    findings = tt("doctor", "--json", cwd=old, code=1).json["findings"]
    (finding,) = [each for each in findings if each["check"] == "settings"]
    assert "is a town of Tinytown 0.10 (in Rust)" in finding["found"]
    assert "tt migrate" in finding["fix"]


def test_a_plan_that_the_old_program_has_pushed_is_not_pushed_again(tt: Shell, old: Path) -> None:
    with BlockingClient(Address("unix", path=str(old / "server" / "redis.sock"))) as client:
        id_ = "90000000-0000-4000-8000-000000000001"
        fields = {"id": id_, "description": "write it", "state": "pending", "tags": '["docs", "plan:task-7"]'}
        fields |= {"created_at": "2026-01-31T09:00:00Z", "updated_at": "2026-01-31T09:00:00Z"}
        client.command("HSET", f"tt:Shop:task:{id_}", *(part for pair in fields.items() for part in pair))
    tt("migrate", "--from-town", str(old))
    (tt.directory / "tasks.toml").write_text(
        '[[tasks]]\nid = "task-7"\ndescription = "write it"\ntags = ["docs"]\n'
        '[[tasks]]\nid = "task-8"\ndescription = "review it"\nneeds = ["task-7"]\ntags = ["docs"]\n'
    )
    report = tt("sync", "push", "--json").json
    assert (report["created"], report["skipped"]) == (1, 1)
    assert report["tasks"][0]["reason"] == f"Tinytown 0.10 pushed it as task {id_}"
    assert tt("task", "show", "task-8", "--json").json["needs"] == [id_]
    assert tt("sync", "push", "--json").json["created"] == 0
