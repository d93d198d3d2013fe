"""Attempts to get out of a box, from inside: each has to fail, by what the system says, not by good behaviour."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tinytown.state import state_directory
from tinytown_sandbox import confine, limits, outside
from tinytown_sandbox.bubblewrap import wrapped
from tinytown_sandbox.git_links import GitLinks
from tinytown_sandbox.places import SECRETS
from tinytown_sandbox.settings import Settings

from .conftest import Place, processes_with

ATTEMPTS = "ctypes, errno, os, socket, sys; libc = ctypes.CDLL(None, use_errno=True)"


# -- files --------------------------------------------------------------------------------------------------


def test_nothing_outside_of_the_workspace_can_be_written(place: Place) -> None:
    script = 'for path; do echo x > "$path" && echo "wrote $path"; rm -rf "$path" && echo "removed $path"; done'
    paths = [
        place.outside / "precious",
        place.outside / "new",
        "/etc/tinytown",
        "/usr/tinytown",
        "/tinytown",
        "/var/lib/tt",
    ]
    ended = place.run(f"{script}; true", *paths)
    assert "wrote" not in ended.stdout
    assert (place.outside / "precious").read_text() == "precious\n"
    assert not (place.outside / "new").exists()


def test_what_is_written_to_tmp_stays_in_the_box(place: Place) -> None:
    for directory in ("/tmp", "/var/tmp", "/run", "/dev/shm"):
        marker = Path(directory, f"tinytown-test-{os.getpid()}")
        assert place.run('echo x > "$1"; cat "$1"', marker).stdout in ("x\n", "")
        assert not marker.exists()


def test_a_link_in_the_workspace_leads_to_nothing_that_can_be_written(place: Place) -> None:
    (place.workspace / "link").symlink_to(place.outside)
    ended = place.run(
        'echo x > link/precious; rm link/precious; ln -s "$1/precious" own; echo x > own; mv own link/', place.outside
    )
    assert "Read-only file system" in ended.stderr
    assert (place.outside / "precious").read_text() == "precious\n"
    assert os.listdir(place.outside) == ["precious"]


def test_a_hard_link_to_a_file_outside_cannot_be_made(place: Place) -> None:
    ended = place.run('ln "$1/precious" mine && echo x > mine', place.outside)
    assert ended.returncode != 0
    assert (place.outside / "precious").read_text() == "precious\n"


def test_the_workspace_cannot_be_exchanged_for_a_link(place: Place) -> None:
    ended = place.run('cd .. && mv workspace gone; rmdir "$2"; ln -sfn "$1" "$2"', place.outside, place.workspace)
    assert ended.returncode != 0 or place.workspace.is_dir()
    assert not place.workspace.is_symlink()


def test_secrets_of_the_person_are_out_of_sight(place: Place, home: Path) -> None:
    files = [home / name / "secret" if "." not in Path(name).name[1:] else home / name for name in SECRETS]
    for path in files:
        if not any(parent.is_file() for parent in path.parents) and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("hunter2")
    listing = place.run('find "$1" -type f ! -path "*/workspace/*" -exec grep -l hunter2 {} + 2>/dev/null', home)
    assert listing.stdout == ""
    assert "hunter2" in (home / ".ssh" / "secret").read_text()


def test_secrets_that_a_variable_names_are_out_of_sight(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(place.outside / "precious"))
    assert "precious" not in place.run('cat "$1/precious"', place.outside).stdout


def test_what_the_town_hides_is_neither_readable_nor_writable(place: Place, home: Path) -> None:
    (home / "state" / "mine").write_text("mine")
    (home / "town" / "agents").mkdir(parents=True)
    (home / "town" / "redis.log").write_text("hunter2")
    ended = place.run('cat "$1"/* "$2/mine"; echo x > "$1/new"', home / "town", home / "state", hidden=(home / "town",))
    assert ended.stdout == "mine"
    assert "Read-only file system" in ended.stderr
    assert os.listdir(home / "town") == ["agents", "redis.log"] or sorted(os.listdir(home / "town")) == [
        "agents",
        "redis.log",
    ]


def test_an_agents_own_place_inside_of_what_is_hidden_is_its_to_write(place: Place, home: Path) -> None:
    own = home / "town" / "agents" / "ada"
    own.mkdir(parents=True)
    (home / "town" / "agents" / "bob").mkdir()
    ended = place.run(
        'echo x > "$1/agents/ada/note"; ls "$1/agents"', home / "town", hidden=(home / "town",), writable=(own,)
    )
    assert ended.stdout == "ada\n"
    assert (own / "note").read_text() == "x\n"


def test_settings_of_the_town_stay_as_they_are(place: Place) -> None:
    settings = place.workspace / "tinytown.toml"
    settings.write_text('name = "t"\n')
    ended = place.run(
        "echo evil > tinytown.toml; rm -f tinytown.toml; echo evil > new; mv new tinytown.toml; cat tinytown.toml",
        read_only=(settings,),
    )
    assert ended.stdout == 'name = "t"\n'
    assert settings.read_text() == 'name = "t"\n'


def test_the_profile_read_leaves_the_workspace_as_it_is(place: Place) -> None:
    (place.workspace / "file").write_text("as it is")
    ended = place.run("cat file; echo x > file; echo x > new; echo x > /tmp/x && cat /tmp/x", profile="read")
    assert ended.stdout == "as it isx\n"
    assert (place.workspace / "file").read_text() == "as it is"
    assert not (place.workspace / "new").exists()


def test_the_programs_that_the_kernel_runs_from_cannot_be_changed(place: Place) -> None:
    import tinytown

    package = Path(str(tinytown.__file__)).parent
    script = (
        ': >> "$1/__init__.py" && echo opened; mv "$1" "$1-gone" && mv "$1-gone" "$1" && echo moved'  # no damage done
    )
    for directory in (package, package.parent):
        for changes in ({"workspace": directory}, {"writable": (directory,)}):
            ended = place.run(script, package, **changes)
            assert ended.stdout == ""
            assert ended.stderr


# -- git: what is executed by whoever uses it there later -----------------------------------------------------


@pytest.fixture
def repository(place: Place) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for arguments in (["init", "-q", "-b", "main"], ["config", "user.name", "ann"], ["config", "user.email", "ann@x"]):
        subprocess.run(["git", *arguments], cwd=place.workspace, check=True, env=place.environment)
    return place.workspace


def test_hooks_and_settings_of_git_cannot_be_planted(place: Place, repository: Path) -> None:
    config = (repository / ".git" / "config").read_text()
    script = """
    echo evil > .git/hooks/pre-commit; rm -rf .git/hooks; mkdir .git/hooks; echo evil > .git/hooks/pre-commit
    git config core.fsmonitor evil; echo evil >> .git/config; echo evil > new; mv new .git/config
    mv .git old; cp -r old .git; mkdir .git; echo evil > .git/hooks/pre-commit
    """
    place.run(script)
    assert (repository / ".git" / "config").read_text() == config
    assert not (repository / ".git" / "hooks" / "pre-commit").exists()


def test_hooks_cannot_be_planted_where_there_were_none(place: Place, repository: Path) -> None:
    shutil.rmtree(repository / ".git" / "hooks")
    place.run("mkdir .git/hooks; echo evil > .git/hooks/pre-commit")
    assert not (repository / ".git" / "hooks" / "pre-commit").exists()


def test_a_file_in_place_of_the_repository_opens_no_other_directory(place: Place) -> None:
    (place.outside / "HEAD").write_text("ref: refs/heads/main\n")
    for text in (f"gitdir: {place.outside}\n", f"gitdir: {place.workspace}/fake\n"):
        (place.workspace / ".git").write_text(text)
        (place.workspace / "fake").mkdir(exist_ok=True)
        (place.workspace / "fake" / "commondir").write_text(f"{place.outside}\n")
        (place.workspace / "fake" / "gitdir").write_text(f"{place.workspace}/.git\n")
        assert place.run('echo x > "$1/evil" && echo wrote', place.outside).stdout == ""


EVIL = """mkdir evil; cp -r .git/HEAD .git/objects .git/refs evil; cp .git/config evil/config
git config --file evil/config core.fsmonitor "touch $PWD/executed; false"; """


def executed_by_git(repository: Path) -> bool:
    """Whether a person who looks at a repository runs what the agent has planted there."""
    subprocess.run(["git", "status"], cwd=repository, capture_output=True, timeout=60)
    return (repository / "executed").exists()


LINKS = """target=$1; git commit -q --allow-empty -m one; git branch 'x;touch${IFS}executed'
for name in packed-refs index COMMIT_EDITMSG FETCH_HEAD ORIG_HEAD MERGE_MSG logs/HEAD logs/refs/heads/main refs/heads/y; do
    rm -f .git/$name; ln -s $target/$(basename $name) .git/$name
done
mkfifo .git/objects/info/alternates"""


def git_of_a_person(repository: Path) -> None:
    """What people and the kernel do in a repository, all of which writes to its own files."""
    for words in (
        ["pack-refs", "--all"],
        ["fetch", "-q", "."],
        ["commit", "-q", "--allow-empty", "-m", "$(touch executed)"],
    ):
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(["git", *words], cwd=repository, capture_output=True, timeout=5)


def test_links_and_pipes_among_the_files_of_git_lead_nowhere(place: Place, repository: Path) -> None:
    shutil.copytree(repository, repository.parent / "unprotected")
    unprotected, written = repository.parent / "unprotected", repository.parent / "written"
    written.mkdir()
    script = LINKS.rpartition("\n")[0]
    subprocess.run(["sh", "-c", script, "sh", written], cwd=unprotected, env=place.environment, check=True)
    git_of_a_person(unprotected)
    assert "x;touch${IFS}executed" in (written / "packed-refs").read_text()  # that this is worth a test
    assert "$(touch executed)" in (written / "HEAD").read_text()
    shutil.rmtree(written)
    written.mkdir()
    assert place.run(LINKS, written).returncode == 0
    assert [*outside.odd_entries(str(repository / ".git"))] == []
    git_of_a_person(repository)
    assert [*written.iterdir()] == []
    assert (
        subprocess.run(["git", "log", "--oneline"], cwd=repository, capture_output=True, text=True).stdout.count("\n")
        == 2
    )


def test_links_that_were_there_before_any_agent_stay(
    place: Place, repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    state_directory(repository).mkdir(parents=True)
    (repository.parent / "shared").mkdir()
    (repository / ".git" / "rr-cache").symlink_to(repository.parent / "shared")
    links = GitLinks(repository)
    box = place.box
    command = wrapped(["true"], box, Settings(), place.environment, links)
    subprocess.run(command, cwd=repository, env=place.environment, check=True, timeout=60)
    assert (repository / ".git" / "rr-cache").is_symlink()
    (repository / ".git" / "logs").mkdir(exist_ok=True)
    (repository / ".git" / "logs" / "HEAD").unlink(missing_ok=True)
    (repository / ".git" / "logs" / "HEAD").symlink_to(repository.parent / "shared")  # by a run that was killed
    later = wrapped(["true"], box, Settings(), place.environment, GitLinks(repository))
    subprocess.run(later, cwd=repository, env=place.environment, check=True, timeout=60)
    assert (repository / ".git" / "rr-cache").is_symlink()
    assert not (repository / ".git" / "logs" / "HEAD").is_symlink()


def test_another_repositorys_settings_cannot_be_put_in_place_of_these(place: Place, repository: Path) -> None:
    shutil.copytree(repository, repository.parent / "unprotected")
    unprotected = repository.parent / "unprotected"
    subprocess.run(["sh", "-c", f"{EVIL} echo $PWD/evil > .git/commondir"], cwd=unprotected, env=place.environment)
    assert executed_by_git(unprotected)  # that this is worth a test
    place.run(f"{EVIL} echo $PWD/evil > .git/commondir")
    assert not executed_by_git(repository)
    # What a killed run has left, the next one does not find.
    (repository / ".git" / "commondir").write_text(f"{repository}/evil\n")
    assert place.run("ls .git/commondir").stdout == ""
    assert not executed_by_git(repository)


def test_settings_of_a_worktree_cannot_be_planted_either(place: Place, repository: Path) -> None:
    subprocess.run(["git", "config", "extensions.worktreeConfig", "true"], cwd=repository, check=True)
    place.run('echo "[core] fsmonitor = touch $PWD/executed; false" > .git/config.worktree; git status')
    assert not executed_by_git(repository)


def test_repositories_of_linked_worktrees_and_submodules_stay_as_they_are(place: Place, repository: Path) -> None:
    script = """git commit -q --allow-empty -m first && git worktree add -q ../outside/linked -b side
    mkdir -p .git/modules/part/hooks && touch .git/modules/part/config"""
    subprocess.run(["sh", "-ec", script], cwd=repository, env=place.environment, check=True)
    attempt = """for path in worktrees/linked/commondir worktrees/linked/gitdir modules/part/config modules/part/hooks/x
    do echo evil > .git/$path && echo "wrote $path"; done
    for name in worktrees modules; do mv .git/$name .git/gone && echo "moved $name"; mkdir .git/$name/new && echo made; done"""
    assert place.run(attempt).stdout == ""
    assert (repository / ".git" / "worktrees" / "linked" / "commondir").read_text() == "../..\n"
    # From the linked one as well, which has its own directory there.
    linked = place.outside / "linked"
    attempt = (
        'git commit -q --allow-empty -m second && echo committed; echo evil > "$(git rev-parse --git-dir)/commondir"'
    )
    ended = subprocess.run(
        replace(place, box=replace(place.box, workspace=linked)).wrap(["sh", "-c", attempt]),
        cwd=linked, env=place.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.stdout == "committed\n", ended.stderr
    assert (repository / ".git" / "worktrees" / "linked" / "commondir").read_text() == "../..\n"


def test_a_program_that_an_agent_put_on_the_path_makes_no_box(
    place: Place, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = place.workspace / "bin" / "bwrap"
    planted.parent.mkdir()
    planted.write_text(f"#!/bin/sh\ntouch {home}/executed\n")
    planted.chmod(0o755)
    for directory in (planted.parent, Path("bin")):
        monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.chdir(place.workspace)
        assert place.sandbox.problem() == ""
        assert place.run("echo ran").stdout == "ran\n"
    assert not (home / "executed").exists()


# -- processes ------------------------------------------------------------------------------------------------


def test_no_process_outside_can_be_seen(place: Place, bystander: subprocess.Popen[bytes]) -> None:
    ended = place.run('cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr "\\0" "\\n"; ls -d /proc/[0-9]* | wc -l')
    assert "hunter2" not in ended.stdout
    assert int(ended.stdout.split()[-1]) < 10
    assert place.run('cat "/proc/$1/environ"', bystander.pid).stdout == ""


def test_no_process_outside_can_be_ended_or_traced(place: Place, bystander: subprocess.Popen[bytes]) -> None:
    script = f"""import {ATTEMPTS}
PTRACE_ATTACH = 16
print(libc.ptrace(PTRACE_ATTACH, int(sys.argv[1]), 0, 0), errno.errorcode[ctypes.get_errno()])
for pid in (int(sys.argv[1]), -int(sys.argv[2])):
    try:
        os.kill(pid, 9)
        print("sent")
    except ProcessLookupError:
        print("ESRCH")
"""
    ended = place.python(script, bystander.pid, os.getpgid(bystander.pid))
    assert ended.stdout == "-1 ESRCH\nESRCH\nESRCH\n"
    place.run("kill -9 -1")
    assert bystander.poll() is None


def test_nothing_survives_the_command(place: Place) -> None:
    started = time.monotonic()
    script = """import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(1); os.close(2)
        time.sleep(1000)
    os._exit(0)
"""
    marked = {**place.environment, "TINYTOWN_TEST_MARK": "left-behind"}
    place.environment = marked
    assert place.python(script).returncode == 0
    assert time.monotonic() - started < 20
    assert processes_with("TINYTOWN_TEST_MARK=left-behind") == []


def test_a_process_in_another_box_can_neither_be_seen_nor_traced(place: Place, home: Path) -> None:
    (home / "other").mkdir()
    sibling = replace(place, box=replace(place.box, workspace=home / "other", writable=()))
    variables = {**place.environment, "PASSWORD": "hunter2"}
    command = sibling.wrap(["sh", "-c", "echo ready; exec sleep 100"], variables)
    with subprocess.Popen(command, cwd=home / "other", env=variables, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        script = f"""import {ATTEMPTS}
