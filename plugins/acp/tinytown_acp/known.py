"""Agents that speak the protocol, and how they are started. Only what was seen running says so.

Source: the documentation of each. Seen running: opencode 1.18.33, Gemini CLI 0.61.0, Qwen Code 0.15.10, claude-code-acp 0.16.2,
codex-acp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class KnownAgent:
    """How an agent is started, what to tell a person whose machine has none, and the variables that log it in.

    `mode` is the one of its own modes in which it works by itself: what it may do is up to its box, or was allowed (``full``).
    `forks_sessions`: unless it is known that the agent cannot, it is asked.
    """

    title: str
    command: tuple[str, ...]
    install: str
    login: str = "log in with its own command, or name the variable that holds its key in env_allow"
    login_variables: tuple[str, ...] = ()
    state_paths: tuple[str, ...] = ()
    own_variables: tuple[str, ...] = ()
    mode: str = ""
    forks_sessions: bool = True
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


KNOWN: Mapping[str, KnownAgent] = {
    "acp-opencode": KnownAgent(
        "opencode (ACP)",
        ("opencode", "acp"),
        "npm install -g opencode-ai",
        login_variables=("OPENCODE_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY"),
        state_paths=("~/.local/share/opencode", "~/.local/state/opencode", "~/.config/opencode"),
        own_variables=("OPENCODE_*",),
    ),
    "acp-gemini": KnownAgent(
        "Gemini CLI (ACP)",
        ("gemini", "--acp"),
        "npm install -g @google/gemini-cli",
        login_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        state_paths=("~/.gemini",),
        own_variables=("GEMINI_*", "GOOGLE_*"),
        forks_sessions=False,
    ),
    "acp-qwen": KnownAgent(
        "Qwen Code (ACP)",
        ("qwen", "--acp"),
        "npm install -g @qwen-code/qwen-code",
        login='log in with qwen, or set OPENAI_API_KEY and extra_args = ["--auth-type=openai"]',
        login_variables=("OPENAI_API_KEY", "DASHSCOPE_API_KEY"),
        state_paths=("~/.qwen",),
        own_variables=("OPENAI_BASE_URL", "OPENAI_MODEL", "QWEN_*"),
        forks_sessions=False,
    ),
    "acp-claude": KnownAgent(
        "Claude Code (ACP)",
        ("claude-code-acp",),
        "npm install -g @zed-industries/claude-code-acp",
        login="log in with claude /login, or set ANTHROPIC_API_KEY before the kernel starts",
        login_variables=("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"),
        state_paths=("~/.claude", "~/.claude.json"),
        own_variables=("ANTHROPIC_*", "CLAUDE_CODE_*"),
    ),
    "acp-codex": KnownAgent(
        "Codex (ACP)",
        ("codex-acp",),
        "npm install -g @zed-industries/codex-acp",
        login="log in with codex login, or set CODEX_API_KEY before the kernel starts",
        login_variables=("CODEX_API_KEY", "OPENAI_API_KEY"),
        state_paths=("~/.codex",),
        own_variables=("CODEX_*",),
        mode="full-access",  # else it is in its own mode "read-only"
        forks_sessions=False,
    ),
    "acp-cursor": KnownAgent(
        "Cursor CLI (ACP)",
        ("cursor-agent", "acp"),
        "see the documentation of Cursor's CLI",
        login_variables=("CURSOR_API_KEY",),
        state_paths=("~/.cursor",),
        own_variables=("CURSOR_*",),
    ),
    "acp-cline": KnownAgent(
        "Cline CLI (ACP)",
        ("cline", "--acp"),
        "npm install -g cline",
        login="log in with cline auth",
        state_paths=("~/.cline",),
        own_variables=("CLINE_*",),
    ),
    "acp-auggie": KnownAgent(
        "Auggie (ACP)",
        ("auggie", "--acp"),
        "npm install -g @augmentcode/auggie",
        login_variables=("AUGMENT_SESSION_AUTH",),
        state_paths=("~/.augment",),
        own_variables=("AUGMENT_*",),
        forks_sessions=False,
    ),
    "acp-copilot": KnownAgent(
        "Copilot CLI (ACP)",
        ("copilot", "--acp"),
        "npm install -g @github/copilot",
        login_variables=("COPILOT_GITHUB_TOKEN",),
        state_paths=("~/.copilot",),
        own_variables=("COPILOT_*",),
        forks_sessions=False,
    ),
    "acp-goose": KnownAgent(
        "goose (ACP)",
        ("goose", "acp"),
        "see the documentation of goose",
        state_paths=("~/.config/goose", "~/.local/share/goose", "~/.local/state/goose"),
        own_variables=("GOOSE_*",),
    ),
}
