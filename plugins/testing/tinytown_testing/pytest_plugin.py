"""Fixtures for pytest, loaded by the entry point ``tinytown`` of the group ``pytest11``. None of them is automatic.

Imports nothing of Tinytown until a fixture is used: pytest loads this in every project of the environment.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tinytown_cli.blocking_client import BlockingClient

    from tinytown_testing.bare_town import BareTown
    from tinytown_testing.receivers import Receiver
    from tinytown_testing.sandbox import Sandbox
    from tinytown_testing.scripted_backend import ScriptedBackend
    from tinytown_testing.shell import Shell
    from tinytown_testing.town_pairs import TownPair
    from tinytown_testing.towns import KernelProcess, KernelStarter, TownDirectory

#: Seconds that a test with the fixture `deadline` may take, unless it has a mark of its own.
DEADLINE_S = 180


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "deadline_s(seconds): how long a test may take that uses the fixture `deadline`")


@pytest.fixture
def deadline(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ends a test with a TimeoutError that takes more than 180 s, or the seconds of its mark ``deadline_s``."""
    from tinytown_testing.deadline import deadline_of

    mark = request.node.get_closest_marker("deadline_s")
    seconds: float = mark.args[0] if mark else DEADLINE_S

    with deadline_of(seconds):
        yield


# -- the command line, in processes of its own -------------------------------------------------------------


@pytest.fixture
def tt() -> Iterator[Shell]:
    """Runs ``tt`` in an empty directory."""
    from tinytown_testing.shell import open_shell

    with open_shell() as shell:
        yield shell


@pytest.fixture(scope="module")
def in_town() -> Iterator[Shell]:
    """Runs ``tt`` in a town without a kernel that the tests of a module share. Each test uses names of its own."""
    from tinytown_testing.shell import open_shell

    with open_shell() as shell:
        shell("init", "--name", "shared")
        yield shell


# -- what a plugin contributes, by itself ------------------------------------------------------------------


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A temporary town for an async test of one contribution, which may take 180 s. Needs pytest-trio."""
    import trio

    from tinytown_testing.sandbox import open_sandbox

    with trio.fail_after(DEADLINE_S):
        async with open_sandbox() as sandbox:
            yield sandbox


@pytest.fixture
def fake_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], Path]:
    """Puts a command first on PATH that plays a directory of recordings: ``fake_cli("claude", RECORDINGS)``."""
    from tinytown_testing.recordings import install_fake_cli

    commands = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    return functools.partial(install_fake_cli, commands)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of HTTP requests on the loopback, for what a plugin sends: it keeps them, and answers as the test says."""
    from tinytown_testing.receivers import Receiver

    with Receiver() as receiver:
        yield receiver


# -- towns and kernels -------------------------------------------------------------------------------------


@pytest.fixture
def no_town_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Removes from the environment what names a town, a server or a person's settings; the state of towns is temporary."""
    for name in list(os.environ):
        if name == "REDIS_URL" or (name.startswith("TINYTOWN_") and not name.startswith("TINYTOWN_FAULT")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TINYTOWN_HOME", "/nonexistent")
    with tempfile.TemporaryDirectory(prefix="tt-state-", dir="/tmp", ignore_cleanup_errors=True) as state_home:
        monkeypatch.setenv("XDG_STATE_HOME", state_home)
        yield


@pytest.fixture
def town_dir(no_town_environment: None) -> Iterator[TownDirectory]:
    """The directory of a town of its own, configured for quick tests. A process that is left in it fails the test."""
    from tinytown_testing.towns import TownDirectory

    town_dir = TownDirectory.make()
    try:
        yield town_dir
    finally:
        town_dir.close()


@pytest.fixture
def start_kernel(town_dir: TownDirectory) -> Iterator[KernelStarter]:
    """Starts the town's kernel in a process of its own, as often as it is called."""
    from tinytown_testing.towns import KernelStarter

    starter = KernelStarter(town_dir.root)
    try:
        yield starter
    finally:
        starter.close()


@pytest.fixture
def town_pair(town_dir: TownDirectory, start_kernel: KernelStarter) -> Iterator[TownPair]:
    """A town with two directories and a server between them, for kernels that take over from each other."""
    from tinytown_testing.town_pairs import open_town_pair

    with open_town_pair(town_dir, start_kernel) as pair:
        yield pair


@pytest.fixture
def running_kernel(start_kernel: KernelStarter) -> KernelProcess:
    """The kernel of `town_dir`, running in a process of its own."""
    return start_kernel()


@pytest.fixture
def scripted_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedBackend:
    """What the plugin `scripted` offers in this process: agents whose rounds the test scripts. Change it before a kernel runs."""
    from tinytown_testing import scripted_backend

    directory = tmp_path / "scripted-plugin"
    offered = scripted_backend.install(directory)
    monkeypatch.syspath_prepend(str(directory))  # pyright: ignore[reportUnknownMemberType]
    return offered


# -- a server, and towns on it without any kernel ----------------------------------------------------------


@pytest.fixture(scope="session")
def server_client() -> Iterator[BlockingClient]:
    """A client of a real server that the tests of a session share."""
    from tinytown_testing.bare_town import open_server_client

    with open_server_client() as client:
        yield client


@pytest.fixture
def bare_town(server_client: BlockingClient) -> Iterator[BareTown]:
    """A new town, alone on the server of the session. A key that the protocol does not have fails the test."""
    from tinytown_testing.bare_town import expect_known_keys, fresh_town

    town = fresh_town(server_client)
    yield town
    expect_known_keys(town)