PTRACE_SEIZE = 0x4206
for pid in range(1, 1000):
    if pid != os.getpid() and pid != 1:
        print(end="traced" if libc.ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 else "")
for name in os.listdir("/proc"):
    if name.isdecimal():
        print(end="seen" if b"hunter2" in open(f"/proc/{{name}}/environ", "rb").read() else "")
"""
        assert place.python(script).stdout == ""
        other.kill()


def test_what_crashes_is_handed_to_no_program_of_the_system(place: Place) -> None:
    assert place.python("import resource; print(resource.getrlimit(resource.RLIMIT_CORE))").stdout == "(1, 1)\n"
    assert place.run("kill -SEGV $$").returncode != 0


def test_no_descriptor_of_another_process_is_in_the_box(place: Place) -> None:
    script = (
        "import os; print(*[name for name in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{name}')])"
    )
    assert place.python(script).stdout.split() == ["0", "1", "2"]


def test_the_shared_memory_of_the_machine_is_out_of_reach(place: Place) -> None:
    if shutil.which("ipcs") is None:
        pytest.skip("ipcs is not installed")
    assert os.readlink("/proc/self/ns/ipc") not in place.run("readlink /proc/self/ns/ipc").stdout


# -- rights ---------------------------------------------------------------------------------------------------


def test_no_right_can_be_gained(place: Place) -> None:
    status = dict(line.split(":\t", 1) for line in place.run("cat /proc/self/status").stdout.splitlines())
    assert status["NoNewPrivs"] == "1"  # so setuid and file capabilities give nothing
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["Seccomp"] == "2"


@pytest.mark.parametrize(
    "script",
    [
        "mount -t tmpfs none /mnt",
        "mount -o remount,rw /",
        "mount -o bind,remount,rw /",
        "umount -l /tmp",
        "umount -l /proc",
        "unshare -U true",
        "unshare -Ur true",
        "unshare -m true",
        "unshare -p -f true",
        "unshare -n true",
        "nsenter -t 1 -a true",
        "chroot / true",
        ": >> /proc/sys/kernel/core_pattern",  # only opened: this one would be the machine's
        ": >> /proc/sys/kernel/modprobe",
        "echo 0 > /proc/self/oom_score_adj && echo -1000 > /proc/self/oom_score_adj",
        "mknod null c 1 3 && echo x > null",
        "date -s 2001-01-01",
        "hostname other",
        "dd if=/dev/sda of=/dev/null count=1",
        "cat /dev/mem",
        "cat /dev/kmsg",
        "dmesg",
        "echo $$ > /sys/fs/cgroup/cgroup.procs || echo $$ > /sys/fs/cgroup/pids/cgroup.procs",
        "mkdir /sys/fs/cgroup/evil || mkdir /sys/fs/cgroup/pids/evil || mkdir /sys/fs/cgroup/unified/evil",
    ],
)
def test_the_system_refuses(place: Place, script: str) -> None:
    ended = place.run(script)
    assert ended.returncode != 0, ended.stdout
    assert ended.stderr


def test_no_setting_of_the_machine_can_be_written(place: Place) -> None:
    ended = place.run('find /proc /sys -path "/proc/[0-9]*" -prune -o -type f -writable -print 2>/dev/null')
    assert ended.stdout == ""


def test_system_calls_beside_the_namespaces_are_refused(place: Place) -> None:
    if confine.filter_program() is None:
        pytest.skip("no filter for this machine")
    script = f"""import {ATTEMPTS}
