from __future__ import annotations

import json
import os
import subprocess

import pytest
from tinytown_testing.shell import Shell

LIMIT = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def agent(in_town: Shell) -> None:
    in_town("spawn", "taken")


def test_a_bad_name_is_refused_in_one_line_and_changes_nothing(in_town: Shell) -> None:
    bad = ["a/b", "../up", "a*", "a:b", "a\nb", "naïve", "🐎", "", " ", ".hidden", "-dash", "x" * 300, "a b", "a\x07"]
    for name in [*bad, b"\xff"]:
        result = in_town("spawn", "--json", "--", name, code=2)
        assert result.error["code"] == "usage", name
        assert len(result.err.splitlines()) == 1, name
    assert [agent["name"] for agent in in_town("list", "--json").json["agents"]] == ["taken"]


@pytest.mark.parametrize("name", ["supervisor", "Conductor"])
def test_the_human_side_is_no_agent(in_town: Shell, name: str) -> None:
    assert "human side" in in_town("spawn", name, code=2).err
    assert in_town("assign", name, "work", code=4).err


@pytest.mark.parametrize(
    "option", [("--role", "a/b"), ("--nickname", "x" * 64), ("--tags", "ok,n*"), ("--max-rounds", "-1")]
)
def test_a_bad_word_about_an_agent_is_refused(in_town: Shell, option: tuple[str, str]) -> None:
    assert in_town("spawn", "fine", *option, "--json", code=2).error["code"] == "usage"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("spawn", "taken"), 4, "lives in this town already"),
        (("spawn", "fine", "--parent", "nobody"), 3, "no agent called"),
        (("spawn", "fine", "--cli", "../sh"), 3, "unknown kind of agent"),
        (("assign", "nobody", "work"), 3, "no agent called"),
        (("assign", "", "work"), 2, "empty name"),
        (("assign", "taken", "work", "--needs", "none-such"), 3, "no task"),
        (("assign", "taken", "work", "--priority", "asap"), 2, "'asap' is not one of"),
        (("assign", "taken", "work", "--tags", "a:b"), 2, "expected a tag"),
        (("assign", "taken", "two", "words"), 2, "unexpected extra argument"),
        (("assign", "taken"), 2, "expected an agent and a text"),
        (("send", "taken", "x", "--query", "--info"), 2, "got several"),
        (("send", "taken", "x", "--urgent", "--priority", "low"), 2, "got both"),
        (("send", "taken", "x", "--delay", "soon"), 2, "not a number"),
        (("send", "taken", "x", "--reply-to", "a\x07b"), 2, "expected a message's id"),
        (("send", "taken", "x", "--from", ""), 2, "expected an agent, got an empty name"),
        (("inbox", "", "--remove", "all"), 2, "expected an agent, got an empty name"),
        (("reclaim", "--to", ""), 2, "expected an agent, got an empty name"),
        (("prune", "--mail-to", " "), 2, "expected an agent, got an empty name"),
        (("assign", "taken", "work", "--parent", "none-such"), 3, "no task"),
        (("events", "--count", "x" * 5000), 2, "x' is not a whole number"),
        (("send", "taken", "x", "--frm", "me"), 2, "no such option"),
        (("send", "taken", "", "--ack"), 2, "empty text"),
        (("inbox", "nobody"), 3, "no agent called"),
        (("inbox", "taken", "--all"), 2, "expected --all without an agent"),
        (("task", "show", ""), 3, "no task"),
        (("task", "show", "*"), 3, "no task"),
        (("task", "complete", "none-such"), 3, "no task"),
        (("task", "list", "--state", "asleep"), 2, "is not one of"),
        (("task", "list", "--agent", "nobody"), 3, "no agent called"),
        (("task", "list", "--limit", "0"), 2, "not in the range"),
        (("task",), 2, "expected one of cancel, complete"),
        (("backlog", "claim", "none-such", "taken"), 3, "no task"),
        (("wait",), 2, "expected an agent or --task"),
        (("wait", "nobody"), 3, "no agent called"),
        (("events", "--agent", "nobody"), 3, "no agent called"),
        (("events", "--count", "-1"), 2, "not in the range"),
        (("dead", "redrive", "none-such"), 3, "no dead letter"),
        (("completion", "tcsh"), 2, "is not one of"),
        (("list", "--town", "/no/such/place"), 3, "no such directory"),
        (("list", "--town", "/"), 3, "no town in /"),
        (("nonsense",), 2, "no such command"),
        (("--nonsense",), 2, "no such option"),
        (("$(reboot)",), 2, "no such command"),
    ],
)
def test_a_usage_error_is_one_line_with_its_exit_code(
    in_town: Shell, words: tuple[str, ...], code: int, message: str
) -> None:
    result = in_town(*words, code=code)
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("error: ")
    assert message in result.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "empty text"),
        (b" \n\t ", "empty text"),
        (b"x" * (LIMIT + 1), "at most 1,048,576 bytes"),
        (b"\xff\xfe\x00binary", "as UTF-8"),
        (b"nul \x00", "U+0000"),
    ],
    ids=["empty", "blank", "too long", "binary", "nul"],
)
def test_a_text_that_cannot_be_mail_or_a_task_is_refused(in_town: Shell, text: bytes, message: str) -> None:
    before = in_town("status", "--json").json
    for command in (("send", "taken", "-"), ("assign", "taken", "-"), ("backlog", "add", "-")):
        assert message in in_town(*command, code=2, given=text).err
    assert in_town("status", "--json").json == before


