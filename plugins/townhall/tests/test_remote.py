"""The command line over a townhall: the same commands, from a directory that knows nothing of the town."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from tinytown.model.ids import new_id
from tinytown.model.messages import Query
from tinytown.protocol import Operation, TownOperations
from tinytown.redis import pack
from tinytown_cli.public import TownCommand
from tinytown_cli.remote import REASONS
from tinytown_testing.shell import Answer, Shell, open_shell
from tinytown_testing.towns import TownDirectory
from tinytown_townhall.auth import check_scopes
from tinytown_townhall.keys import new_key, store_key

from plugins.townhall.tests.browsing import TownServer
from plugins.townhall.tests.conftest import DEADLINE_S, Client, open_client


@pytest.fixture(scope="module")
def shell() -> Generator[Shell]:
    with open_shell() as shell:
        shell("init", "--name", "far")
        yield shell


@pytest.fixture(scope="module")
def server(shell: Shell) -> Generator[TownServer]:
    server = TownServer(shell)
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Remote:
    """``tt --url URL --key-file FILE`` in a directory of its own."""

    def __init__(self, shell: Shell, url: str, key: str, directory: Path) -> None:
        self.shell = shell
        self.url = url
        self.key_file = directory / "key"
        self.key_file.write_text(key + "\n")
        self.key_file.chmod(0o600)
        self.directory = directory / "elsewhere"
        self.directory.mkdir()

    def __call__(self, *words: str, **options: Any) -> Answer:
        where = ("--url", self.url, "--key-file", str(self.key_file))
        return self.shell(*where, *words, **{"cwd": self.directory, **options})

    def json(self, *words: str, **options: Any) -> Any:
        return self(*words, "--json", **options).json


@pytest.fixture
def remote(shell: Shell, server: TownServer, tmp_path: Path) -> Remote:
    return Remote(shell, server.url, server.key, tmp_path)


def test_a_kernel_of_the_towns_machine_is_the_one_that_runs(remote: Remote, shell: Shell) -> None:
    shell.variables.pop("TINYTOWN_NO_KERNEL")
    shell("start", "--background")
    try:
        host = shell.json("status")["hosts"][0]
        kernel = {"running": True, "pid": host["pid"], "host": host["name"], "outdated": None}
        assert remote.json("status")["kernel"] == kernel
    finally:
        os.kill(host["pid"], signal.SIGTERM)


def test_a_task_goes_its_way_from_elsewhere(remote: Remote, shell: Shell) -> None:
    assert remote.json("spawn", "ada", "--cli", "echo")["name"] == "ada"
    assert "no agents" not in remote("list").out
    task = remote.json("assign", "ada", "count the words", "--title", "Words")["task_id"]
    other = remote.json("backlog", "add", "sum them", "--needs", task)["task_id"]
    assert remote.json("task", "show", task[:8]) == shell.json("task", "show", task)
    assert remote.json("task", "list") == shell.json("task", "list")
    here, there = shell.json("status"), remote.json("status")
    assert there["tasks"] == here["tasks"]
    assert there["redis"] == {"url": remote.url, "version": here["redis"]["version"]}
    assert there["kernel"]["running"] is False
    assert remote.json("task", "why", other)["reasons"][0]["task"] == task
    assert remote.json("task", "tree", other)["tree"][0]["below"][0]["id"] == task
    assert remote.json("why", "ada")["agent"]["name"] == "ada"
    assert remote.json("task", "requeue", task)["assigned_to"] is None
    assert [each["id"] for each in remote.json("backlog", "list")["tasks"]] == [task]
    remote("backlog", "claim", task, "ada")
    assert remote.json("task", "complete", task, "--result", "42")["result"] == "42"
    assert remote.json("wait", "--task", task)["tasks"][0]["state"] == "completed"
    remote("task", "cancel", other, "--reason", "no longer wanted")
    assert shell.json("task", "show", other)["reason"] == "no longer wanted"
    assert remote("wait", "--task", other, code=1).err


def test_mail_and_agents_from_elsewhere(remote: Remote, shell: Shell) -> None:
    remote("spawn", "bea", "--cli", "echo")
    sent = remote.json("send", "bea", "--query", "how far are you?")
    assert remote.json("inbox", "bea") == shell.json("inbox", "bea")
    assert remote.json("inbox")["agent"] == "supervisor"
    assert [step["what"] for step in remote.json("trace", sent["message_id"][:8])["trace"]]
    for verb, state in (("interrupt", "paused"), ("resume", "running"), ("restart", "running"), ("kill", "stopped")):
        assert remote.json(verb, "bea")["agents"][0]["desired_state"] == state
    assert remote.json("kill", "bea", "--wait")["agents"][0]["name"] == "bea"
    types = [event["type"] for event in remote("events", "--limit", "200", "--json").lines]
    assert "message_sent" in types
    assert "townhall_request" in types
    assert remote.json("remove", "bea", "--force")["removed"] == ["bea"]
    assert remote("inbox", "bea", code=3).err
    assert remote.json("hosts")["hosts"] == []
    assert remote.json("costs")["rows"] == []
    assert remote.json("questions")["questions"] == []
    assert remote.json("estop")["frozen"] is not None
    remote("thaw")


def test_a_command_that_is_not_served_says_so(remote: Remote) -> None:
    for words in (("init",), ("stop",), ("restore", "x"), ("config", "set", "name", "x"), ("townhall",), ("where",)):
        error = remote(*words, "--json", code=2).error
        assert error["code"] == "not_served", words
        assert REASONS[" ".join(words[:2]) if words[0] == "config" else words[0]] in error["message"]
    assert not list(remote.directory.iterdir())
    assert remote("status", "--town", ".", "--json", code=2).error["code"] == "usage"


def test_errors_say_whose_fault_they_are(remote: Remote, shell: Shell, server: TownServer, tmp_path: Path) -> None:
    assert "ttk_" not in remote("task", "show", "nothing", code=3).err
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    key = ("--key-file", str(remote.key_file))
    unreachable = shell("--url", url, *key, "status", "--json", code=5).error
    assert "cannot reach the townhall" in unreachable["message"]
    assert shell("--url", server.url, "status", "--json", code=4).error["code"] == "unauthorized"
    for bad in (
        "http://example.org:1",
        "ftp://localhost",
        "localhost:8787",
        "https://me:secret@example.org",
        "https://",
    ):
        error = shell("--url", bad, *key, "status", "--json", code=2).error
        assert "secret" not in str(error)
    wrong = tmp_path / "wrong"
    wrong.write_text("ttk_wrong_key\n")
    wrong.chmod(0o600)
    wrong_key = shell("--url", server.url, "--key-file", str(wrong), "status", "--json", code=4).error
    assert wrong_key["code"] == "unauthorized"
    assert "wrong_key" not in wrong_key["message"]
    wrong.chmod(0o644)
    assert "chmod 600" in shell("--url", server.url, "--key-file", str(wrong), "status", code=2).err
    shell("--url", server.url, "--key-file", str(tmp_path / "none"), "status", code=3)
    environment = {"TINYTOWN_URL": server.url, "TINYTOWN_KEY_FILE": str(remote.key_file)}
    assert shell.json("status", cwd=remote.directory, env=environment)["town"] == "far"
    unset = shell("where", "--json", code=2, cwd=remote.directory, env=environment).error
    assert "unset TINYTOWN_URL" in unset["hint"]
    inside = {"TINYTOWN_ROUND_ID": "r1", "TINYTOWN_AGENT_ID": "a1", "TINYTOWN_TOWN": str(shell.directory)}
    assert remote("status", "--json", code=4, env=inside).error["code"] == "not_allowed"
    # A round has its own town, whatever a person's variable says.
    assert (
        shell.json("list", env={**environment, **inside, "TINYTOWN_URL": "https://elsewhere.example"})["agents"]
        is not None
    )


def test_a_scope_is_asked_for_each_command(remote: Remote, shell: Shell, server: TownServer, tmp_path: Path) -> None:
    (tmp_path / "reader").mkdir()
    key = shell.json("auth", "key", "create", "reader", "--scope", "town.read")["key"]
    reader = Remote(shell, server.url, key, tmp_path / "reader")
    assert reader.json("status")["town"] == "far"
    error = reader("backlog", "add", "more", "--json", code=4).error
    assert (error["code"], "town.write" in error["message"]) == ("not_allowed", True)
    assert reader("spawn", "eve", "--cli", "echo", "--json", code=4).error["code"] == "not_allowed"


@pytest.mark.parametrize("version", ["9.9.9", None])
def test_another_version_is_named(shell: Shell, remote: Remote, version: str | None) -> None:
    answer = {"root": "/x", "version": version, "schema": "2", "settings": {"name": "far"}} if version else {}
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                body = json.dumps(answer).encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        error = shell(
            "--url", url, "--key-file", str(remote.key_file), "status", "--json", code=4 if version else 5
        ).error
        thread.join()
    assert error["code"] == ("version_mismatch" if version else "protocol_violation")


def test_over_tls_the_certificate_is_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    with open_shell() as shell:
        shell("init", "--name", "safe")
        own.cert_chain_pems[0].write_to_path(shell.directory / "cert.pem")
        own.private_key_pem.write_to_path(shell.directory / "key.pem")
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        settings = shell.directory / "tinytown.toml"
        table = '\n[plugins.townhall]\nbind = "localhost"\ncert_file = "cert.pem"\nkey_file = "key.pem"\n'
        settings.write_text(settings.read_text() + table)
        server = TownServer(shell)
        try:
            server.start()
            remote = Remote(shell, server.url, server.key, tmp_path)
            assert remote.url.startswith("https://localhost:")
            refused = remote("status", "--json", code=5).error
            assert refused["code"] == "certificate_refused"
            assert remote.json("status", env={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})["town"] == "safe"
            other = remote.url.replace("localhost", "127.0.0.1")
            assert shell(
                "--url", other, "--key-file", str(remote.key_file), "status", "--json", code=5,
                env={"SSL_CERT_FILE": str(tmp_path / "ca.pem")},
            ).error["code"] == "certificate_refused"  # fmt: skip
        finally:
            server.stop()


# -- commands that the townhall runs


def test_what_needs_files_of_the_town_is_answered_there(remote: Remote, shell: Shell) -> None:
    remote("spawn", "cleo", "--cli", "echo")
    for words in (
        ("history",),
        ("history", "cleo", "--limit", "5"),
        ("prompt", "cleo"),
        ("roles",),
        ("plugins",),
        ("budget",),
        ("config", "list"),
        ("recover",),
        ("group", "list"),
        ("recall",),
        ("reservations",),
        ("merge",),
        ("ready",),
        ("mail", "inbox"),
        ("dep", "cycles"),
    ):
        here, there = shell(*words), remote(*words)
        assert there.out == here.out, words
        assert remote.json(*words) == shell.json(*words), words


def test_changes_by_commands_that_the_townhall_runs(remote: Remote, shell: Shell) -> None:
    task = remote.json("backlog", "add", "sum them up")["task_id"]
    assert remote.json("group", "create", "release", task)["total"] == 1
    assert shell.json("group", "status", "release")["total"] == 1
    assert remote("remember", "-", "--key", "style", given=b"short names\n").out
    assert "short names" in shell("recall", "style").out
    assert remote.json("reserve", "src/api", "--hours", "1")["agent"] == "supervisor"
    assert remote.json("prune", "--older-than", "3d", "--dry-run")["agents"] == []
    requests = [
        each for each in remote("events", "--limit", "50", "--json").lines if each["type"] == "townhall_request"
    ]
    assert any(each["path"] == "/commands group create" for each in requests)


def test_errors_and_exit_codes_of_such_commands_are_their_own(remote: Remote, shell: Shell) -> None:
    for words, code in (
        (("history", "--task", "nothing"), 3),
        (("group", "status", "nothing"), 3),
        (("diff", "nothing"), 3),
    ):
        here, there = shell(*words, "--json", code=code).error, remote(*words, "--json", code=code).error
        assert there == here, words
    assert remote("history", "--limit", "0", code=2).err == shell("history", "--limit", "0", code=2).err
    assert remote("logs", "ada", "--follow", "--json", code=2).error["code"] == "not_served"
    assert remote("save", "x.jsonl", "--json", code=2).error["code"] == "not_served"
    assert not list(remote.directory.iterdir())


def test_documents_are_read_and_written_where_the_command_is_typed(remote: Remote, shell: Shell) -> None:
    (remote.directory / "in.jsonl").write_text(
        '{"id": "bd-1", "title": "Count", "status": "open", "issue_type": "task"}\n'
    )
    assert remote.json("task", "import", "in.jsonl", "--format", "beads")["created"] == 1
    assert remote("task", "export", "out.jsonl", "--format", "beads").out
    assert "Count" in (remote.directory / "out.jsonl").read_text()
    refused = remote("task", "result", "bd-1", "--json", code=4).error
    assert refused == shell("task", "result", "bd-1", "--json", code=4).error


async def test_only_commands_with_a_scope_are_run_and_only_with_their_own_parameters(client: Client) -> None:
    async def ask(command: Any, parameters: Any = None, **more: Any) -> Any:
        return await client.ask("POST", "/commands", {"command": command, "parameters": parameters or {}, **more})

    assert (await ask("roles")).status == 200
    for command in ("config set", "stop", "init", "nothing", "group", "auth key list", "merge nothing"):
        answer = await ask(command)
        assert (answer.status, answer.code) == (403, "not_served"), command
    for command in ("", "--town", "roles --json", "../x", "Roles", 7, None):
        assert (await ask(command)).status == 400, command
    for name, value in (("follow", True), ("file", "/etc/passwd"), ("town", "/"), ("json", True), ("help", True)):
        for command in ("logs", "save", "plan"):
            assert (await ask(command, {name: value})).status in (400, 403), (command, name)
    for wrong in ({"limit": "many"}, {"limit": 0}, {"limit": {"a": 1}}, {"task": [["x"]]}):
        assert (await ask("history", wrong)).status == 400, wrong
    assert (await ask("history", extra=1)).status == 400
    # What is a dash elsewhere is no standard input here.
    said = (await ask("remember", {"text": "-", "key": "dash"})).json
    assert said["exit_code"] == 0, said
    assert (await client.ask("POST", "/commands", raw=b"{}", headers={"Content-Type": "text/plain"})).status == 415


@pytest.mark.parametrize(
    ("body", "status", "seen"),
    [
        (lambda: {}["x"], 500, {"code": "internal"}),
        (lambda: sys.exit(3), 200, {"exit_code": 3, "error": None}),
        (lambda: sys.exit("no"), 200, {"exit_code": 1, "error": None}),
    ],
    ids=["raises", "exits", "exits with words"],
)
async def test_a_command_that_fails_ends_nothing_but_itself(
    client: Client, monkeypatch: pytest.MonkeyPatch, body: Any, status: int, seen: dict[str, Any]
) -> None:
    command = TownCommand("odd", callback=body, scope="town.read")
    monkeypatch.setattr("tinytown_townhall.commands.served_command", lambda name, root: command)
    answer = await client.ask("POST", "/commands", {"command": "odd", "parameters": {}})
    assert answer.status == status
    assert answer.json.items() >= seen.items()
    assert (await client.ask("GET", "/v1/status")).status == 200


async def test_a_scope_is_asked_for_each_command_and_option(town_dir: TownDirectory) -> None:
    with trio.fail_after(DEADLINE_S):
        async with town_dir.connect() as town, open_client(town, auth="key") as client:
            record, key = new_key("reader", check_scopes(("town.read",)), None)
            await town.run(store_key(town.operations, record))
            body = {"command": "budget", "parameters": {}}
            assert (await client.ask("POST", "/commands", body)).status == 401
            client.headers["Authorization"] = f"Bearer {key}"
            assert (await client.ask("POST", "/commands", body)).status == 200
            for command, given in (("budget", {"apply": True}), ("config list", {}), ("forget", {"key": "x"})):
                answer = await client.ask("POST", "/commands", {"command": command, "parameters": given})
                assert (answer.status, answer.code) == (403, "not_allowed"), command


# -- what the endpoint refuses, whoever asks


async def functions(client: Client, *operations: Operation[Any] | tuple[Any, ...], raw: bytes = b"") -> Any:
    words = [each.command if isinstance(each, Operation) else each for each in operations]
    body = b"".join(map(pack, words)) + raw
    return await client.ask("POST", "/functions", raw=body, headers={"Content-Length": str(len(body))})


async def test_only_what_is_in_the_table_is_served(client: Client) -> None:
    town = client.town.operations
    assert (await functions(client, town.status())).status == 200
    base = town.keys.base
    for refused in (
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("EVAL", "return 1", 0),
        ("FUNCTION", "LOAD", "REPLACE", "x"),
        ("HGETALL", f"{base}:plugin:townhall"),
        ("HGET", f"{base}:plugin:townhall", "key.x"),
        ("HGETALL", f"{base}:agents"),
        ("GET", "other"),
        ("XRANGE", "other:events", "-", "+"),
        ("XREAD", "BLOCK", 0, "STREAMS", f"{base}:events", "$"),
        ("XREAD", "BLOCK", 999_999, "STREAMS", f"{base}:events", "$"),
        TownOperations("another").status(),
        town.emit("townhall_request", {"principal": "nobody"}),
        town.register_host(new_id(), lease_ms=1_000, details={"name": "x"}),
        town.set_budgets({"day_usd": 1}),
        town.set_plugin_field("townhall", "key.x", {"scopes": ["admin"]}),
        town.set_plugin_field("ops", "notice", "all is well"),
    ):
        answer = await functions(client, town.status(), refused)
        assert (answer.status, answer.code) == (403, "not_served"), refused
    assert await client.town.agents() == ()


async def test_nobody_speaks_for_an_agent(client: Client) -> None:
    ada = await client.town.spawn("ada", cli="scripted")
    town = client.town.operations
    for wrong in (
        town.send("supervisor", Query(question="May I?"), sender="ada"),
        town.send("supervisor", Query(question="May I?"), sender=ada.id),
        town.settle_task("complete", "x", text="done", token="abc"),
        ("FCALL", town.status().command[1]),
        ("FCALL", town.send("ada", Query(question="?")).command[1], 1, town.keys.base),
        ("FCALL", town.send("ada", Query(question="?")).command[1], 1, town.keys.base, *"abcdefg", b"\xff"),
        ("FCALL", town.task("x").command[1], 1, town.keys.base, b"\x1b[2J"),
    ):
        assert (await functions(client, wrong)).status in (400, 403), wrong
    assert await client.town.inbox() == ()


@pytest.mark.parametrize(
    "raw", [b"", b"PING\r\n", b"*1\r\n$4\r\nPI", b"*0\r\n", b":1\r\n", b"*1\r\n:1\r\n", b"\xff" * 100]
)
async def test_what_are_no_commands_is_refused(client: Client, raw: bytes) -> None:
    answer = await functions(client, raw=raw)
    assert (answer.status, answer.code) == (400, "usage")


async def test_reads_leave_no_trace_and_changes_do(town_dir: TownDirectory) -> None:
    with trio.fail_after(DEADLINE_S):
        async with town_dir.connect() as town, open_client(town, auth="key") as client:
            assert (await functions(client, town.operations.status())).code == "unauthorized"
            record, key = new_key("worker", check_scopes(("town.read", "town.write")), None)
            await town.run(store_key(town.operations, record))
            client.headers["Authorization"] = f"Bearer {key}"
            position = town.position.value
            await functions(client, town.operations.status(), town.operations.agents())
            await functions(client, town.operations.add_task("count"))
            events = await town.run(town.operations.events_after(position))
            requests = [event for event in events if event.type == "townhall_request"]
            assert [event.fields["path"] for event in requests] == ["/functions task_add"]
            assert requests[0].fields["principal"] == "key worker"
            denied = await functions(client, town.operations.create_agent("eve", cli="echo"))
            assert (denied.status, denied.code) == (403, "not_allowed")
