"""Tasks that start from a copy of another agent's session, as they are assigned."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from tinytown.errors import Refused
from tinytown.model.agents import Agent
from tinytown.redis import parse_url
from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.session_forks import check_forks
from tinytown_testing.shell import Shell

SETTINGS = """name = "forks"

[plugins.claude.presets.claude-large]
model = "large"
"""


@pytest.fixture
def town(tt: Shell) -> Shell:
    """A town of three agents of Claude Code and one shell; `ada` has a session, and so has the shell."""
    (tt.directory / "tinytown.toml").write_text(SETTINGS)
    kinds = {"ada": "claude", "ben": "claude-large", "cleo": "claude", "sam": "shell"}
    agents = {name: tt.json("spawn", name, "--cli", kind, "--no-start") for name, kind in kinds.items()}
    with BlockingClient(parse_url(tt.server().url)) as client:
        for name in ("ada", "sam"):
            client.command("HSET", f"tt:{{forks}}:agent:{agents[name]['id']}", "session_id", f"session-of-{name}")
    return tt


def forks(town: Shell) -> list[tuple[str, Any]]:
    """The tasks by their texts, with what they start from."""
    tasks = town.json("task", "list", "--limit", "100")["tasks"]
    return sorted((task["description"], task.get("meta", {}).get("fork")) for task in tasks)


ADAS = {"agent": "ada", "session_id": "session-of-ada"}


def test_a_task_names_the_session_that_the_other_agent_has_now(town: Shell) -> None:
    answer = town("assign", "ben", "build it", "--fork-session-of", "ada")
    assert "is assigned to ben" in answer.out
    assert forks(town) == [("build it", ADAS)]


def test_each_line_of_a_file_starts_from_the_same_session(town: Shell) -> None:
    lines = [
        "build one",
        json.dumps({"agent": "cleo", "text": "build two"}),
        json.dumps({"agent": "ada", "text": "go on"}),
    ]
    town("assign", "ben", "--file", "-", "--fork-session-of", "ada", given="\n".join(lines).encode())
    assert forks(town) == [("build one", ADAS), ("build two", ADAS), ("go on", ADAS)]


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        (("ben", "--fork-session-of", "cleo"), "no_session", "cleo has no session", "tt wait cleo"),
        (("sam", "--fork-session-of", "ada"), "no_forks", "sam is of the kind shell, whose sessions", "claude"),
        (("ben", "--fork-session-of", "sam"), "no_forks", "sam is of the kind shell, whose sessions", "claude"),
    ],
)
def test_what_cannot_be_forked_is_refused_at_once(
    town: Shell, words: tuple[str, ...], code: str, message: str, hint: str
) -> None:
    error = town("assign", words[0], "build it", *words[1:], "--json", code=4).error
    assert error["code"] == code
    assert message in error["message"]
    assert hint in error["hint"]
    assert forks(town) == []


def test_only_agents_of_the_same_cli_fork_a_session(town: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"claude": "claude", "claude-large": "claude", "toy": ""}
    backends = {kind: SimpleNamespace(account=account, forks_sessions=True) for kind, account in kinds.items()}
    plugins = SimpleNamespace(backends=backends)
    monkeypatch.setattr("tinytown_cli.plugin_commands.load_town_plugins", lambda *_, **__: plugins)
    ada, ben, tim = (
        Agent(id=name, name=name, cli=kind, session_id="s")
        for name, kind in (("ada", "claude"), ("ben", "claude-large"), ("tim", "toy"))
    )
    client: Any = SimpleNamespace(is_remote=False, root=town.directory, config=None)
    check_forks(client, ada, [ada, ben])
    check_forks(client, tim, [tim])
    with pytest.raises(Refused, match="tim is of the kind toy: only a claude can fork a session of ada") as caught:
        check_forks(client, ada, [ben, tim])
    assert caught.value.hint == "assign it to an agent of the kind claude or claude-large"
    check_forks(client, Agent(id="x", name="x", cli="elsewhere", session_id="s"), [ada])  # that is for its round to say
    with pytest.raises(Refused, match="x is of the kind elsewhere"):
        check_forks(client, ada, [Agent(id="x", name="x", cli="elsewhere")])
    client.is_remote = True
    check_forks(client, ada, [tim])


def test_an_unknown_agent_has_no_session(town: Shell) -> None:
    assert "nobody" in town("assign", "ben", "build it", "--fork-session-of", "nobody", code=3).err
    assert forks(town) == []