def attempt(name, *arguments):
    number = libc.syscall(*arguments)
    print(name, number, errno.errorcode.get(ctypes.get_errno()))
numbers = eval(sys.argv[1])
attempt("keyctl", numbers["keyctl"], 0, -3, 1)
attempt("bpf", numbers["bpf"], 0, None, 0)
attempt("perf", numbers["perf_event_open"], None, 0, -1, -1, 0)
attempt("io_uring", numbers["io_uring_setup"], 1, None)
attempt("userfaultfd", numbers["userfaultfd"], 0)
attempt("newuser", numbers["unshare"], 0x10000000)
attempt("clone", numbers["clone"], 0x10000000 | 17, 0, 0, 0, 0)
for family in (socket.AF_VSOCK, socket.AF_PACKET, socket.AF_ALG):
    try:
        socket.socket(family, socket.SOCK_STREAM)
        print("opened", family)
    except OSError as error:
        print("socket", errno.errorcode[error.errno])
"""

    numbers = confine._ARCHITECTURES[os.uname().machine][1]
    assert place.python(script, numbers).stdout.splitlines() == [
        "keyctl -1 EPERM",
        "bpf -1 EPERM",
        "perf -1 EPERM",
        "io_uring -1 ENOSYS",
        "userfaultfd -1 EPERM",
        "newuser -1 EPERM",
        "clone -1 EPERM",
        *["socket EAFNOSUPPORT"] * 3,
    ]


def test_nothing_can_be_typed_into_a_terminal(place: Place) -> None:
    script = """import errno, fcntl, os, pty, termios
