"""Agents that do what a test says, with their permissions, in a place outside of /tmp: one of ``shell``, and real CLIs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tinytown
import tomlkit
from tinytown.config import load_config
from tinytown.plugin import load_plugins
from tinytown.state import state_directory
from tinytown.town import Town
from tinytown_server.server import EmbeddedServer
from tinytown_testing.models import ModelServer

from tests.real_clis.clis import REAL_CLIS, RealCli, git

SHELL = "shell"
ACTORS: list[Any] = [
    pytest.param(None, id=SHELL),
    *(pytest.param(cli, id=cli.kind, marks=pytest.mark.real_clis) for cli in REAL_CLIS if cli.has_shell),
]


@dataclass(frozen=True, slots=True)
class Scene:
    """A town in a git repository, with precious things around it. `cli` is None for agents of the kind ``shell``."""

    cli: RealCli | None
    base: Path
    server: ModelServer

    @property
    def root(self) -> Path:
        return self.base / "town"

    @property
    def outside(self) -> Path:
        return self.base / "outside"

    @property
    def secret(self) -> Path:
        return self.base / ".ssh" / "id"

    @property
    def state(self) -> Path:
        return state_directory(self.root)

    @property
    def kind(self) -> str:
        return self.cli.kind if self.cli else SHELL

    def order(self, script: str, *tools: tuple[str, Mapping[str, Any]]) -> str:
        """A task on which its agent runs the script, then calls the town's `tools`, and is done."""
        if self.cli is None:
            return script
        calls = [{"mcp": {"server": "town", "tool": name, "input": given}} for name, given in tools]
        replies = [{"shell": script}, *calls, {"text": "done"}]
        return f"Do it <stub>{msgspec.json.encode(replies).decode()}</stub>"

    @asynccontextmanager
    async def town(self) -> AsyncGenerator[Town]:
        async with tinytown.open_town(self.root) as town:
            yield town

    def tt(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of a person."""
        command = [sys.executable, "-m", "tinytown", *words]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=120)


@contextmanager
def open_scene(
    cli: RealCli | None, permissions: str, monkeypatch: pytest.MonkeyPatch, workspace: str = "shared"
) -> Generator[Scene]:
    """A scene whose agents have these permissions; those of the kind ``free`` may do everything. Skips without a sandbox."""
    path = cli.path() if cli else os.environ["PATH"]
    parent = next(
        (each for each in (Path.home(), Path.cwd()) if not each.is_relative_to("/tmp") and os.access(each, os.W_OK)),
        None,
    )
    if parent is None:
        pytest.skip("neither the home directory nor this one can be written to")
    base = Path(tempfile.mkdtemp(prefix=".tinytown-test-", dir=parent)).resolve()
    try:
        with ModelServer() as server:
            scene = Scene(cli, base, server)
            for name in [name for name in os.environ if name.startswith("TINYTOWN_") and name != "TINYTOWN_REAL_CLIS"]:
                monkeypatch.delenv(name)
            variables = {"PATH": path, "HOME": str(base), "TMPDIR": str(base), "XDG_STATE_HOME": str(base / "state")}
            for name, value in {**variables, **(cli.environment(server.url) if cli else {})}.items():
                monkeypatch.setenv(name, value)
            _fill(scene, permissions, workspace)
            if permissions != "full":
                sandboxes = load_plugins(load_config(scene.root), scene.root).sandboxes
                if problem := next((sandbox.problem() for sandbox in sandboxes), "tinytown-sandbox is not installed"):
                    pytest.skip(problem)
            try:
                yield scene
            finally:
                EmbeddedServer(scene.state).stop()
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _fill(scene: Scene, permissions: str, workspace: str) -> None:
    for directory in (scene.root, scene.outside, scene.secret.parent):
        directory.mkdir()
    (scene.outside / "precious").write_text("precious")
    scene.secret.write_text("hunter2")
    free = {"command": ["sh", "-s"], "permissions": "full"}
    tables: dict[str, Any] = {
        "name": "t",
        "default_cli": scene.kind,
        "permissions": permissions,
        "agent_clis": {"free": free},
        "plugins": {"git": {"workspace": workspace}},
    }
    if scene.cli:
        settings = {**scene.cli.settings(scene.server.url), "permissions": permissions}
        tables["plugins"] |= scene.cli.tables(settings)
    (scene.root / "tinytown.toml").write_text(tomlkit.dumps(tables))
    git(scene.root, "init", "-q", "-b", "main")
    git(scene.root, "config", "user.name", "Ada")
    git(scene.root, "config", "user.email", "ada@example.org")
    (scene.root / "kept").write_text("kept")
    git(scene.root, "add", "kept")
    git(scene.root, "commit", "-qm", "begin")


@contextmanager
def listening(path: Path) -> Generator[Path]:
    """A service at a socket, as many run on a machine."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield path


@contextmanager
def bystander(password: str) -> Generator[subprocess.Popen[bytes]]:
    """A process of the same person, with a secret in its environment."""
    process = subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], "PASSWORD": password})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def contents(directory: Path) -> dict[str, str]:
    """The files below a directory, links by where they lead."""
    paths: Iterable[Path] = sorted(directory.rglob("*"))
    return {
        str(path.relative_to(directory)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in paths
        if path.is_symlink() or path.is_file()
    }
