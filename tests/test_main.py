"""``python -m tinytown`` where the core is installed alone, against a server that its settings name."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Generator
from pathlib import Path

import pytest
from tinytown import __version__
from tinytown_server.server import find_binary

CORE = Path(__file__).parents[1] / "core"


@pytest.fixture(scope="session")
def core_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the core and what it depends on, and none of our other distributions."""
    home = tmp_path_factory.mktemp("core-alone")
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    build = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    made = subprocess.run([*build, "--target", str(site), str(CORE)], capture_output=True, text=True, timeout=120)
    if made.returncode:  # no build backend here: the sources are the same
        (site / "tinytown").symlink_to(CORE / "tinytown")
    theirs = next(Path(entry) for entry in sys.path if (Path(entry) / "trio").is_dir())
    for path in theirs.iterdir():
        if "tinytown" not in path.name and not path.name.endswith(".pth") and not (site / path.name).exists():
            (site / path.name).symlink_to(path)
    return home / "bin" / "python"


def run(python: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "tinytown", *words], cwd=cwd, capture_output=True, text=True, timeout=60, env=_environment()
    )


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("TINYTOWN_", "PYTHON", "REDIS"))}


@pytest.fixture
def town_dir(tmp_path: Path, no_town_environment: None) -> Path:
    root = tmp_path / "town"
    root.mkdir()
    (root / "tinytown.toml").write_text('name = "small"\n')
    return root


def test_its_help_says_what_it_runs_and_what_brings_commands(core_alone: Path, tmp_path: Path) -> None:
    shown = run(core_alone, "--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert "Run the kernel of the town" in shown.stdout
    assert "pip install tinytown-cli" in shown.stdout


def test_its_version_is_the_cores(core_alone: Path, tmp_path: Path) -> None:
    assert run(core_alone, "--version", cwd=tmp_path).stdout == f"tinytown {__version__}\n"


def test_a_command_is_a_usage_error_that_names_the_package_with_commands(core_alone: Path, town_dir: Path) -> None:
    shown = run(core_alone, "status", "--json", cwd=town_dir)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == "error: expected no arguments, got 'status --json'; for commands: pip install tinytown-cli\n"


def test_outside_of_a_town_there_is_nothing_to_run(core_alone: Path, tmp_path: Path) -> None:
    shown = run(core_alone, cwd=tmp_path)
    assert shown.returncode == 3
    assert "no town in" in shown.stderr


def test_without_a_server_the_error_names_the_package_and_the_setting(core_alone: Path, town_dir: Path) -> None:
    shown = run(core_alone, cwd=town_dir)
    assert shown.returncode == 5
    assert "town 'small' has no server: redis.url is not set" in shown.stderr
    assert "pip install tinytown-server, or set redis.url in" in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.fixture
def url(tmp_path: Path) -> Generator[str]:
    """Where a server of this test's own listens."""
    path = tmp_path / "redis.sock"
    server = subprocess.Popen(
        [str(find_binary().path), "--port", "0", "--unixsocket", str(path), "--save", "", "--daemonize", "no"],
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(path))
                break
            except OSError:
                time.sleep(0.02)
        yield f"unix://{path}"
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_it_runs_the_kernel_until_it_is_asked_to_end(
    core_alone: Path, town_dir: Path, url: str, sent: signal.Signals
) -> None:
    (town_dir / "tinytown.toml").write_text(f'name = "small"\n[redis]\nurl = "{url}"\n')
    command = [core_alone, "-m", "tinytown"]
    with subprocess.Popen(command, cwd=town_dir, stderr=subprocess.PIPE, text=True, env=_environment()) as kernel:
        assert kernel.stderr is not None
        try:
            assert f"town small: kernel {kernel.pid} is running" in kernel.stderr.readline()
            assert run(core_alone, cwd=town_dir).returncode == 4
            kernel.send_signal(sent)
            assert (kernel.wait(30), kernel.stderr.read()) == (0, "")
        finally:
            kernel.kill()
