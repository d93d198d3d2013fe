"""Attempts to get out of a box, made by a process in it: ``attempts.py FILE``, with what they aim at as JSON.

Writes how many there were, and which succeeded. Standard library only: any agent can run it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_CLONE_NEWUSER, _PTRACE_ATTACH = 0x10000000, 16
_TT_S = 60
_TOOK: list[str] = []


def attempts(at: dict[str, Any]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and attempt, in turn. An attempt that returns something true has succeeded."""
    outside, root, state = Path(at["outside"]), Path(at["root"]), Path(at["state"])
    yield "write outside", lambda: (outside / "new").write_text("evil")
    yield "change what is outside", lambda: (outside / "precious").write_text("evil")
    yield "write outside through a link", lambda: _through_link(outside)
    yield "exchange the workspace", lambda: root.rename(root.with_name("gone")) or True
    yield "change the settings of the town", lambda: (root / "tinytown.toml").write_text("evil")
    yield "replace the settings of the town", lambda: _replaced(root / "tinytown.toml")
    yield "plant a hook", lambda: (root / ".git" / "hooks" / "pre-commit").write_text("evil")
    yield "configure git", lambda: (root / ".git" / "config").write_text("evil")
    yield "read a secret", lambda: Path(at["secret"]).read_text()
    yield "see the state of the town", lambda: _files_of_others(state, at["agent"])
    yield "write into the state of the town", lambda: (state / "evil").write_text("evil")
    yield "reach the server", lambda: _connect(at["server"])
    yield "reach another service", lambda: _connect(at["service"])
    yield "read the environment of others", lambda: at["password"] in _environments()
    yield "end a process outside", lambda: os.kill(at["bystander"], signal.SIGKILL) or True
    yield "trace a process outside", lambda: ctypes.CDLL(None).ptrace(_PTRACE_ATTACH, at["bystander"], 0, 0) == 0
    yield "make a user namespace", lambda: ctypes.CDLL(None).unshare(_CLONE_NEWUSER) == 0
    yield "gain rights", lambda: _status()["NoNewPrivs"] != "1" or int(_status()["CapBnd"], 16) != 0
    yield "put a link in the place of a log", lambda: _link_logs(state / "agents" / at["agent"], outside)
    yield "read the town's key", lambda: (state / "key").read_text()
    yield "write outside through /proc", lambda: Path(f"/proc/self/root{outside}/new").write_text("evil")
    yield "write outside through the first process", lambda: Path(f"/proc/1/root{outside}/new").write_text("evil")
    yield (
        "write outside through the working directory of another",
        lambda: Path("/proc/1/cwd/../new").write_text("evil"),
    )
    yield "make a hard link to what is outside", lambda: os.link(outside / "precious", root / "hard") or True
    yield "mount", lambda: ctypes.CDLL(None).mount(b"none", b"/mnt", b"tmpfs", 0, None) == 0
    yield "change the root", lambda: os.chroot("/") or True
    yield "make a device", lambda: os.mknod(root / "disk", stat.S_IFBLK | 0o600, os.makedev(8, 0)) or True
    yield "open a file by its handle", lambda: ctypes.CDLL(None).open_by_handle_at(-100, b"\0" * 64, 0) >= 0
    yield "make a file of four terabytes", lambda: _huge(root / "huge")
    yield "put a link among the files of git", lambda: _link_git(root / ".git", outside)
    for helper in (
        ["systemd-run", "--user", "true"],
        ["at", "-f", "/dev/null", "now"],
        ["crontab", "/dev/null"],
        ["sudo", "-n", "true"],
    ):
        yield (
            f"have {helper[0]} run a command",
            lambda w=helper: subprocess.run(w, capture_output=True, timeout=_TT_S).returncode == 0,
        )
    for words in at["commands"]:
        for variables in (
            ("AGENT_ID", "AGENT_NAME"),
            ("AGENT_ID", "AGENT_NAME", "ROUND_ID", "RUN_ID", "ROUND_URL", "TOWN"),
        ):
            yield (
                f"tt {' '.join(words)} without {len(variables)} variables",
                lambda w=words, v=variables: _as_a_person(at, w, v),
            )


def _huge(path: Path) -> bool:
    try:
        path.touch()
        os.truncate(path, 4 << 40)
        return True
    finally:
        path.unlink(missing_ok=True)


def _link_git(git: Path, outside: Path) -> bool:
    """Nothing is seen from here: whether somebody's git follows it is."""
    for name in ("packed-refs", "FETCH_HEAD", "COMMIT_EDITMSG", "logs/HEAD"):
        with suppress(OSError):
            (git / name).unlink(missing_ok=True)
            (git / name).symlink_to(outside / "linked-by-git")
    return False


def _through_link(outside: Path) -> bool:
    link = Path("link-out")
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    try:
        return bool((link / "linked").write_text("evil"))
    finally:
        link.unlink()


def _replaced(path: Path) -> bool:
    draft = path.with_name("draft")
    draft.write_text("evil")
    try:
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _files_of_others(state: Path, agent: str) -> list[str]:
    own = state / "agents" / agent
    return [str(path) for path in state.rglob("*") if path.is_file() and not path.is_relative_to(own)]


def _connect(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
    return True


def _environments() -> str:
    found = ""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            found += path.read_bytes().decode("utf-8", "replace")
    return found


def _status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _link_logs(own: Path, outside: Path) -> bool:
    """Nothing is seen from here: whether the kernel follows it is."""
    for log in own.rglob("*.log"):
        for path in (log, log.with_name(f"{log.name}.1")):
            path.unlink(missing_ok=True)
            path.symlink_to(outside / "linked-log")
    return False


def _as_a_person(at: dict[str, Any], words: list[str], variables: tuple[str, ...]) -> bool:
    environment = {
        name: value for name, value in os.environ.items() if name not in {f"TINYTOWN_{each}" for each in variables}
    }
    # Some CLIs have places of their own, in which there would be another town, and settings of nobody.
    environment["XDG_STATE_HOME"] = at["state_home"]
    environment.pop("XDG_CONFIG_HOME", None)
    command = [sys.executable, "-m", "tinytown", *words]
    ended = subprocess.run(
        command, cwd=at["root"], env=environment, capture_output=True, timeout=_TT_S, stdin=subprocess.DEVNULL
    )
    return ended.returncode == 0


def main(path: Path) -> None:
    aims = json.loads(path.read_text())
    count, succeeded = 0, list[str]()
    for name, attempt in attempts(aims):
        count += 1
        with suppress(OSError, subprocess.TimeoutExpired):
            if result := attempt():
                succeeded.append(f"{name}: {result!r:.200}")
    Path(aims["results"]).write_text(json.dumps({"attempts": count, "succeeded": succeeded}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
