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

import pytest
from tinytown.config import Config
from tinytown.contracts import AgentBackend
from tinytown.plugin_registry import load_plugins
from tinytown.testing import Bench
from tinytown.testing.models import ModelServer

DIRECTORIES_VARIABLE = "TINYTOWN_REAL_CLIS"
#: Longer than any of them is content with: some replace a short key wherever they print it.
KEY = "a-key-that-opens-nothing"


@dataclass(frozen=True, slots=True)
class RealCli:
    """A CLI: its `kind`, and what is to be in environment and settings so that it asks the server at a URL.

    `keys` are the variables that log it in.
    """

    kind: str
    install: str
    environment: Callable[[str], Mapping[str, str]]
    settings: Callable[[str], Mapping[str, Any]] = lambda url: {}
    keys: tuple[str, ...] = ()

    def path(self) -> str:
        """A PATH that begins with where it is. Skips the test when it is nowhere."""
        places = os.environ.get(DIRECTORIES_VARIABLE, "")
        if not places:
            pytest.skip(f"set {DIRECTORIES_VARIABLE} to the directories that hold real CLIs to run them")
        if shutil.which(self.kind, path=places) is None:
            pytest.skip(f"there is no {self.kind} in {DIRECTORIES_VARIABLE}: {self.install}")
        return os.pathsep.join((places, os.environ["PATH"]))

    def backend(self, bench: Bench, server: ModelServer, **settings: Any) -> AgentBackend:
        """What the installed plugin makes of it."""
        given = {**self.settings(server.url), **settings}
        given["extra_args"] = (*self.settings(server.url).get("extra_args", ()), *settings.get("extra_args", ()))
        plugins = load_plugins(Config(name="bench", plugins={self.kind: given}), bench.root)
        return plugins.backends[self.kind]


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
)
CODEX = RealCli(
    kind="codex",
    install="npm install @openai/codex",
    environment=lambda url: {"CODEX_API_KEY": KEY},
    settings=_codex_settings,
    keys=("CODEX_API_KEY",),
)
REAL_CLIS = (CLAUDE, CODEX)


def git(directory: Path, *words: str) -> str:
    """What git says."""
    return subprocess.run(["git", *words], cwd=directory, check=True, capture_output=True, text=True, timeout=30).stdout
