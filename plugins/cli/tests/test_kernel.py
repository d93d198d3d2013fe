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
from tinytown_cli.commands.kernel import _whose
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


def test_with_a_running_kernel_only_the_first_spawn_imports_plugins(living: Shell) -> None:
    living("spawn", "first", "--cli", "shell")
    living("spawn", "second", "--cli", "shell")
    program = (
        "import sys; from tinytown_cli.main import run; code = run(['spawn', 'ada', '--cli', 'claude']);"
        "print([name for name in ('trio', 'pluggy', 'tinytown_claude') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=living.directory,
        env=living.variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    warnings = living("plugins", "--json").json["warnings"]["claude"]
    assert done.stderr.splitlines() == [*(f"warning: {warning}" for warning in warnings), "[]"]


def test_the_quick_start_works(living: Shell) -> None:
    spawned = living("spawn", "worker", "--cli", "shell", "--json")
    assert "started the kernel in the background" in spawned.err
    kernel = spawned.json["kernel"]
    assert kernel["running"]
    assert kernel["started"]
    script = (
        'cd / && tt send supervisor "I am $(tt task current --json | cut -c1-9)" --info && tt inbox --json && '
        "tt backlog add found --tags nobody --json && tt task complete --result 'all of it'"
    )
    assigned = living("assign", "worker", script, "--json")
    assert assigned.err == ""
    agent = living("wait", "worker", "--timeout", "30", "--json").json["agents"][0]
    assert (agent["state"], agent["tasks_completed"]) == ("idle", 1)
    assert living("task", "show", assigned.json["task_id"], "--json").json["result"] == "all of it"
    mail = living("inbox", "--json").json["messages"]
    assert [(message["from"], message["summary"]) for message in mail] == [("worker", 'I am {"task":{')]
    assert len(living("backlog", "list", "--json").json["tasks"]) == 1
    agent = living("status", "--json").json["kernel"]
    assert (agent["running"], agent["pid"]) == (True, kernel["pid"])
    assert living("start", "--json", code=4).error["code"] == "kernel_running"
    assert living("spawn", "second", "--foreground", "--json", code=4).error["code"] == "kernel_running"
    assert living("doctor", "--json").json["healthy"]
    living("restart", "worker")
    living("wait", "worker", "--timeout", "30")
    stopped = living("stop", "--json").json
    assert stopped.pop("snapshot").endswith(".jsonl")
    assert stopped == {"kernel": {"stopped": True, "pid": kernel["pid"]}, "server": {"stopped": True}}
    assert not is_alive(kernel["pid"])
    assert living("stop", "--json").json == {
        "kernel": {"stopped": False, "pid": None}, "snapshot": None, "server": {"stopped": False}
    }  # fmt: skip


def test_concurrent_commands_start_one_background_kernel(living: Shell) -> None:
    asking = [living.start("spawn", f"worker-{number}") for number in range(3)]
    stderrs = [process.communicate(timeout=40)[1] for process in asking]
    assert [process.returncode for process in asking] == [0, 0, 0], stderrs
    assert sum("started the kernel" in stderr for stderr in stderrs) == 1
    living("wait", "worker-0", "worker-1", "worker-2", "--timeout", "30")


def test_of_several_concurrent_starts_one_succeeds_and_the_others_report_it(living: Shell) -> None:
    living("stop", "--timeout", "5")
    starting = [living.start("start", "--background", "--json") for _ in range(3)]
    stderrs = [process.communicate(timeout=60)[1] for process in starting]
    assert sorted(process.returncode for process in starting) == [0, 4, 4], stderrs
    assert sum('"kernel_running"' in stderr for stderr in stderrs) == 2


def test_a_kernel_that_cannot_start_reports_the_reason(living: Shell) -> None:
    with open(living.directory / "tinytown.toml", "a") as file:
        file.write("\n[plugins.absent]\n")
    error = living("start", "--background", "--json", code=1).error
    assert error["code"] == "kernel_not_started"
    assert "absent" in error["message"]
    assert "kernel.log" in error["hint"]


@pytest.mark.parametrize(
    "words", [("assign", "ada", "work"), ("send", "ada", "hello"), ("spawn", "bea", "--cli", "echo")]
)
def test_a_result_is_printed_before_the_error_that_no_kernel_started(living: Shell, words: tuple[str, ...]) -> None:
    living("spawn", "ada", "--cli", "echo", "--no-start")
    (living.state() / "kernel.log").mkdir()
    result = living(*words, "--json", code=1)
    assert result.json.keys() & {"task_id", "message_id", "name"}
    assert result.error["code"] == "kernel_not_started"
    assert result.error["message"].startswith("the command is done, do not repeat it, but the town has no kernel: ")
    assert "Is a directory" in result.error["message"]


def test_python_m_tinytown_runs_the_kernel_until_it_is_asked_to_stop(living: Shell) -> None:
    with living.start() as kernel:
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


@pytest.mark.skipif(sys.platform != "linux", reason="only there is it known who works in a directory that is gone")
def test_deleting_a_town_ends_its_kernel_and_server(living: Shell) -> None:
    config = living.directory / "tinytown.toml"
    config.write_text(
        config.read_text() + "\n[agent_clis.waiter]\ncommand = ['sh', '-c', 'echo $$ > waits; sleep 1000']\n"
    )
    living("spawn", "ann", "--cli", "waiter")
    living("assign", "ann", "wait")
    waits = living.directory / "waits"
    while not (waits.exists() and waits.read_text().endswith("\n")):
        time.sleep(0.02)
    runtime = living.state()
    server = EmbeddedServer(runtime).pid()
    kernel = int((runtime / "kernel.lock").read_text())
    shutil.rmtree(runtime)
    for pid in (int(waits.read_text()), kernel, server):
        assert pid is not None
        while is_alive(pid):
            time.sleep(0.02)
    assert living("list", "--json", code=3).error["code"] == "data_gone"


def test_a_signal_ends_a_foreground_spawn_with_its_kernel(living: Shell) -> None:
    with living.start("spawn", "here", "--foreground") as kernel:
        assert kernel.stdout is not None
        assert kernel.stderr is not None
        assert "added here" in kernel.stdout.readline()
        assert "is running" in kernel.stderr.readline()
        living("wait", "here", "--timeout", "20")
        kernel.send_signal(signal.SIGINT)
        kernel.communicate(timeout=20)
    assert kernel.returncode == 0


def await_state(living: Shell, name: str, state: str) -> None:
    deadline = time.monotonic() + 60
    while living.json("list")["agents"][0]["state"] != state:
        assert time.monotonic() < deadline, f"{name} is not {state}"
        time.sleep(0.05)


def test_commands_say_what_they_wait_for(living: Shell) -> None:
    living("spawn", "worker", "--cli", "shell")
    task = living.json("assign", "worker", "sleep 600")["task_id"]
    await_state(living, "worker", "working")
    paused = living("interrupt", "worker").out
    assert paused == f"pause requested for worker: waiting for its round on task {task[:8]}; --now interrupts it\n"
    assert "it first finishes 1 task and 1 message" in living("close", "worker").out
    stopped = living("kill", "worker", "--now").out
    assert stopped == f"stop requested for worker: its round on task {task[:8]} is being interrupted\n"


def test_a_kernel_that_is_asked_to_stop_says_whose_rounds_it_waits_for(living: Shell) -> None:
    with living.start("start") as kernel:
        assert kernel.stderr is not None
        assert "is running" in kernel.stderr.readline()
        living("spawn", "worker", "--cli", "shell")
        living("assign", "worker", "sleep 600")
        await_state(living, "worker", "working")
        kernel.send_signal(signal.SIGINT)
        assert kernel.stderr.readline() == (
            "stopping: waiting up to 10 s for the rounds of worker; Ctrl-C again interrupts them\n"
        )
        kernel.send_signal(signal.SIGINT)
        assert kernel.wait(60) == 0


def test_status_names_failed_tasks_with_both_ends_of_the_reason_and_what_to_do(living: Shell) -> None:
    living("spawn", "worker", "--cli", "shell")
    script = (
        "for i in $(seq 200); do echo line $i of a long trace >&2; done; echo ValueError: no such table >&2; exit 3"
    )
    task = living.json("assign", "worker", script, "--title", "migrate")["task_id"]
    living("wait", "--task", task, "--timeout", "60", code=1)
    shown = living("status").out
    assert "1 task failed:" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith(f"  {task[:8]}  migrate: exit status 3: ")]
    assert line.endswith("ValueError: no such table")
    assert f"next: tt task show {task[:8]} or tt task reopen {task[:8]}" in shown
    (failed,) = living.json("status")["failed"]
    assert failed["next"] == [f"tt task show {task}", f"tt task reopen {task}"]
    assert failed["reason"].startswith("exit status 3: ")
    assert failed["reason"].endswith("ValueError: no such table")


def test_stop_does_not_deny_the_kernel_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _whose(tmp_path) == ""
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert "the project belongs to" in _whose(tmp_path)
