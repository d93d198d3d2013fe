"""What every sandbox promises (X1, X2, ...), and how each promise is tried: with real commands in real boxes.

What a box hides is looked for from inside by a shell; that nothing outside has changed is looked at from outside.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import trio
from tinytown.contracts import Box, Sandbox

from tinytown_testing.contract_checks import CheckOptions, check_promises
from tinytown_testing.promises import Broken, CheckReport, Contract, NotApplicable
from tinytown_testing.trial import Trial, check_word, expect

_COMMAND_S = 60.0
_ENDS_S = 10.0


@dataclass(slots=True)
class SandboxTrial(Trial):
    """One attempt at one promise of a sandbox, in a workspace with a secret, and an agent's directory beside it."""

    make: Callable[[], Sandbox]

    def box(self, **changes: object) -> Box:
        """A box of the profile ``write``; made with its directories."""
        base = self.sandbox.base / "boxed"
        for name in ("workspace/secrets", "state"):
            (base / name).mkdir(parents=True, exist_ok=True)
        (base / "workspace" / "secrets" / "key").write_text("hunter2")
        (base / "workspace" / "settings").write_text("kept")
        given = {
            "profile": "write",
            "workspace": base / "workspace",
            "writable": (base / "state",),
            "read_only": (base / "workspace" / "settings",),
            "hidden": (base / "workspace" / "secrets",),
            **changes,
        }
        return Box(**given)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    async def start(
        self, script: str, box: Box, *, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """A shell script that runs in a box."""
        sandbox = self.make()
        if problem := await trio.to_thread.run_sync(sandbox.problem):
            raise NotApplicable(problem)
        variables = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.sandbox.home), **(environment or {})}
        command = sandbox.wrap(["sh", "-c", script], box=box, environment=variables)
        return _started(command, box.workspace, variables)

    async def run(self, script: str, box: Box, *, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """Exit status, output and errors of a shell script in a box."""
        process = await self.start(script, box, environment=environment)
        output, errors = await trio.to_thread.run_sync(lambda: process.communicate(timeout=_COMMAND_S))
        return process.returncode, output, errors


SANDBOX = Contract[SandboxTrial]("sandbox")


async def check_sandbox(make: Callable[[], Sandbox], **options: Unpack[CheckOptions]) -> CheckReport:
    """Check the sandboxes that `make` makes. The options are those of every check, see `CheckOptions`."""
    return await check_promises(
        SANDBOX, lambda sandbox, slack_s: SandboxTrial(sandbox, slack_s, make), name=lambda: make().name, **options
    )


@SANDBOX.promise("X1", "Its name is a word that can be typed and stored.")
async def _name(trial: SandboxTrial) -> None:
    check_word("name", trial.make().name)


@SANDBOX.promise("X2", "problem() is a text: empty, or why there can be no box here.")
async def _problem(trial: SandboxTrial) -> None:
    expect(await trio.to_thread.run_sync(trial.make().problem), str, "as problem()")


@SANDBOX.promise("X3", "A command in a box has its environment, its output and its exit status.", requires=("X2",))
async def _status(trial: SandboxTrial) -> None:
    script = 'echo "$GREETING"; echo oops >&2; pwd; exit 7'
    box = trial.box()
    code, output, errors = await trial.run(script, box, environment={"GREETING": "hello"})
    if (code, output.split(), errors.strip()) != (7, ["hello", str(box.workspace)], "oops"):
        raise Broken(f"expected status 7 and the output of the command, got {code}: {output!r}, {errors!r}")


@SANDBOX.promise("X4", "A command is killed by the signal that kills it outside of a box.", requires=("X3",))
async def _signal(trial: SandboxTrial) -> None:
    code, _, _ = await trial.run("kill -TERM $$", trial.box())
    if code not in (-signal.SIGTERM, 128 + signal.SIGTERM):
        raise Broken(f"expected the status of a command that SIGTERM ended, got {code}")


@SANDBOX.promise(
    "X5", "With the profile write, only the workspace and what is writable can be written.", requires=("X3",)
)
async def _write(trial: SandboxTrial) -> None:
    box = trial.box()
    state, beside = box.writable[0] / "made", box.workspace.parent / "beside"
    await trial.run(f"echo a > made; echo a > {state}; echo a > {beside}; echo a > settings", box)
    if not ((box.workspace / "made").exists() and state.exists()):
        raise Broken("a command could not write where it may")
    if beside.exists():
        raise Broken("a command has written beside its workspace")
    if (box.workspace / "settings").read_text() != "kept":
        raise Broken("a command has changed what is read-only in its workspace")


@SANDBOX.promise("X6", "With the profile read the workspace can be read and not written.", requires=("X3",))
async def _read(trial: SandboxTrial) -> None:
    box = trial.box(profile="read")
    _, output, _ = await trial.run(f"cat settings; echo a > made-by-reading; echo a > {box.writable[0]}/read", box)
    if output != "kept":
        raise Broken(f"expected the text of a file in the workspace, got {output!r}")
    if (box.workspace / "made-by-reading").exists():
        raise Broken("a command has written into a workspace that it may only read")
    if not (box.writable[0] / "read").exists():
        raise Broken("a command could not write where it may")


@SANDBOX.promise("X7", "What is hidden cannot be read.", requires=("X3",))
async def _hidden(trial: SandboxTrial) -> None:
    box = trial.box()
    _, output, _ = await trial.run(f"cat {box.hidden[0]}/key; ls {box.hidden[0]}", box)
    if "hunter2" in output or "key" in output.split():
        raise Broken(f"a command has seen what is hidden: {output!r}")


@SANDBOX.promise("X8", "Killing the command ends everything in its box.", requires=("X3",))
async def _killed(trial: SandboxTrial) -> None:
    box = trial.box()
    alive = box.workspace / "alive"
    process = await trial.start("(trap '' TERM HUP; while :; do echo a >> alive; sleep 0.05; done) & wait", box)
    try:
        with trio.fail_after(_COMMAND_S):
            while not alive.exists():  # noqa: ASYNC110 - another process makes it
                await trio.sleep(0.02)
        process.kill()
        await trio.to_thread.run_sync(process.wait)
        if not await _stays(alive):
            raise Broken("what a command has started continues after the command was killed")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


async def _stays(path: Path) -> bool:
    """Whether a file stops growing within some seconds."""
    with trio.move_on_after(_ENDS_S):
        while True:
            size = path.stat().st_size
            await trio.sleep(0.5)
            if path.stat().st_size == size:
                return True
    return False


def _started(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )
