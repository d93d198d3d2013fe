"""The real coding CLIs that these tests drive, and how each is pointed at a model server on this machine.

They are looked for in the directories that TINYTOWN_REAL_CLIS names (as PATH does); without it nothing here is run. Each
row is data: another CLI is another row.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tinytown.config import Config
from tinytown.contracts import AgentBackend
from tinytown.plugin import Plugins, load_plugins
from tinytown_testing import Sandbox
from tinytown_testing.models import ModelServer

DIRECTORIES_VARIABLE = "TINYTOWN_REAL_CLIS"
#: Longer than any of them is content with: some replace a short key wherever they print it.
KEY = "a-key-that-opens-nothing"


@dataclass(frozen=True, slots=True)
class RealCli:
    """A CLI: its `kind`, and what is to be in environment and settings so that it asks the server at a URL.

    `keys` are the variables that log it in; none where an empty one is a key to it. `table` is where its settings stand
    below ``[plugins]``. The rest says what it can do and what not:

    - `has_shell`: its models can run commands; `commits_under_write`: also with ``permissions = "write"``.
    - `has_session_ids`: a session of it has a name.
    - `tells_usage`: it says what it consumed; `tells_progress`: it prints something before the end.
    - `streams`: it asks its model for streams.
    - `escapes_at`: what names a file for it, an @, gets a backslash.
    - `refusal`: the reason by which the server of its model says that this has refused; None if it does not pass it on.
    - `takes_mail`: its models can be shown something while they work.
    - `can_ask`: it can ask for permission in the middle of a round.
    - `forks_sessions`: a round of it can start from a copy of another agent's session.
    - `warns_of_tools`: it can be seen from outside that an MCP server of it did not start.
    """

    kind: str
    install: str
    environment: Callable[[str], Mapping[str, str]]
    settings: Callable[[str], Mapping[str, Any]] = lambda url: {}
    keys: tuple[str, ...] = ()
    table: tuple[str, ...] = ()
    has_shell: bool = True
    has_session_ids: bool = True
    commits_under_write: bool = False
    tells_usage: bool = True
    tells_progress: bool = True
    streams: bool = True
    refusal: str | None = None
    escapes_at: bool = False
    takes_mail: bool = False
    can_ask: bool = False
    forks_sessions: bool = False
    warns_of_tools: bool = True

    def path(self) -> str:
        """A PATH that begins with where it is. Skips the test when it is nowhere."""
        places = os.environ.get(DIRECTORIES_VARIABLE, "")
        if not places:
            pytest.skip(f"set {DIRECTORIES_VARIABLE} to the directories that hold real CLIs to run them")
        if shutil.which(self.kind, path=places) is None:
            pytest.skip(f"there is no {self.kind} in {DIRECTORIES_VARIABLE}: {self.install}")
        return os.pathsep.join((places, os.environ["PATH"]))

    def backend(self, sandbox: Sandbox, server: ModelServer, **settings: Any) -> AgentBackend:
        """What the installed plugin makes of it."""
        return self.plugins(sandbox.root, server.url, Config(name="bench"), **settings).backends[self.kind]

    def plugins(self, root: Path, url: str, config: Config, **settings: Any) -> Plugins:
        """The installed plugins in a town with this `config`, where the CLI has `settings` and asks the server at `url`."""
        given = {**self.settings(url), **settings}
        given["extra_args"] = (*self.settings(url).get("extra_args", ()), *settings.get("extra_args", ()))
        return load_plugins(msgspec.structs.replace(config, plugins=self.tables(given)), root)

    def tables(self, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """``[plugins]`` with these settings for the CLI in it."""
        plugin, *inner = self.table or (self.kind,)
        table = dict(settings)
        for key in reversed(inner):
            table = {key: table}
        return {plugin: table}

    @property
    def place(self) -> str:
        """The directory of an agent's state that is this CLI's."""
        return ".".join(self.table or (self.kind,))


def _claude_environment(url: str) -> Mapping[str, str]:
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1",
    }


def _codex_settings(url: str) -> Mapping[str, Any]:
    provider = (
        f'{{name="models",base_url="{url}/v1",env_key="CODEX_API_KEY",wire_api="responses",request_max_retries=1,'
        "stream_max_retries=1}"
    )
    return {
        "extra_args": ("-c", 'model_provider="models"', "-c", f"model_providers.models={provider}"),
        "model": "gpt-5",
    }


CLAUDE = RealCli(
    kind="claude",
    install="npm install @anthropic-ai/claude-code",
    environment=_claude_environment,
    settings=lambda url: {"permissions": "full"},
    keys=("ANTHROPIC_API_KEY",),
    commits_under_write=bool(shutil.which("bwrap") and shutil.which("socat")),
    refusal="refusal",
    takes_mail=True,
    can_ask=True,
    forks_sessions=True,
)
CODEX = RealCli(
    kind="codex",
    install="npm install @openai/codex",
    environment=lambda url: {"CODEX_API_KEY": KEY},
    settings=_codex_settings,
    keys=("CODEX_API_KEY",),
    commits_under_write=True,
    refusal="content_filter",
    takes_mail=True,
    can_ask=True,
    forks_sessions=True,
)
AUGGIE = RealCli(
    kind="auggie",
    install="npm install @augmentcode/auggie",
    environment=lambda url: {
        "AUGMENT_SESSION_AUTH": msgspec.json.encode(
            {"accessToken": KEY, "tenantURL": f"{url}/", "scopes": ["read", "write"]}
        ).decode()
    },
    settings=lambda url: {"patience_s": 4.0},
    keys=("AUGMENT_SESSION_AUTH",),
    tells_usage=False,
    tells_progress=False,
)
GEMINI = RealCli(
    kind="gemini",
    install="npm install @google/gemini-cli",
    environment=lambda url: {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": url},
    settings=lambda url: {"model": "gemini-2.5-pro", "patience_s": 4.0},
    keys=("GEMINI_API_KEY",),
    table=("clis", "gemini"),
    escapes_at=True,
    warns_of_tools=False,
)
COPILOT = RealCli(
    kind="copilot",
    install="npm install @github/copilot",
    environment=lambda url: {
        "COPILOT_PROVIDER_API_KEY": KEY,
        "COPILOT_PROVIDER_BASE_URL": f"{url}/v1",
        "COPILOT_MODEL": "gpt-5",
        "COPILOT_OFFLINE": "true",
    },
    settings=lambda url: {"patience_s": 4.0},
    keys=("COPILOT_PROVIDER_API_KEY", "COPILOT_PROVIDER_BASE_URL", "COPILOT_OFFLINE"),
    table=("clis", "copilot"),
    tells_usage=False,
)
AIDER = RealCli(
    kind="aider",
    install="uv tool install aider-chat --python 3.12",
    environment=lambda url: {
        "OPENAI_API_KEY": KEY,
        "OPENAI_API_BASE": f"{url}/v1",
        # It fetches a list of prices at each start: let that fail at once.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    },
    settings=lambda url: {"model": "openai/gpt-4o", "patience_s": 4.0},
    table=("clis", "aider"),
    has_shell=False,
    has_session_ids=False,
    streams=False,
)
OPENCODE = RealCli(
    kind="opencode",
    install="npm install opencode-ai",
    environment=lambda url: {
        "OPENCODE_API_KEY": KEY,
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_CONFIG_CONTENT": msgspec.json.encode(_opencode_provider(url)).decode(),
    },
    settings=lambda url: {"model": "models/m", "patience_s": 4.0},
    table=("clis", "opencode"),
    refusal="content_filter",
    forks_sessions=True,
    warns_of_tools=False,
)
REAL_CLIS = (CLAUDE, CODEX, AUGGIE, GEMINI, COPILOT, AIDER, OPENCODE)


def _opencode_provider(url: str) -> Mapping[str, Any]:
    options = {"baseURL": f"{url}/v1", "apiKey": "{env:OPENCODE_API_KEY}"}
    model = {"tool_call": True, "limit": {"context": 100_000, "output": 8_000}}
    return {"provider": {"models": {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {"m": model}}}}


def git(directory: Path, *words: str) -> str:
    """What git says."""
    return subprocess.run(["git", *words], cwd=directory, check=True, capture_output=True, text=True, timeout=30).stdout