@pytest.mark.parametrize(
    "words",
    [("assign", "taken", "x", "--needs", b"\xff"), ("trace", b"\xff"), ("send", "taken", "x", "--reply-to", b"\xff")],
)
def test_bytes_that_are_not_utf_8_are_a_usage_error(in_town: Shell, words: tuple[str | bytes, ...]) -> None:
    assert in_town(*words, "--json", code=2).error["code"] == "usage"


def test_a_path_that_is_not_utf_8_is_reported_byte_for_byte(in_town: Shell) -> None:
    path = in_town("save", b"\xff.jsonl", "--json").json["file"]
    assert os.fsencode(path).endswith(b"/\xff.jsonl")
    assert "\\xff.jsonl" in in_town("save", b"\xff.jsonl").out


def test_a_long_word_is_truncated_in_the_error(in_town: Shell) -> None:
    assert len(in_town("list", "--limit", "x" * 5000, code=2).err) < 500
    assert len(in_town("events", "--count", "x" * 5000, code=2).err) < 500


def test_a_parent_task_is_named_by_an_id_prefix(in_town: Shell) -> None:
    whole = in_town("backlog", "add", "all of it", "--json").json["task_id"]
    for words in (("backlog", "add"), ("assign", "taken")):
        part = in_town(*words, "a part", "--parent", whole[:9], "--json").json["task_id"]
        assert in_town("task", "show", part, "--json").json["parent"] == whole
    assert len(in_town("task", "tree", whole[:9], "--json").json["tree"]) == 1


@pytest.mark.parametrize("command", ["init", "status", "plugins", "bootstrap", "demo", "config"])
def test_a_deleted_working_directory_is_an_error_of_one_line(tt: Shell, command: str) -> None:
    words = ["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh", *tt.argv(command, "--json")]
    done = subprocess.run(words, cwd=tt.directory, env=tt.variables, capture_output=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["error"] == {
        "code": "not_found",
        "message": "cannot read the current directory: No such file or directory",
        "hint": "change to one that exists",
    }


@pytest.mark.parametrize("words", [("backlog", "add", "x"), ("backlog", "add", "x", "--json")])
def test_an_output_error_reports_that_the_command_is_done(in_town: Shell, words: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            in_town.argv(*words), cwd=in_town.directory, env=in_town.variables, stdout=full, stderr=subprocess.PIPE,
            timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    last_line = done.stderr.decode().splitlines()[-1]
    assert "cannot write the output: No space left on device" in last_line
    assert "the command itself is done" in last_line


def test_texts_up_to_the_limit_and_with_newlines_and_emoji_are_kept_whole(in_town: Shell) -> None:
    for text in ("x" * LIMIT, "tab\there\nand 🐎 ünïcödé"):
        message = in_town("send", "taken", "-", "--info", "--json", given=text.encode()).json["message_id"]
        messages = {listed["id"]: listed for listed in in_town("inbox", "taken", "--json").json["messages"]}
        assert messages[message]["summary"] == text
    in_town("inbox", "taken", "--remove", "all")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 'x'\nname\nlease_s = 1", "line 2"),
        ("name = 'x'\ncolour = 'red'", "colour"),
        ("name = 'x'\n[redis]\nulr = 'redis://h'", "ulr"),
        ("name = 'x'\nmax_agents = 'many'", "max_agents"),
        ("name = 'x'\nlease_s = 0", "lease_s"),
        ("name = 'X/Y'", "town name"),
        ("", "name"),
        ("name = 'x'\n[redis]\nurl = 'http://h'", "scheme"),
        ("\ufeffname = 'x'", "line 1"),
    ],
    ids=["syntax", "unknown key", "unknown key below", "type", "range", "name", "nothing", "url", "bom"],
)  # fmt: skip
def test_an_invalid_settings_file_is_reported_by_line_or_key(tt: Shell, text: str, message: str) -> None:
    (tt.directory / "tinytown.toml").write_text(text)
    for command in (("status",), ("start",)):
        error = tt(*command, "--json", code=2).error
        assert error["code"] == "config"
        assert message in error["message"] + error["hint"]


def test_settings_that_are_not_utf_8_are_reported(tt: Shell) -> None:
    (tt.directory / "tinytown.toml").write_bytes(b"name = '\xff'")
    assert "UTF-8" in tt("status", code=2).err


def test_a_password_is_never_shown(tt: Shell) -> None:
    (tt.directory / "tinytown.toml").write_text("name = 'x'\n[redis]\nurl = 'redis://user:hunter2@127.0.0.1:1/0'")
    result = tt("status", code=5)
    assert "hunter2" not in result.err
    assert "127.0.0.1:1" in result.err
    assert "hunter2" not in tt("doctor", "--json", code=1).out
