"""Real agents of the Agent Client Protocol that these tests drive, and how each is pointed at a model server."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.real_clis.clis import CLAUDE, DIRECTORIES_VARIABLE, GEMINI, KEY, OPENCODE

#: Where real agents are. The fixtures of towns take variables of Tinytown out of the environment.
PLACES = os.environ.get(DIRECTORIES_VARIABLE, "")


@dataclass(frozen=True, slots=True)
class AcpAgent:
    """An agent: its `kind`, the program behind it, and what makes it ask the model server at a URL.

    `finds_sessions`: it can load a session that an earlier process of it has left. `shows_tools`: its model sees the tools of
    MCP servers at once, and need not search for them. `forks_sessions`: it offers ``session/fork``.
    """

    kind: str
    program: str
    install: str
    environment: Callable[[str], Mapping[str, str]]
    settings: Callable[[str], Mapping[str, Any]]
    finds_sessions: bool = True
    shows_tools: bool = True
    forks_sessions: bool = False

    def is_installed(self) -> bool:
        return shutil.which(self.program, path=PLACES) is not None


def _opencode(url: str) -> Mapping[str, str]:
    variables = dict(OPENCODE.environment(url))
    content = json.loads(variables["OPENCODE_CONFIG_CONTENT"])
    return {**variables, "OPENCODE_CONFIG_CONTENT": json.dumps({**content, "model": "models/m"})}


def _codex(url: str) -> Mapping[str, Any]:
    provider = (
        f'{{name="models",base_url="{url}/v1",env_key="CODEX_API_KEY",wire_api="responses",request_max_retries=1,'
        "stream_max_retries=1}"
    )
    words = ('model_provider="models"', f"model_providers.models={provider}", 'model="gpt-5"')
    return {"extra_args": [word for each in words for word in ("-c", each)]}


QWEN = AcpAgent(
    "acp-qwen",
    "qwen",
    "npm install @qwen-code/qwen-code",
    lambda url: {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_MODEL": "qwen"},
    lambda url: {"extra_args": ["--auth-type", "openai"]},
    shows_tools=False,
)
AGENTS = (
    AcpAgent("acp-opencode", "opencode", "npm install opencode-ai", _opencode, lambda url: {}, forks_sessions=True),
    AcpAgent(
        "acp-gemini",
        "gemini",
        "npm install @google/gemini-cli",
        lambda url: {**GEMINI.environment(url), "GEMINI_CLI_TRUST_WORKSPACE": "true", "GEMINI_CLI_NO_RELAUNCH": "true"},
        # It asks another model first which it should take, and reads its variables only if they are named.
        lambda url: {"model": "gemini-2.5-pro", "env_allow": ["GEMINI_API_KEY", "GEMINI_CLI_*", "GOOGLE_GEMINI_*"]},
        finds_sessions=False,
    ),
    AcpAgent(
        "acp-claude",
        "claude-code-acp",
        "npm install @zed-industries/claude-code-acp",
        CLAUDE.environment,
        lambda url: {},
        forks_sessions=True,
    ),
    QWEN,
    # Last: a command that takes long runs on beside its model, which a test of a death in the middle of one cannot use.
    AcpAgent(
        "acp-codex",
        "codex-acp",
        "npm install @zed-industries/codex-acp",
        lambda url: {"CODEX_API_KEY": KEY},
        _codex,
    ),
)
