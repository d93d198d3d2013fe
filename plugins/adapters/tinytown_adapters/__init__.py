"""Adapters: coding CLIs as agents. What they all need is here; what one of them alone does is its plugin's.

An adapter is data and two methods (`CliAdapter`): from a `RunRequest` to a `CommandSpec` (arguments, environment, files), and a
`Reader` that turns the lines of its output into a `RunState`. The rest is one session class for all of them: the
limits and the end of the process tree, the outcome, sessions that are gone on with, permissions, the environment, the
town's own tools. `backends_for` makes backends of an adapter and its settings. Names are imported when first touched, so
that whoever starts the town's tools for a CLI need not import trio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown_adapters.adapter import CliAdapter, CommandSpec, RunRequest
    from tinytown_adapters.agent_files import read_agent_file
    from tinytown_adapters.approvals import ask_permission
    from tinytown_adapters.backend import CliBackend, backends_for
    from tinytown_adapters.environment import is_secret
    from tinytown_adapters.failures import Failure, FailureKind, failure_of
    from tinytown_adapters.forks import RunCli, SessionNotForked, SessionSource, TakenSession
    from tinytown_adapters.git_layout import git_directories
    from tinytown_adapters.json_lines import JsonLinesReader, Record, record_of
    from tinytown_adapters.json_rpc import JsonRpcReader, RpcRefused
    from tinytown_adapters.masked_log import open_masked_log
    from tinytown_adapters.run_state import Conversation, Reader, RunState, TakesMail, usage_since
    from tinytown_adapters.secrets import Secrets, known_secrets
    from tinytown_adapters.session_store import CliSessionRecord
    from tinytown_adapters.settings import CliSettings, Permissions
    from tinytown_adapters.town_tools import TownTools

_MODULES = {
    "CliAdapter": "adapter",
    "CliBackend": "backend",
    "CliSessionRecord": "session_store",
    "CliSettings": "settings",
    "CommandSpec": "adapter",
    "Conversation": "run_state",
    "Failure": "failures",
    "FailureKind": "failures",
    "JsonLinesReader": "json_lines",
    "JsonRpcReader": "json_rpc",
    "Permissions": "settings",
    "Reader": "run_state",
    "Record": "json_lines",
    "RpcRefused": "json_rpc",
    "RunCli": "forks",
    "RunRequest": "adapter",
    "RunState": "run_state",
    "Secrets": "secrets",
    "SessionNotForked": "forks",
    "SessionSource": "forks",
    "TakenSession": "forks",
    "TakesMail": "run_state",
    "TownTools": "town_tools",
    "ask_permission": "approvals",
    "backends_for": "backend",
    "failure_of": "failures",
    "git_directories": "git_layout",
    "is_secret": "environment",
    "known_secrets": "secrets",
    "open_masked_log": "masked_log",
    "read_agent_file": "agent_files",
    "record_of": "json_lines",
    "usage_since": "run_state",
}

__all__ = [
    "CliAdapter",
    "CliBackend",
    "CliSessionRecord",
    "CliSettings",
    "CommandSpec",
    "Conversation",
    "Failure",
    "FailureKind",
    "JsonLinesReader",
    "JsonRpcReader",
    "Permissions",
    "Reader",
    "Record",
    "RpcRefused",
    "RunCli",
    "RunRequest",
    "RunState",
    "Secrets",
    "SessionNotForked",
    "SessionSource",
    "TakenSession",
    "TakesMail",
    "TownTools",
    "ask_permission",
    "backends_for",
    "failure_of",
    "git_directories",
    "is_secret",
    "known_secrets",
    "open_masked_log",
    "read_agent_file",
    "record_of",
    "usage_since",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"tinytown_adapters.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
