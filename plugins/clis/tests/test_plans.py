"""How each CLI is called for what was set, and what its reader makes of lines that no CLI should print."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
from tinytown.config import convert_settings
from tinytown.contracts import AgentBackend
from tinytown.errors import ConfigError
from tinytown.process import Exit, Line
from tinytown_adapters import (
    CliAdapter,
    CliSessionRecord,
    CliSettings,
    CommandSpec,
    RunRequest,
    RunState,
    SessionNotForked,
    SessionSource,
    TakenSession,
    TownTools,
)
from tinytown_adapters.environment import inherited
from tinytown_clis import Settings, tinytown_agent_backends
from tinytown_clis.aider import AiderAdapter
from tinytown_clis.copilot import CopilotAdapter
from tinytown_clis.cursor import CursorAdapter
from tinytown_clis.gemini import GeminiAdapter
from tinytown_clis.opencode import OpencodeAdapter
from tinytown_testing import ReportRecorder

ADAPTERS: Mapping[str, CliAdapter[CliSettings]] = {
    adapter.kind: adapter
    for adapter in (GeminiAdapter(), CopilotAdapter(), AiderAdapter(), CursorAdapter(), OpencodeAdapter())
}
by_kind = pytest.mark.parametrize("kind", ADAPTERS)
TOOLS = TownTools("python3", ("-m", "tools"))


def request(work_dir: Path, **changes: Any) -> RunRequest[CliSettings]:
    given: dict[str, Any] = {
        "settings": CliSettings(),
        "permissions": "full",
        "prompt": "do it",
        "has_own_state": True,
        **changes,
    }
    return RunRequest(directory=work_dir, work_dir=work_dir, **given)


def spec(kind: str, work_dir: Path, **changes: Any) -> CommandSpec:
    return ADAPTERS[kind].command_spec(request(work_dir, **changes))


@by_kind
def test_a_prompt_is_never_an_argument(kind: str, tmp_path: Path) -> None:
    made = spec(kind, tmp_path, prompt="--help; $(id)")
    assert not [word for word in made.arguments if "$(id)" in word]
    assert b"--help; $(id)" in (made.stdin or made.files["prompt.md"])


@by_kind
def test_model_session_and_extra_arguments_are_handed_on(kind: str, tmp_path: Path) -> None:
    settings = CliSettings(model="a-model", extra_args=("--more",))
    session = CliSessionRecord(id="s-1", agent_id="a", directory="/")
    words = spec(kind, tmp_path, settings=settings, session=session).arguments
    assert list(words[words.index("--model") :])[:2] == ["--model", "a-model"]
    assert words[-1] == "--more"
    resumed = "--restore-chat-history" if kind == "aider" else "s-1"
    assert any(resumed in word for word in words)
    assert not any(resumed in word for word in spec(kind, tmp_path).arguments)


@by_kind
def test_less_permission_is_said_in_the_words_of_the_cli(kind: str, tmp_path: Path) -> None:
    message = {
        each: json.dumps(
            [spec(kind, tmp_path, permissions=each).arguments, spec(kind, tmp_path, permissions=each).environment]
        )
        for each in ADAPTERS[kind].permissions_offered
    }
    assert len(set(message.values())) == len(message) > 1
    wide = ("--yolo", "yolo", "--allow-all", "--force", "--auto")
    assert not [word for word in wide if f'"{word}"' in message["read"]]


@pytest.mark.parametrize("kind", ["gemini", "copilot", "opencode"])
def test_the_towns_tools_are_an_mcp_server_of_its_settings(kind: str, tmp_path: Path) -> None:
    made = spec(kind, tmp_path, tools=TOOLS)
    texts = [*(content.decode() for content in made.files.values()), *map(str, made.environment.values())]
    reported = next(json.loads(text) for text in texts if '"python3"' in text)
    server = reported.get("mcpServers", reported.get("mcp"))["town"]
    assert [server["command"], *server.get("args", [])] in (["python3", "-m", "tools"], [["python3", "-m", "tools"]])


def test_gemini_gets_the_tools_only_if_its_settings_are_the_agents_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def gemini() -> AgentBackend:
        return next(backend for backend in tinytown_agent_backends(Settings(), Path()) if backend.kind == "gemini")

    for name in GeminiAdapter.login_variables:
        monkeypatch.delenv(name, raising=False)
    assert not gemini().offers_town_tools
    assert any("GEMINI_API_KEY" in warning for warning in gemini().warnings())
    monkeypatch.setenv("GEMINI_API_KEY", "x")
    assert gemini().offers_town_tools
    assert not any("GEMINI_API_KEY" in warning for warning in gemini().warnings())


def test_what_opencode_is_configured_with_is_kept(tmp_path: Path) -> None:
    given = {"provider": {"mine": {}}, "mcp": {"other": {"enabled": True}}, "share": "auto"}
    made = spec("opencode", tmp_path, tools=TOOLS, environment={"OPENCODE_CONFIG_CONTENT": json.dumps(given)})
    reported = json.loads(str(made.environment["OPENCODE_CONFIG_CONTENT"]))
    assert reported["provider"] == {"mine": {}}
    assert set(reported["mcp"]) == {"other", "town"}
    assert reported["share"] == "disabled"


def test_a_new_chat_of_aider_has_no_history(tmp_path: Path) -> None:
    history = tmp_path / "chat-history.md"
    history.write_text("old")
    session = CliSessionRecord(id="chat-history", agent_id="a", directory="/")
    spec("aider", tmp_path, session=session)
    assert history.exists()
    spec("aider", tmp_path)
    assert not history.exists()


def test_each_cli_has_its_table_and_its_presets() -> None:
    tables = {
        "gemini": {"model": "big", "presets": {"gemini-quick": {"model": "small"}}},
        "aider": {"command": "/opt/aider"},
    }
    made = convert_settings(Settings, tables, Path("tinytown.toml"), "plugins.clis")
    kinds = {each.kind: each for each in tinytown_agent_backends(made, Path())}
    assert list(kinds) == ["gemini", "gemini-quick", "copilot", "aider", "cursor", "opencode"]
    assert kinds["gemini-quick"].settings.model == "small"  # type: ignore[attr-defined]
    assert kinds["aider"].command == ("/opt/aider",)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"gemini": {"speed": "x"}}, "plugins.clis.gemini"),
        ({"aider": {"permissions": "full"}}, "plugins.clis.aider.permissions"),
        ({"opencode": {"presets": {"fast": {"speed": "x"}}}}, "plugins.clis.opencode.presets.fast"),
    ],
)
def test_a_setting_that_does_not_fit_is_told_with_its_key(tables: Mapping[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        tinytown_agent_backends(convert_settings(Settings, tables, Path("t.toml"), "plugins.clis"), Path())


STRANGE = [
    "[]",
    "null",
    "{}",
    '{"type": []}',
    '{"type": "result"}',
    '{"type": "result", "stats": [], "status": 3, "usage": "x", "sessionId": {}}',
    '{"type": "message", "role": "assistant", "content": 5}',
    '{"type": "assistant", "message": {"content": [1, {"text": []}]}}',
    '{"type": "assistant.message", "data": {"content": null, "toolRequests": [{}, 3]}}',
    '{"type": "tool_call", "subtype": "started", "tool_call": []}',
    '{"type": "tool_call", "subtype": "completed", "tool_call": {"x": {"result": {"error": {}}}}}',
    '{"type": "tool_use", "part": {"state": 1}}',
    '{"type": "step_finish", "part": {"tokens": {"cache": 3}, "cost": "much"}}',
    '{"type": "error", "error": "words"}',
    '{"type": "model.call_failure", "data": {"statusCode": -1}}',
    "Tokens: many sent, few received.",
    "Tokens: 1.2.3k sent, ,k received. Cost: $... message, $... session.",
    "litellm.",
    "Retrying in 0.2 seconds...",
    "\udcff \x00 \x1b[2J",
    "{" * 5_000,
]


RECORDINGS = Path(__file__).parent / "recordings"


def recorded(kind: str, scenario: str) -> list[Line]:
    """What the CLI was seen to print."""
    read = [json.loads(text) for text in (RECORDINGS / kind / f"{scenario}.jsonl").read_text().splitlines()]
    streams: dict[str, Literal["stdout", "stderr"]] = {"out": "stdout", "err": "stderr"}
    return [Line(streams[key], each[key], cut=False) for each in read for key in streams if key in each]


@by_kind
async def test_a_strange_line_costs_itself_alone(kind: str, tmp_path: Path) -> None:
    answer = recorded(kind, "answer")
    for text in STRANGE:
        for stream in ("stdout", "stderr"):
            state = RunState(ReportRecorder())
            reader = ADAPTERS[kind].reader(state, request(tmp_path))
            reader.read(Line(stream, text, cut=False))
            reader.read(Line(stream, text, cut=True))
            for line in answer:
                reader.read(line)
            reader.end(Exit(pid=1, status=0, signal=None, reason="exited", stdout_tail="", stderr_tail=text))
            assert "{answer}" in state.text, (stream, text)


def test_copilot_is_not_told_by_a_variable_to_trust_the_workspace(tmp_path: Path) -> None:
    assert spec("copilot", tmp_path, trusts_project=False).environment["COPILOT_ALLOW_ALL"] is None
    assert "COPILOT_ALLOW_ALL" not in spec("copilot", tmp_path, trusts_project=True).environment


def test_aider_learns_where_its_provider_is() -> None:
    kernel = {
        "OPENAI_API_BASE": "http://here",
        "OLLAMA_API_BASE": "http://there",
        "AZURE_API_VERSION": "1",
        "OTHER": "x",
    }
    assert inherited(kernel, AiderAdapter.own_variables) == {name: kernel[name] for name in kernel if name != "OTHER"}


class FakeOpencode:
    """Stands in for ``opencode export`` and ``opencode import``: it notes what was asked, with which database."""

    def __init__(self, exported: Any = None, problem: str = "") -> None:
        self.exported, self.problem = exported, problem
        self.asked: list[tuple[str, ...]] = []
        self.imported: Any = None
        self.sessions: list[Any] = []

    async def __call__(
        self, *arguments: str, environment: Mapping[str, str | None], stdout: Path | None = None
    ) -> Exit:
        self.asked.append(arguments)
        if arguments[0] == "export":
            assert stdout is not None
            with closing(sqlite3.connect(environment["OPENCODE_DB"] or "")) as database:
                self.sessions = database.execute("SELECT id FROM session").fetchall()
            stdout.write_text(json.dumps(self.exported))
        else:
            self.imported = json.loads(Path(arguments[1]).read_text())
        status = 1 if self.problem == arguments[0] else 0
        return Exit(pid=1, status=status, signal=None, stdout_tail="", stderr_tail="it is broken", reason="exited")


SESSION = "ses_0123456789abcdefghijklmnop"
EXPORTED = {
    "info": {"id": SESSION, "directory": "/another"},
    "messages": [
        {
            "info": {"id": "msg_0123456789abcdefghijklmnop", "sessionID": SESSION},
            "parts": [
                {
                    "id": "prt_0123456789abcdefghijklmnop",
                    "sessionID": SESSION,
                    "messageID": "msg_0123456789abcdefghijklmnop",
                    "text": f"see {SESSION} and ses_9999999999abcdefghijklmnop",
                }
            ],
        }
    ],
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The database of an agent `ada` that has the session."""
    path = tmp_path / "agents" / "ada" / "clis.opencode" / "state" / "opencode.db"
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE session (id TEXT PRIMARY KEY)")
        database.execute("INSERT INTO session VALUES (?)", (SESSION,))
    return path


