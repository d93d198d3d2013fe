"""Two ways to make a round out of a command: run the task's own text, or hand the prompt to a configured program.

Knows what to run and where; how its end is to be taken is said in `ends`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from tinytown.config import AgentCli, Permissions
from tinytown.contracts import (
    AgentBackend,
    AgentContext,
    AgentSession,
    Failed,
    Finished,
    Outcome,
    Report,
    Round,
    Unavailable,
)
from tinytown.errors import host_failure
from tinytown.model.agents import Agent
from tinytown.model.messages import TaskOrder

from tinytown_shell.ends import Ended, run

PROMPT_FILE = "{prompt_file}"
#: Reads the script to its end, then runs it: its commands find no input. The blank is for one that begins with a hyphen.
_SHELL = ("sh", "-c", 'eval " $(cat)"')


class ScriptBackend(AgentBackend):
    """Agents of the kind `shell`: the text of the task is a shell script."""

    kind = "shell"
    offers_town_tools = None  # nobody in it could report on one of several tasks

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncGenerator[ScriptSession]:
        yield ScriptSession(context)


class ScriptSession(AgentSession):
    def __init__(self, context: AgentContext) -> None:
        self._context = context

    async def run_round(self, work: Round, report: Report) -> Outcome:
        """Run the task, if there is one: a question or a note is never taken for a command."""
        script = _script(work)
        if script is None:
            return Finished()
        if "\0" in script:
            return Failed(reason="expected a shell script, got a text with a NUL character", retryable=False)
        ended = await run(self._context, _SHELL, work, report, stdin=script.encode())
        if not isinstance(ended, Ended):
            return ended
        reason = f"exit status {ended.status}: {ended.tail.strip()[-2000:]}".removesuffix(": ")
        if ended.status == 127:
            reason += (
                "\n(The kind 'shell' runs the text of a task as a shell script. To hand tasks to a program instead, set"
                " command in [plugins.shell], or make a kind for it with [agent_clis.NAME].)"
            )
        return Failed(reason=reason, retryable=False)


class CommandBackend(AgentBackend):
    """Agents of a kind that a person has configured: one command, with the prompt on its standard input or in a file."""

    def __init__(self, kind: str, words: tuple[str, ...], cli: AgentCli) -> None:
        self.kind = kind
        self.words = words
        self.cli = cli

    def permissions_of(self, agent: Agent, default: Permissions | None) -> Permissions:
        return self.cli.permissions or default or "full"

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncGenerator[CommandSession]:
        for forgotten in context.state_directory.glob("prompt-*.md"):  # by a kernel that was killed
            forgotten.unlink(missing_ok=True)
        yield CommandSession(self, context)


class CommandSession(AgentSession):
    def __init__(self, backend: CommandBackend, context: AgentContext) -> None:
        self._kind = backend.kind
        self._words = backend.words
        self._cli = backend.cli
        self._context = context

    async def run_round(self, work: Round, report: Report) -> Outcome:
        cli, command, stdin = self._cli, self._words, None
        directory = self._context.root / cli.workdir if cli.workdir else work.directory
        if not directory.is_dir():
            return Unavailable(
                reason=f"no such directory: {directory}",
                hint=f"make it, or change agent_clis.{self._kind}.workdir" if cli.workdir else "make it",
            )
        with ExitStack() as prompt:
            if cli.prompt == "file" or any(PROMPT_FILE in word for word in command):
                try:
                    path = prompt.enter_context(_prompt_file(self._context.state_directory, work.prompt))
                except OSError as error:
                    if lacking := host_failure(error, "cannot write the prompt"):
                        raise lacking from error
                    return Failed(
                        reason=f"cannot write the prompt to {self._context.state_directory}: {error.strerror}"
                    )
                command = _with_prompt_file(command, path)
            else:
                stdin = work.prompt.encode()
            ended = await run(
                self._context,
                command,
                work,
                report,
                directory=directory,
                environment=cli.env,
                stdin=stdin,
                timeout_s=cli.timeout_s,
            )
        if not isinstance(ended, Ended):
            return ended
        last_line = ended.tail.strip().rpartition("\n")[2]
        return Failed(reason=f"exit status {ended.status}: {last_line}".removesuffix(": "))


def _script(work: Round) -> str | None:
    """The text to run: the task's, or that of an order without a task record."""
    if work.task is not None:
        return work.task.description
    return next((message.text for message in work.messages if isinstance(message.body, TaskOrder)), None)


def _with_prompt_file(command: tuple[str, ...], path: Path) -> tuple[str, ...]:
    replaced = tuple(word.replace(PROMPT_FILE, str(path)) for word in command)
    return replaced if replaced != command else (*command, str(path))


@contextmanager
def _prompt_file(directory: Path, prompt: str) -> Generator[Path]:
    """A file with the prompt that only its owner can read, for as long as it is needed. Raises: OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix="prompt-", suffix=".md", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(prompt.encode())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
