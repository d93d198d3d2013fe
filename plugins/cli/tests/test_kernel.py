"""Commands around a running kernel. These start real kernels, so they are few and each asks much."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tinytown_server.server import EmbeddedServer
from tinytown_testing.shell import Shell


@pytest.fixture
def living(tt: Shell) -> Iterator[Shell]:
    """A shell in a town, where commands may start a kernel in the background."""
    del tt.variables["TINYTOWN_NO_KERNEL"]
    tt("init", "--name", "living")
    yield tt
    tt("stop", "--timeout", "5")


def is_alive(pid: int) -> bool:
    """Whether a process is there and is more than a record that nobody has asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_beside_a_running_kernel_plugins_are_imported_for_one_spawn_and_not_for_the_next(living: Shell) -> None:
    living("spawn", "first", "--cli", "shell")
    living("spawn", "second", "--cli", "shell")
    program = (
        "import sys; from tinytown_cli.main import run; code = run(['spawn', 'ada', '--cli', 'claude']);"
        "print([each for each in ('trio', 'pluggy', 'tinytown_claude') if each in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=living.directory,
        env=living.variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = living("plugins", "--json").json["warnings"]["claude"]
    assert done.stderr.splitlines() == [*(f"warning: {each}" for each in told), "[]"]


def test_the_short_way_of_a_user(living: Shell) -> None:
    spawned = living("spawn", "worker", "--cli", "shell", "--json")
    assert "started the kernel in the background" in spawned.err
    kernel = spawned.json["kernel"]
    assert kernel["running"]
    assert kernel["started"]
    script = (
        'cd / && tt send supervisor "I am $(tt task current --json | cut -c1-9)" --info && tt inbox --json && '
        "tt backlog add found --json && tt task complete --result 'all of it'"
    )
    assigned = living("assign", "worker", script, "--json")
    assert assigned.err == ""
    told = living("wait", "worker", "--timeout", "30", "--json").json["agents"][0]
    assert (told["state"], told["tasks_completed"]) == ("idle", 1)
    assert living("task", "show", assigned.json["task_id"], "--json").json["result"] == "all of it"
    mail = living("inbox", "--json").json["messages"]
    assert [(each["from"], each["summary"]) for each in mail] == [("worker", 'I am {"task":{')]
    assert len(living("backlog", "list", "--json").json["tasks"]) == 1
    told = living("status", "--json").json["kernel"]
    assert (told["running"], told["pid"]) == (True, kernel["pid"])
    assert living("start", "--json", code=4).error["code"] == "kernel_running"
    assert living("spawn", "second", "--foreground", "--json", code=4).error["code"] == "kernel_running"
    assert living("doctor", "--json").json["healthy"]
    living("restart", "worker")
    living("wait", "worker", "--timeout", "30")
    stopped = living("stop", "--json").json
    assert stopped == {"kernel": {"stopped": True, "pid": kernel["pid"]}, "server": {"stopped": True}}
    assert not is_alive(kernel["pid"])
    assert living("stop", "--json").json == {"kernel": {"stopped": False, "pid": None}, "server": {"stopped": False}}


def test_a_kernel_starts_in_the_background_once_however_many_ask(living: Shell) -> None:
    asking = [
        subprocess.Popen(
            living.argv("spawn", f"worker-{number}"), cwd=living.directory, env=living.variables, stdout=-1, stderr=-1, text=True
        )
        for number in range(3)
    ]  # fmt: skip
    said = [each.communicate(timeout=40)[1] for each in asking]
    assert [each.returncode for each in asking] == [0, 0, 0], said
    assert sum("started the kernel" in each for each in said) == 1
    living("wait", "worker-0", "worker-1", "worker-2", "--timeout", "30")


def test_of_several_that_start_a_kernel_at_once_one_does_and_the_others_are_told(living: Shell) -> None:
    living("stop", "--timeout", "5")
    starting = [
        subprocess.Popen(
            living.argv("start", "--background", "--json"), cwd=living.directory, env=living.variables, stdout=-1, stderr=-1
        )
        for _ in range(3)
    ]  # fmt: skip
    said = [each.communicate(timeout=60)[1] for each in starting]
    assert sorted(each.returncode for each in starting) == [0, 4, 4], said
    assert sum(b'"kernel_running"' in each for each in said) == 2


def test_a_kernel_that_cannot_start_says_why(living: Shell) -> None:
    with open(living.directory / "tinytown.toml", "a") as file:
        file.write("\n[plugins.absent]\n")
    told = living("start", "--background", "--json", code=1).error
    assert told["code"] == "kernel_not_started"
    assert "absent" in told["message"]
    assert "kernel.log" in told["hint"]


@pytest.mark.parametrize(
    "words", [("assign", "ada", "work"), ("send", "ada", "hello"), ("spawn", "bea", "--cli", "echo")]
)
def test_what_is_done_is_told_before_it_is_told_that_no_kernel_could_be_started(
    living: Shell, words: tuple[str, ...]
) -> None:
    living("spawn", "ada", "--cli", "echo", "--no-start")
    (living.directory / ".tt" / "kernel.log").mkdir()
    told = living(*words, "--json", code=1)
    assert told.json.keys() & {"task_id", "message_id", "name"}
    assert told.error["code"] == "kernel_not_started"
    assert "Is a directory" in told.error["message"]


def test_python_m_tinytown_runs_the_kernel_until_it_is_asked_to_stop(living: Shell) -> None:
    words = [sys.executable, "-m", "tinytown"]
    with subprocess.Popen(words, cwd=living.directory, env=living.variables, stderr=-1, text=True) as kernel:
        assert kernel.stderr is not None
        assert "is running" in kernel.stderr.readline()
        assert living("spawn", "worker", "--json").json["kernel"]["pid"] == kernel.pid
        living("assign", "worker", "sleep 600")
        living("events", "-c", "1")
        deadline = time.monotonic() + 20
        while living("list", "--json").json["agents"][0]["state"] != "working":
            assert time.monotonic() < deadline
        killed = living("kill", "worker", "--now", "--wait", "--timeout", "20", "--json").json["agents"][0]
        assert (killed["state"], killed["open_tasks"]) == ("stopped", 1)
        kernel.send_signal(signal.SIGTERM)
        kernel.communicate(timeout=20)
    assert kernel.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only there is it told who works in a directory that is gone")
def test_when_a_town_is_deleted_under_it_nothing_of_it_goes_on(living: Shell) -> None:
    config = living.directory / "tinytown.toml"
    config.write_text(
        config.read_text() + "\n[agent_clis.waiter]\ncommand = ['sh', '-c', 'echo $$ > waits; sleep 1000']\n"
    )
    living("spawn", "ann", "--cli", "waiter")
    living("assign", "ann", "wait")
    waits = living.directory / "waits"
    while not (waits.exists() and waits.read_text().endswith("\n")):
        time.sleep(0.02)
    runtime = living.directory / ".tt"
    server = EmbeddedServer(runtime).pid()
    kernel = int((runtime / "kernel.lock").read_text())
    shutil.rmtree(runtime)
    for pid in (int(waits.read_text()), kernel, server):
        assert pid is not None
        while is_alive(pid):
            time.sleep(0.02)
    assert living("list", "--json").json["agents"] == []


def test_a_signal_ends_a_foreground_spawn_with_its_kernel(living: Shell) -> None:
    words = living.argv("spawn", "here", "--foreground")
    with subprocess.Popen(words, cwd=living.directory, env=living.variables, stdout=-1, stderr=-1, text=True) as kernel:
        assert kernel.stdout is not None
        assert kernel.stderr is not None
        assert "added here" in kernel.stdout.readline()
        assert "is running" in kernel.stderr.readline()
        living("wait", "here", "--timeout", "20")
        kernel.send_signal(signal.SIGINT)
        kernel.communicate(timeout=20)
    assert kernel.returncode == 0