main, terminal = pty.openpty()
os.setsid() if os.getpid() != os.getsid(0) else None
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for request in (termios.TIOCSTI, 0xdeadbeef00000000 | termios.TIOCSTI):
    try:
        fcntl.ioctl(terminal, request & 0xffffffff, b"x")
        print("typed")
    except OSError as error:
        print(errno.errorcode[error.errno])
try:
    open("/dev/tty").close()
except OSError:
    pass
"""
    assert place.python(script).stdout == "EPERM\nEPERM\n"


def test_a_setuid_program_gives_nothing(place: Place) -> None:
    program = shutil.which("su") or shutil.which("passwd")
    if program is None or not os.stat(program).st_mode & 0o4000:
        pytest.skip("no setuid program here")
    ended = place.run(
        'cp "$1" . && chmod u+s su; ./su -c id nobody < /dev/null || "$1" -c id root < /dev/null; id -u', program
    )
    assert "uid=65534" not in ended.stdout
    assert ended.stdout.splitlines()[-1] == str(os.geteuid())


# -- sockets and the network -----------------------------------------------------------------------------------

CONNECT = """import socket, sys
family, address = (socket.AF_UNIX, sys.argv[1]) if len(sys.argv) == 2 else (socket.AF_INET, (sys.argv[1], int(sys.argv[2])))
if family == socket.AF_UNIX and address.startswith("@"):
    address = "\\0" + address[1:]
with socket.socket(family) as client:
    client.settimeout(5)
    client.connect(address)
    print("connected")
