"""What the work needs works in a box: git, compilers, signals, exit statuses, limits of time, pauses."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.contracts import AgentBackend, Box
from tinytown.errors import ProcessFailed
from tinytown.process import Exit, Line, open_process_supervisor
from tinytown_sandbox import outside
from tinytown_sandbox.bubblewrap import Bubblewrap
from tinytown_sandbox.settings import Settings

from .conftest import Place, processes_with

DEADLINE_S = 60.0


async def run(place: Place, *command: str, run_dir: Path | None = None, **options: Any) -> tuple[Exit, list[str]]:
    """Run a command in a box as the kernel does."""
    lines: list[str] = []

    def listen(line: Line) -> None:
        lines.append(line.text)

    with trio.fail_after(DEADLINE_S):
        async with open_process_supervisor(run_dir=run_dir or place.state / "run") as processes:
            ended = await processes.run(
                place.wrap(command), cwd=place.workspace, env=place.environment, on_line=listen, **options
            )
    return ended, lines


def test_git_works_in_the_workspace(place: Place) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    place.run("git init -q -b main . && git config user.name ann && git config user.email ann@example.org")
    ended = place.run(
        "echo x > file && git add . && git commit -qm first && git checkout -qb side && git stash list && git gc -q"
        " && git tag v1 && git log --format=%s && git clone -q . below && ls below"
    )
    assert (ended.returncode, ended.stdout) == (0, "first\nfile\n"), ended.stderr


def test_a_linked_worktree_can_commit(place: Place, home: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    script = """git init -q -b main ../whole && cd ../whole && git config user.name ann && git config user.email a@b
    git commit -q --allow-empty -m first && rmdir ../workspace && git worktree add -q ../workspace -b side"""
    subprocess.run(["sh", "-ec", script], cwd=place.workspace, env=place.environment, check=True)
    ended = place.run("echo x > file && git add . && git commit -qm second && git log --format=%s")
    assert (ended.returncode, ended.stdout) == (0, "second\nfirst\n"), ended.stderr
    assert (
        place.run("echo evil > ../whole/evil; echo evil > ../whole/.git/hooks/pre-commit; echo done").stdout == "done\n"
    )
    assert not (home / "whole" / "evil").exists()
    assert not (home / "whole" / ".git" / "hooks" / "pre-commit").exists()


def test_a_compiler_works(place: Place) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no compiler here")
    script = "echo 'int main(void) { return 7; }' > a.c && cc -o /tmp/a a.c && /tmp/a"
    assert place.run(script).returncode == 7


def test_what_programs_keep_has_a_place_of_the_agents_own(place: Place) -> None:
    script = (
        'echo x > "$XDG_CACHE_HOME/kept" && mktemp >/dev/null && python3 -c "import multiprocessing as m; m.Lock()"'
    )
    assert place.run(script).returncode == 0
    assert (place.state / "cache" / "kept").read_text() == "x\n"


def test_the_environment_arrives(place: Place) -> None:
    place.environment |= {"TINYTOWN_ROUND_ID": "r1", "ODD": "a b\nc", "TMPDIR": "/nowhere"}
    given = place.python("import os; print(dict(os.environ))").stdout
    environment: dict[str, str] = eval(given)
    assert {name: environment.get(name) for name in ("TINYTOWN_ROUND_ID", "ODD", "TMPDIR", "PWD")} == {
        "TINYTOWN_ROUND_ID": "r1",
        "ODD": "a b\nc",
        "TMPDIR": None,
        "PWD": str(place.workspace),
    }
    assert ("LC_CTYPE" in environment) == ("LC_CTYPE" in place.environment) or sys.flags.utf8_mode


async def test_a_command_ends_as_it_would_without_a_box(place: Place) -> None:
    (place.state / "run").mkdir()
    assert [(await run(place, "sh", "-c", f"exit {code}"))[0].status for code in (0, 3, 137)] == [0, 3, 137]
    ended, _ = await run(place, "sh", "-c", "kill -KILL $$")
    assert (ended.status, ended.signal) == (None, signal.SIGKILL)
    ended, _ = await run(place, "sh", "-c", "kill -SEGV $$")
    assert (ended.status, ended.signal) == (None, signal.SIGSEGV)
    ended, lines = await run(place, "cat", stdin=b"one\ntwo\n")
    assert lines == ["one", "two"]
    (place.workspace / "script").write_text("#!/nowhere/interpreter\n")
    (place.workspace / "script").chmod(0o755)
    ended, _ = await run(place, "./script")
    assert ended.status == 127


def test_a_command_that_is_not_there_is_said_to_be_missing(place: Place) -> None:
    for command in ("no-such-command", "./no-such-file"):
        with pytest.raises(ProcessFailed, match=command) as raised:
            place.wrap([command])
        assert raised.value.code == "command_not_found"


async def test_a_signal_reaches_the_command_and_it_has_its_grace(place: Place) -> None:
    script = "trap 'echo ending; sleep 0.3; echo ended; exit 5' INT; echo ready; while :; do sleep 0.05; done"
    ended, lines = await run(place, "sh", "-c", script, timeout_s=2.0, first_signal=signal.SIGINT, grace_s=10.0)
    assert lines == ["ready", "ending", "ended"]
    assert (ended.status, ended.reason, ended.survivors) == (5, "timeout", ())


async def test_what_does_not_end_is_killed_with_all_that_is_below_it(place: Place) -> None:
    script = "trap '' INT TERM HUP; setsid sh -c 'trap \"\" TERM; sleep 1000' & echo ready; sleep 1000; sleep 1000"
    place.environment |= {"TINYTOWN_TOWN": str(place.workspace), "TINYTOWN_ROUND_ID": f"r9-{os.getpid()}"}
    ended, lines = await run(place, "sh", "-c", script, timeout_s=2.0, grace_s=0.3)
    assert (lines, ended.reason, ended.survivors) == (["ready"], "timeout", ())
    assert processes_with(f"TINYTOWN_ROUND_ID=r9-{os.getpid()}") == []


async def test_what_is_left_behind_is_asked_to_end_first(place: Place) -> None:
    left = "trap 'echo asked > asked; exit' TERM; : > ready; while :; do sleep 0.02; done"
    script = f'sh -c "{left}" & while [ ! -e ready ]; do :; done'
    ended, _ = await run(place, "sh", "-c", script)
    assert ended.status == 0
    assert (place.workspace / "asked").read_text() == "asked\n"


async def test_a_run_can_be_paused(place: Place) -> None:
    lines: list[str] = []
    script = "n=0; while [ $n -lt 1000 ]; do n=$((n+1)); echo $n > count; sleep 0.01; done"

    async def counted() -> str:
        await trio.sleep(0.2)
        return (place.workspace / "count").read_text()

    with trio.fail_after(DEADLINE_S):
        async with open_process_supervisor(run_dir=place.state / "run") as processes, trio.open_nursery() as nursery:

            async def run_it() -> None:
                await processes.run(
                    place.wrap(["sh", "-c", script]),
                    cwd=place.workspace,
                    env=place.environment,
                    on_line=lambda line: lines.append(line.text),
                )

            nursery.start_soon(run_it)
            while not (place.workspace / "count").exists():  # noqa: ASYNC110 - nothing announces it
                await trio.sleep(0.02)
            processes.pause_all()
            await trio.sleep(0.3)
            before = await counted()
            assert await counted() == before
            processes.continue_all()
            while await counted() == before:
                pass
            nursery.cancel_scope.cancel()


async def test_killing_what_is_around_a_box_ends_what_is_in_it(place: Place) -> None:
    place.environment |= {"TINYTOWN_TOWN": str(place.workspace), "TINYTOWN_ROUND_ID": f"r8-{os.getpid()}"}
    process = subprocess.Popen(  # noqa: ASYNC220 - quick
        place.wrap(["sh", "-c", "trap '' TERM; echo ready; setsid sleep 1000"]),
        cwd=place.workspace,
        env=place.environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    with trio.fail_after(DEADLINE_S):
        while "sleep" not in processes_with(f"TINYTOWN_ROUND_ID=r8-{os.getpid()}"):  # noqa: ASYNC110 - as a sweep finds them
            await trio.sleep(0.02)
    process.kill()
    process.wait()
    with trio.fail_after(DEADLINE_S):
        while processes_with(f"TINYTOWN_ROUND_ID=r8-{os.getpid()}"):  # noqa: ASYNC110
            await trio.sleep(0.02)
    process.stdout.close()


def put_before_bwrap(place: Place, directory: Path, script: str) -> None:
    """Have a shell script run in place of bwrap, whose path it finds in ``$bwrap``."""
    program = directory / "bwrap"
    program.write_text(f"#!/bin/sh\nbwrap={shutil.which('bwrap')}\n{script}\n")
    program.chmod(0o755)


def test_a_place_that_goes_while_a_box_is_made_is_no_failure(
    place: Place, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: Callable[[str | int], Any]
) -> None:
    places = [home / "service.sock", home / "neighbour", place.state / "old"]
    listener(str(places[0]))
    places[1].mkdir()
    places[2].mkdir()
    # Each attempt loses one more of them at the moment when bwrap has its name.
    script = f'for path in {" ".join(map(str, places))}; do [ -e "$path" ] && rm -rf "$path" && break; done'
    put_before_bwrap(place, tmp_path, f'case "$*" in *--chdir*) {script};; esac; exec "$bwrap" "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    ended = place.run("echo ran >> count; cat count; echo error >&2; exit 3", hidden=(places[1],))
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "ran\n", "error\n")
    assert [path for path in places if path.exists()] == []


@pytest.mark.parametrize("script", ['"$bwrap" "$@"; exit 1', '"$bwrap" "$@"; kill -9 $$', '"$bwrap" "$@"'])
def test_a_command_that_has_begun_is_not_run_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    put_before_bwrap(place, tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert place.run("echo ran >> count; exit 4").returncode == 4
    assert (place.workspace / "count").read_text() == "ran\n"


def test_a_box_that_cannot_be_made_is_an_error_once(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_before_bwrap(place, tmp_path, 'case "$*" in *--chdir*) echo no box >&2; exit 1;; esac; exec "$bwrap" "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    ended = place.run("echo ran > count")
    assert (ended.returncode, ended.stderr) == (outside.NO_BOX, "no box\n")
    assert not (place.workspace / "count").exists()


def test_without_bubblewrap_the_problem_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox = Bubblewrap(Settings(), Path.cwd())
    assert "apt-get install bubblewrap" in sandbox.problem()
    with pytest.raises(ProcessFailed, match="bubblewrap"):
        sandbox.wrap(["sh"], box=Box(profile="read", workspace=tmp_path), environment={})


def test_a_bubblewrap_that_may_not_make_namespaces_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "bwrap"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --help ] && echo --perms && exit\necho "bwrap: setting up uid map: denied" >&2; exit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert "uid map: denied" in Bubblewrap(Settings(), Path.cwd()).problem()


def test_the_kind_of_an_agent_decides_what_it_may_do() -> None:
    class Backend(AgentBackend):
        kind = "x"

    backend: Any = Backend
    assert backend.permissions_of(backend, None, None) == "full"
    assert backend.permissions_of(backend, None, "read") == "read"


def test_an_environment_in_tmp_is_there_to_be_used_and_not_to_be_changed(place: Place, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (tmp_path / "beside").touch()
    (environment / "bin" / "tool").write_text(f"#!{environment}/bin/python\nimport sys; print(sys.prefix)\n")
    (environment / "bin" / "tool").chmod(0o755)
    place.environment["PATH"] = f"{environment}/bin{os.pathsep}{place.environment['PATH']}"
    ended = place.run(f"tool; echo x > {environment}/bin/tool; ls {tmp_path}")
    assert ended.stdout == f"{environment}\nenvironment\n", ended.stderr
    assert "Read-only file system" in ended.stderr


def test_a_package_of_npm_in_tmp_is_there_as_a_whole(place: Place, tmp_path: Path) -> None:
    modules = tmp_path / "clis" / "node_modules"
    (modules / ".bin").mkdir(parents=True)
    (modules / "a-cli").mkdir()
    (modules / "a-cli" / "main.sh").write_text('#!/bin/sh\n. "$(dirname "$(readlink -f "$0")")/../a-library/main.sh"\n')
    (modules / "a-cli" / "main.sh").chmod(0o755)
    (modules / ".bin" / "a-cli").symlink_to("../a-cli/main.sh")
    (modules / "a-library").mkdir()
    (modules / "a-library" / "main.sh").write_text("echo ran\n")
    wrapped = place.wrap([str(modules / ".bin" / "a-cli")])
    ended = subprocess.run(wrapped, cwd=place.workspace, env=place.environment, capture_output=True, text=True)
    assert ended.stdout == "ran\n", ended.stderr


def test_a_command_in_tmp_is_there_by_itself(place: Place, tmp_path: Path) -> None:
    (tmp_path / "run-me").write_text('#!/bin/sh\necho ran; ls "$(dirname "$0")"\n')
    (tmp_path / "run-me").chmod(0o755)
    (tmp_path / "link").symlink_to("run-me")
    (tmp_path / "other").touch()
    place.environment["PATH"] = f"{tmp_path}{os.pathsep}{place.environment['PATH']}"
    for name, seen in (("run-me", ["run-me"]), ("link", ["link", "run-me"])):
        wrapped = place.wrap([name])
        ended = subprocess.run(wrapped, cwd=place.workspace, env=place.environment, capture_output=True, text=True)
        assert ended.stdout.split() == ["ran", *seen], ended.stderr
