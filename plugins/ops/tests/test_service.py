"""``tt service``: definitions that systemd and plistlib can read, and a kernel under a real user manager where one can be had."""

from __future__ import annotations

import os
import plistlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tinytown.errors import UsageError
from tinytown.kernel import kernel_with_state
from tinytown_ops.service.definition import Service, launchd_plist, systemd_unit
from tinytown_testing.shell import Shell

ODD = '/tmp/a "b" $HOME %h back\\slash ä'
ANALYZE = shutil.which("systemd-analyze")
SYSTEMD = next((path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.path.exists(path)), None)

#: A machine of its own, as far as systemd looks: booted by it, with a directory for what runs.
BOOT = f"""
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system "$HOME"
mkdir -m 700 /run/user-manager
exec {SYSTEMD} --user --log-target=null
"""


def make_service(root: str = "/home/you/shop", **environment: str) -> Service:
    return Service(
        id="shop-1f3ab0d2", town="shop", root=Path(root), python=sys.executable, log=Path("/tmp/log"), drain_s=10,
        environment=environment,
    )  # fmt: skip


def in_town(tt: Shell) -> Path:
    tt("init", "--name", "shop", "--inside")
    return tt.directory


def wait_until(check: Callable[[], object], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- definitions -----------------------------------------------------------------------------------------


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("root", ["plain", 'a "b" $HOME %h back\\slash ä'])
def test_systemd_finds_no_fault_in_a_unit(tmp_path: Path, root: str) -> None:
    (tmp_path / root).mkdir()
    path = tmp_path / "tinytown-shop.service"
    path.write_text(systemd_unit(make_service(str(tmp_path / root), PATH="/bin:/opt/a b%c")))
    done = subprocess.run(
        [str(ANALYZE), "verify", "--user", str(path)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "tinytown-shop" in done.stderr) == (0, False), done.stderr


def test_a_property_list_has_every_word_as_it_was() -> None:
    job = plistlib.loads(launchd_plist(make_service(ODD, PATH="/bin:<&>")).encode())
    assert job["ProgramArguments"] == [sys.executable, "-m", "tinytown", "start", "--town", ODD]
    assert job["EnvironmentVariables"] == {"PATH": "/bin:<&>"}
    assert (job["Label"], job["KeepAlive"]) == ("tinytown-shop-1f3ab0d2", {"SuccessfulExit": False})


@pytest.mark.parametrize("make", [systemd_unit, launchd_plist])
def test_a_path_that_no_definition_can_hold_is_refused(make: Callable[[Service], str]) -> None:
    with pytest.raises(UsageError, match="printable"):
        make(make_service("/tmp/a\n[Service]\nExecStart=/bin/evil"))


def test_printing_writes_nothing_and_has_no_secrets(tt: Shell) -> None:
    in_town(tt)
    secrets = {
        "ANTHROPIC_API_KEY": "hidden-key",
        "REDIS_URL": "redis://:hidden-key@127.0.0.1",
        "HOME": str(tt.directory),
    }
    for manager in ("systemd", "launchd"):
        answer = tt("service", "install", "--print", "--manager", manager, "--json", env=secrets).json
        assert "hidden-key" not in answer["definition"]
        assert str(tt.directory) in answer["definition"]
        assert not Path(answer["path"]).exists()


# -- without a manager, and with one that fails ----------------------------------------------------------


def test_without_a_service_manager_the_error_says_what_to_do(tt: Shell, tmp_path: Path) -> None:
    in_town(tt)
    env = {"PATH": str(tmp_path), "HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    for words in (["install"], ["uninstall"], ["status"]):
        error = tt("service", *words, "--json", code=1, env=env).error
        assert error["code"] == "no_service_manager"
        assert "--print" in error["hint"]
        assert "tt start --background" in error["hint"]
    assert not list(tmp_path.rglob("*tinytown-*"))


def fake_systemctl(directory: Path, script: str) -> Mapping[str, str]:
    """Variables with which this script is the `systemctl` of a user whose home is `directory`."""
    program = directory / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(directory), "XDG_CONFIG_HOME": ""}


@pytest.mark.skipif(sys.platform == "darwin", reason="systemd is for Linux")
def test_a_definition_of_somebody_else_stays_unless_asked(tt: Shell, tmp_path: Path) -> None:
    in_town(tt)
    env = fake_systemctl(tmp_path, "exit 0")
    path = Path(tt.json("service", "install", "--print", env=env)["path"])
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\nExecStart=/bin/mine\n")
    for words in (["install", "--no-start"], ["uninstall"]):
        assert "was not written by tt service" in tt("service", *words, code=4, env=env).err
        assert path.read_text() == "[Service]\nExecStart=/bin/mine\n"
    assert tt.json("service", "install", "--no-start", "--replace", env=env)["definition"] == "replaced"
    assert tt.json("service", "install", "--no-start", env=env)["definition"] == "same"
    other = {**env, "LANG": "C.UTF-8", "PATH": f"{env['PATH']}:/opt"}
    assert "differs" in tt("service", "install", "--no-start", code=4, env=other).err
    assert tt.json("service", "uninstall", env=env)["removed"]
    assert not path.exists()
    assert not tt.json("service", "uninstall", env=env)["removed"]


@pytest.mark.skipif(sys.platform == "darwin", reason="systemd is for Linux")
def test_an_install_that_systemd_refuses_leaves_nothing_behind(tt: Shell, tmp_path: Path) -> None:
    in_town(tt)
    env = fake_systemctl(tmp_path, 'case $* in *enable*) echo "no, because" >&2; exit 1;; esac')
    error = tt("service", "install", "--json", code=1, env=env).error
    assert (error["code"], error["message"]) == ("service_manager", "systemctl: no, because")
    assert not Path(tt.json("service", "install", "--print", env=env)["path"]).exists()


def test_inside_a_round_no_service_is_touched(tt: Shell) -> None:
    root = in_town(tt)
    env = {"TINYTOWN_TOWN": str(root), "TINYTOWN_AGENT_ID": "ada", "TINYTOWN_ROUND_ID": "r"}
    for words in ("install", "uninstall", "status"):
        tt("service", words, code=4, env=env)


# -- a real user manager ---------------------------------------------------------------------------------


@pytest.fixture
def user_manager(tt: Shell) -> Iterator[Shell]:
    """The shell, on a machine that a user manager of systemd runs. In a mount namespace: nothing of it is seen outside."""
    if SYSTEMD is None or os.geteuid() or os.path.exists("/run/systemd/system") or not shutil.which("unshare"):
        pytest.skip("needs root, systemd's program, and a machine that was not booted by it")
    env = {
        **tt.variables,
        "HOME": str(tt.directory / "home"),
        "XDG_RUNTIME_DIR": "/run/user-manager",
    }
    env.pop("XDG_CONFIG_HOME", None)
    manager = subprocess.Popen(["unshare", "--mount", "sh", "-c", BOOT], env=env)
    try:
        inside = EnteredShell(tt, manager.pid, env)
        try:
            wait_until(lambda: manager.poll() is not None or inside.control("show-environment"), within_s=15)
        except AssertionError:
            pytest.skip("systemd --user does not come up here")
        if manager.poll() is not None:
            pytest.skip("systemd --user does not run here")
        yield inside
        inside("service", "uninstall")
        inside("stop")
    finally:
        manager.terminate()
        manager.wait(30)


class EnteredShell(Shell):
    """A shell whose commands run in the mount namespace of the process `pid`."""

    def __init__(self, outside: Shell, pid: int, variables: dict[str, str]) -> None:
        self.directory, self.variables, self._pid = outside.directory, variables, pid

    def __call__(self, *words, **options):
        enter = ("-c", "import os, sys; os.execvp('nsenter', sys.argv[1:])", "nsenter", "--mount", "--wd=.")
        python = (sys.executable, "-m", "tinytown")
        return super().__call__(*words, program=(*enter, f"--target={self._pid}", *python), **options)

    def control(self, *words: str) -> bool:
        done = subprocess.run(
            ["nsenter", "--mount", f"--target={self._pid}", "systemctl", "--user", *words],
            env=self.variables, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode == 0


@pytest.mark.faults
def test_under_systemd_a_kernel_runs_is_restarted_and_ends_in_good_order(user_manager: Shell) -> None:
    tt = user_manager
    root = in_town(tt)
    installed = tt.json("service", "install")
    assert installed["definition"] == "created"
    kernel = kernel_with_state(tt.state())
    state = tt.json("service", "status")
    assert kernel is not None
    assert (installed["pid"], state["pid"], state["kernel_pid"]) == (kernel, kernel, kernel)
    assert (state["state"], state["at_login"], state["current"]) == ("active", True, True)
    assert tt.json("service", "install")["definition"] == "same"

    os.kill(kernel, signal.SIGKILL)
    wait_until(lambda: kernel_with_state(tt.state()) not in (None, kernel))

    tt("spawn", "ada", "--cli", "shell")
    task = tt.json("assign", "ada", "echo x >> began; test $(wc -l < began) = 2 || sleep 1000; echo done")["task_id"]
    wait_until((root / "began").exists)
    assert tt.control("stop", f"{state['name']}.service")  # type: ignore[attr-defined]
    assert kernel_with_state(tt.state()) is None
    stopped = tt.json("task", "show", task)
    assert (stopped["state"], stopped["attempts"]) == ("assigned", 0)
    assert tt.json("service", "status")["state"] == "inactive"

    tt("start", "--background")
    refused = tt("service", "install", "--json", code=4).error
    assert refused["code"] == "kernel_running"
    assert "outside of the service" in tt("service", "status").out
    tt("wait", "--task", task)
    assert tt.json("service", "uninstall")["removed"]
    assert not Path(state["path"]).exists()
    assert kernel_with_state(tt.state()) is not None  # it was not the service's
    assert tt("service").out.startswith("the service is not installed")


@pytest.mark.faults
def test_a_kernel_that_cannot_start_is_reported(user_manager: Shell) -> None:
    tt = user_manager
    root = in_town(tt)
    with (root / "tinytown.toml").open("a") as file:
        file.write('\n[redis]\nurl = "unix:///nowhere/to/be/found"\n')
    error = tt("service", "install", "--json", code=1).error
    assert error["code"] == "kernel_not_started"
    assert "journalctl --user" in error["hint"]