"""


def test_a_socket_that_somebody_listens_on_is_out_of_reach(
    place: Place, home: Path, listener: Callable[[str | int], Any]
) -> None:
    path = str(home / "service.sock")
    listener(path)
    assert place.python(CONNECT, path).stdout == ""
    place.settings = {"show": (path,)}
    assert place.run(f'test -e "{path}"').returncode == 0


def test_a_bus_that_begins_to_listen_later_is_out_of_reach(
    place: Place, home: Path, listener: Callable[[str | int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "runtime").mkdir()
    bus = home / "runtime" / "bus"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(bus.parent))
    place.environment |= {"XDG_RUNTIME_DIR": str(bus.parent), "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}"}
    command = place.wrap([sys.executable, "-c", CONNECT, str(bus)])
    listener(str(bus))
    ended = subprocess.run(
        command, cwd=place.workspace, env=place.environment, capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, "FileNotFoundError" in ended.stderr) == ("", True)


@pytest.mark.parametrize("network", ["on", "off"])
def test_an_abstract_socket_is_out_of_reach(place: Place, listener: Callable[[str | int], Any], network: str) -> None:
    if network == "on" and confine._landlock_abi() < confine._SCOPE_ABI:
        pytest.skip("this kernel's Landlock has no scopes")
    name = f"@tinytown-test-{os.getpid()}-{network}"
    listener(name)
    place.settings = {"network": network}
    ended = place.python(CONNECT, name)
    assert ended.stdout == ""
    assert "PermissionError" in ended.stderr or "ConnectionRefusedError" in ended.stderr


def test_services_of_the_machine_are_out_of_reach(place: Place) -> None:
    assert place.run("find /run -type s").stdout == ""
    assert place.run('echo "$DBUS_SESSION_BUS_ADDRESS$SSH_AUTH_SOCK$DISPLAY"').stdout == "\n"


def test_the_towns_socket_can_be_reached_and_nothing_else_where_it_lies(
    place: Place, home: Path, listener: Callable[[str | int], Any]
) -> None:
    (home / "town").mkdir()
    socket, other = home / "town" / "redis.sock", home / "town" / "other.sock"
    listener(str(socket))
    listener(str(other))
    (home / "town" / "key").write_text("hunter2")
    changes: dict[str, Any] = {"hidden": (home / "town",), "sockets": (socket,)}
    assert place.python(CONNECT, socket, **changes).stdout == "connected\n"
    assert place.python(CONNECT, other, **changes).stdout == ""
    assert place.run('ls "$1"', home / "town", **changes).stdout == "redis.sock\n"
    place.settings = {"network": "off"}
    assert place.python(CONNECT, socket, **changes).stdout == "connected\n"


def test_the_towns_socket_may_be_another_one_by_the_time_it_is_used(
    place: Place, home: Path, listener: Callable[[str | int], Any]
) -> None:
    (home / "town").mkdir()
    path = home / "town" / "redis.sock"
    listener(str(path))
    wrapped = place.wrap(["sh", "-c", 'echo ready; read go; python3 -c "$1" "$2"', "sh", CONNECT, str(path)])
    assert wrapped
    other = replace(place, box=replace(place.box, hidden=(home / "town",), sockets=(path,)))
    command = other.wrap(["sh", "-c", 'echo ready; read go; exec "$0" -c "$1" "$2"', "python3", CONNECT, str(path)])
    process = subprocess.Popen(
        command, cwd=place.workspace, env=place.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    path.unlink()
    listener(str(path))
    out, _ = process.communicate("go\n", timeout=30)
    assert out == "connected\n"


def test_without_the_network_not_even_this_machine_is_reached(
    place: Place, listener: Callable[[str | int], Any]
) -> None:
    _, port = listener(0)
    assert place.python(CONNECT, "127.0.0.1", port).stdout == "connected\n"
    place.settings = {"network": "off"}
    assert place.python(CONNECT, "127.0.0.1", port).stdout == ""
    assert place.run("cat /proc/net/dev").stdout.count(":") == 1


def test_a_list_of_hosts_lets_through_those_and_no_others(place: Place, listener: Callable[[str | int], Any]) -> None:
    _, port = listener(0)
    _, other = listener(0)
    place.settings = {"network": (f"localhost:{port}", "example.invalid")}
    script = """import os, sys, urllib.request