async def taken(tmp_path: Path, run: FakeOpencode, session_id: str = SESSION) -> TakenSession:
    work_dir = tmp_path / "agents" / "ben" / "clis.opencode"
    (work_dir / "tmp").mkdir(parents=True, exist_ok=True)
    source = SessionSource("ada", session_id, tmp_path / "agents" / "ada" / "clis.opencode")
    environment = {"HOME": str(tmp_path / "home")}
    try:
        return await OpencodeAdapter().take_session(source, request(work_dir, environment=environment), run)
    finally:
        assert not list((work_dir / "tmp").iterdir())


@pytest.mark.usefixtures("database")
async def test_a_session_of_opencode_is_copied_under_ids_of_its_own(tmp_path: Path) -> None:
    run = FakeOpencode(EXPORTED)
    copy = await taken(tmp_path, run)
    assert copy.is_copy
    assert [words[0] for words in run.asked] == ["export", "import"]
    assert run.sessions == [(SESSION,)]
    new, (message,) = run.imported["info"]["id"], run.imported["messages"]
    assert copy.session.id == new != SESSION
    assert new[:-8] == SESSION[:-8]  # messages are ordered by how their ids begin
    (part,) = message["parts"]
    assert message["info"]["id"] == part["messageID"] != EXPORTED["messages"][0]["info"]["id"]  # type: ignore[index]
    assert {message["info"]["sessionID"], part["sessionID"]} == {new}
    assert part["text"] == f"see {new} and ses_9999999999abcdefghijklmnop"


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("run", "session_id", "why"),
    [
        (FakeOpencode(EXPORTED), "ses_another", "is not on this machine"),
        (FakeOpencode(EXPORTED, "export"), SESSION, "cannot export the session of ada: it is broken"),
        (FakeOpencode({"info": {}}), SESSION, "exported something unexpected"),
        (FakeOpencode(EXPORTED, "import"), SESSION, "cannot import the session of ada: it is broken"),
    ],
)
async def test_a_session_of_opencode_that_cannot_be_copied_is_not_forked(
    tmp_path: Path, run: FakeOpencode, session_id: str, why: str
) -> None:
    with pytest.raises(SessionNotForked, match=why):
        await taken(tmp_path, run, session_id)


async def test_a_database_that_is_none_or_a_link_is_not_read(tmp_path: Path, database: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    database.rename(elsewhere)
    database.symlink_to(elsewhere)
    with pytest.raises(SessionNotForked, match="is not on this machine"):
        await taken(tmp_path, FakeOpencode(EXPORTED))
    database.unlink()
    database.write_text("no database, but long enough to look like one" * 100)
    with pytest.raises(SessionNotForked, match="cannot read the sessions of ada"):
        await taken(tmp_path, FakeOpencode(EXPORTED))