del os.environ["no_proxy"], os.environ["NO_PROXY"]  # what is local to the box is not local to the proxy
opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": os.environ["http_proxy"]}))
try:
    print(opener.open(sys.argv[1], timeout=10).read().decode())
except OSError as error:
    print(error)
"""
    assert place.python(CONNECT, "127.0.0.1", port).stdout == ""
    assert place.python(script, f"http://localhost:{port}/x").stdout == "hello\n"
    assert "403" in place.python(script, f"http://localhost:{other}/x").stdout
    assert "403" in place.python(script, "http://example.com/x").stdout
    assert "502" in place.python(script, "http://example.invalid/x").stdout


REQUEST = """import os, socket, sys
host, _, port = os.environ["http_proxy"].removeprefix("http://").partition(":")
with socket.create_connection((host, int(port)), timeout=10) as client:
    client.sendall(sys.argv[1].encode().decode("unicode_escape").encode())
    while chunk := client.recv(65536):
        print(chunk.decode(), end="")
"""


@pytest.mark.parametrize(
    "head",
    [
        "GET http://{host}/x HTTP/1.1\\r\\nHost: inner.example",
        "GET http://{host}/x HTTP/1.1\\r\\nhost : inner.example",
        "GET http://{host}/x HTTP/1.1\\r\\nX: y\\nHost: inner.example",
        "GET http://{host}/x HTTP/1.1\\r\\nX: y\\r\\n Host: inner.example",
        "GET http://{host}/x\\r\\nHost: inner.example HTTP/1.1",
        "GET http://{host}/x\\nHost:\\tinner.example HTTP/1.1",
    ],
)
def test_a_request_names_no_other_host_than_the_one_that_is_on_the_list(place: Place, head: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
        server.settimeout(0.1)
        host = f"localhost:{server.getsockname()[1]}"
        place.settings = {"network": (host,)}
        ended = pool.submit(place.python, REQUEST, head.format(host=host) + "\\r\\nX: y\\r\\n\\r\\n")
        while not ended.done():
            with suppress(TimeoutError):
                client, _ = server.accept()
                with client:
                    asked = client.recv(65536).decode()
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                assert "inner.example" not in asked
                assert f"\r\nHost: {host}\r\n" in asked
        assert ended.result().returncode == 0


# -- limits -----------------------------------------------------------------------------------------------------


def _counts(name: str) -> bool:
    return any(name in controllers for controllers in limits.places().values())


def test_a_fork_bomb_ends_at_its_bound(place: Place) -> None:
    if os.geteuid() == 0 and not _counts("pids"):
        pytest.skip("root is held by control groups alone, and there are none")
    place.settings = {"processes": 40}
    script = """import os, time
count = 0
try:
    while count < 200:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        count += 1
except BlockingIOError:
    pass
print(count)
os.kill(-1, 9)
"""
    ended = place.python(script)
    assert 0 < int(ended.stdout) <= 40
    assert _groups() == []


def _groups() -> list[str]:
    return [name for directory in limits.places() for name in os.listdir(directory) if name.endswith(str(os.getpid()))]


def test_memory_ends_at_its_bound(place: Place) -> None:
    place.settings = {"memory_bytes": 100 << 20}
    ended = place.python("print(len(b'x' * (50 << 20)))")
    assert ended.stdout.strip() == str(50 << 20)
    ended = place.python("x = bytearray(b'x' * (400 << 20)); print('has it')")
    assert ended.stdout == ""
    assert ended.returncode != 0


def test_a_file_ends_at_its_bound(place: Place) -> None:
    place.settings = {"file_bytes": 1 << 20, "tmp_bytes": 2 << 20}
    assert place.run("head -c 2000000 /dev/zero > big").returncode != 0
    assert (place.workspace / "big").stat().st_size == 1 << 20
    assert "No space left" in place.run("for n in 1 2 3; do head -c 1000000 /dev/zero > /tmp/$n; done").stderr
