"""Runs any adapter's CLI as an agent: one session class, from the prompt to the outcome.

Starts the CLI by its command spec under the agent's process supervisor, feeds its reader, limits retries and stalls,
resumes sessions and starts new ones. What a CLI's output means is its adapter's, what an end means is `outcomes`'.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import trio
from tinytown.config import CONFIG_FILE
from tinytown.contracts import (
    AgentBackend,
    AgentContext,
    AgentSession,
    Failed,
    Outcome,
    Report,
    Round,
    Unavailable,
)
from tinytown.errors import BackendUnavailable, ConfigError, ProcessFailed, host_failure
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.packages import install_hint
from tinytown.process import Exit, Line, RunningCommand, RunOptions

from tinytown_adapters.adapter import CliAdapter, RunRequest
from tinytown_adapters.environment import cli_environment, inherited
from tinytown_adapters.forks import TABLE, SessionNotForked, SessionSource, prompt_after_fork, source_of
from tinytown_adapters.masked_log import open_masked_log
from tinytown_adapters.outcomes import (
    FixHints,
    outcome_of_exit,
    outcome_of_failure,
    outcome_of_no_run,
    outcome_of_result,
)
from tinytown_adapters.run_clock import RunClock
from tinytown_adapters.run_state import Conversation, RunState, TakesMail
from tinytown_adapters.secrets import known_secrets
from tinytown_adapters.session_store import CliSessionRecord, load_session, store_session, write_private
from tinytown_adapters.settings import CliSettings, Permissions, settings_by_kind
from tinytown_adapters.town_tools import TownTools, prepare_town_tools

S = TypeVar("S", bound=CliSettings)

_LINE_LIMIT_BYTES = 16 << 20  # one record can hold a whole file that a tool has read
_RAW_LOG = "last-run.log"
_SANDBOX_TRIAL_S = 30.0
_ASIDE_S = 120.0
_UNKNOWN_ARGUMENTS = 2


def backends_for(adapter: CliAdapter[S], settings: S, root: Path) -> list[CliBackend[S]]:
    """A backend for each kind that the adapter and the settings name: what `tinytown_agent_backends` returns.

    Raises: ConfigError for a command that is none, permissions that the CLI cannot keep, a preset that does not fit.
    """
    kinds = settings_by_kind(adapter.plugin, adapter.kind, settings, root, adapter.presets)
    return [CliBackend(adapter, kind, chosen, root) for kind, chosen in kinds.items()]


class CliBackend(AgentBackend, Generic[S]):
    """Agents of one kind, run by one CLI. `account`: kinds with the same one are throttled together."""

    def __init__(self, adapter: CliAdapter[S], kind: str, settings: S, root: Path) -> None:
        self.kind = kind
        self.account = adapter.plugin
        self.adapter = adapter
        self.settings = settings
        self.table = table = f"plugins.{adapter.plugin}" + (f".presets.{kind}" if kind != adapter.kind else "")
        self.command = _command(adapter, settings, root, table)
        if settings.permissions == "full" and "full" not in adapter.permissions_offered:
            raise _wrong(root, f"{table}.permissions", f'{adapter.title} does not support "full"')
        without_tools = False if adapter.runs_commands else None
        self.offers_town_tools = adapter.tool_names if self.uses_town_tools(os.environ) else without_tools
        self.forks_sessions = adapter.forks_sessions
        self.single_tables = (TABLE,)
        self.own_profiles = adapter.permissions_offered if adapter.has_own_sandbox() else ()
        own_state = self.has_own_state(os.environ)
        self.state_paths = () if own_state else tuple(Path(path).expanduser() for path in adapter.state_paths)
        self.hints = FixHints(adapter.title, adapter.install, adapter.login, f"{table}.model")

    @property
    def permissions(self) -> Permissions:
        """What the model may do: as chosen, or by default."""
        return self.settings.permissions or self.adapter.permissions_by_default()

    def permissions_of(self, agent: Agent, default: Permissions | None) -> Permissions:
        # What only the CLI itself chooses is no promise, unless its sandbox enforces it.
        own = self.adapter.permissions_by_default() if self.adapter.has_own_sandbox() else "full"
        return self.settings.permissions or default or own

    def permissions_in(self, context: AgentContext) -> Permissions:
        """What the CLI is called with: in a box the widest profile that it knows. Raises: BackendUnavailable."""
        offered = self.adapter.permissions_offered
        if context.boxed:
            return "full" if "full" in offered else offered[-1]
        chosen = self.chosen_permissions(context)
        if chosen == "full" and self.asks:
            return "write"
        if chosen not in offered:
            raise BackendUnavailable(
                f"{self.adapter.title} does not support {chosen!r} by itself",
                hint=f"install a sandbox, or choose one of {', '.join(offered)} in [{self.table}]",
            )
        return chosen

    @property
    def asks(self) -> bool:
        """Whether the CLI asks for what goes beyond ``write``."""
        return self.settings.ask and self.adapter.can_ask

    def chosen_permissions(self, context: AgentContext) -> Permissions:
        """What the person has chosen for an agent, who or what ever enforces it."""
        return context.permissions if context.permissions != "full" else self.permissions

    def uses_town_tools(self, environment: Mapping[str, str]) -> bool:
        """Whether the CLI gets the town's own tools: `offers_town_tools` for a round with this environment."""
        has_place = not self.adapter.tools_need_own_state or self.has_own_state(environment)
        return self.adapter.takes_tools and self.settings.town_tools and has_place

    def has_own_state(self, environment: Mapping[str, str]) -> bool:
        """Whether an agent's login, settings and sessions lie in a directory of its own, not where its person's do."""
        variables = {**environment, **self.settings.env}
        has_key = any(variables.get(name) for name in self.adapter.login_variables)
        return self.settings.state == "agent" or (self.settings.state == "auto" and has_key)

    def missing_program(self) -> tuple[str, str] | None:
        """The CLI that is missing on this machine, and how to install it; None where it is there."""
        if shutil.which(self.command[0]) is not None:
            return None
        return f"{self.hints.title} ({self.command[0]})", self.hints.install

    def warnings(self) -> Sequence[str]:
        """Warnings to read before an agent of this kind is spawned, one sentence each."""
        messages, missing = list[str](), self.missing_program()
        if missing:
            messages.append(f"{self.hints.title} is not installed ({self.command[0]} not found): {missing[1]}")
        if self.settings.ask and not self.adapter.can_ask:
            messages.append(f"{self.hints.title} cannot ask for permission: ask in [{self.table}] has no effect")
        if not missing and self.permissions == "full" and self.settings.permissions is None and not self.asks:
            messages.append(
                f"agents of the kind {self.kind!r} run any command without asking, with all your rights on this machine;"
                f' set permissions = "full" in [{self.table}] to silence this warning'
            )
        return [*messages, *self.adapter.warnings(self.settings, self.permissions, os.environ.keys())]

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncGenerator[CliSession[S]]:
        yield CliSession(self, context, self.permissions_in(context))


class CliSession(AgentSession, Generic[S]):
    """One agent's rounds. Between them nothing runs: the CLI's own session is on disk."""

    def __init__(self, backend: CliBackend[S], context: AgentContext, permissions: Permissions) -> None:
        self._permissions: Permissions = permissions
        self._backend = backend
        self._adapter = backend.adapter
        self._settings = backend.settings
        self._context = context
        self._work_dir = context.state_directory / backend.adapter.plugin
        self._mail_reader: TakesMail | None = None  # that of the run in progress
        self._sandbox_works = permissions == "full" or context.boxed or not backend.adapter.sandbox_trial

    async def deliver(self, text: str) -> bool:
        """Mail in the middle of a round, for a CLI that takes it."""
        return self._mail_reader is not None and await self._mail_reader.deliver(text)

    async def run_round(self, work: Round, report: Report) -> Outcome:
        """One run of the CLI, two when the session to continue with turns out to be gone or full."""
        limit = self._adapter.prompt_limit_chars
        if limit is not None and len(work.prompt) > limit:
            return Failed(
                reason=f"the prompt has {len(work.prompt):,} characters; {self._adapter.title} accepts at most {limit:,}",
                retryable=False,
            )
        if not self._trusts_project and (
            found := [p for p in self._adapter.project_code if (work.directory / p).exists()]
        ):
            return Unavailable(
                reason=f"{self._adapter.title} would run what {' and '.join(found)} in its workspace configures",
                hint=f"look at it, then remove it, or set trust_project = true in [{self._backend.table}]",
            )
        due = self._context.processes.clock.now() + self._limit_s(work)
        try:
            return await self._run_in_session(work, report, due)
        except SessionNotForked as error:
            return Failed(reason=str(error), retryable=False)
        except ProcessFailed as error:
            return outcome_of_no_run(error, self._backend.hints)
        except OSError as error:
            if lacking := host_failure(error, f"cannot prepare {self._work_dir}"):
                raise lacking from error
            return Failed(reason=f"cannot prepare {self._work_dir}: {error}")

    async def _run_in_session(self, work: Round, report: Report, due: float) -> Outcome:
        """The round in its session. What starts from another's does so or fails: that context is what was asked for.

        Raises: ProcessFailed, SessionNotForked, OSError.
        """
        source = source_of(work.task, self._context.state_directory.parent, self._adapter.plugin)
        session = self._session_to_resume(work, source)
        outcome, state = await self._run(work, report, session, source, due)
        failure = state.failure
        if session is not None and failure is not None and failure.kind in ("no_session", "context_too_long"):
            begun = f"forking the session of {source.agent} again" if source else "starting a new session"
            report.line(f"{begun}: {failure.reason}")
            store_session(self._work_dir, None)
            session = None
            outcome, state = await self._run(work, report, None, source, due)
        if source is not None and session is None and state.failure and state.failure.kind == "no_session":
            raise SessionNotForked(f"the session of {source.agent} cannot be forked: {state.failure.reason}")
        return outcome

    async def _run(
        self,
        work: Round,
        report: Report,
        session: CliSessionRecord | None,
        source: SessionSource | None,
        due: float,
    ) -> tuple[Outcome, RunState]:
        """One run of the CLI, in a session, in a copy of that of a source, or in a new one.

        Raises: ProcessFailed when it could not be started or watched; SessionNotForked; OSError.
        """
        request, files = self._run_request(work, session), dict[str, bytes]()
        if source is not None and session is None:
            taken = await self._adapter.take_session(source, request, partial(self._run_aside, request))
            prompt = prompt_after_fork(work.prompt, source, self._context.agent.name, work.directory)
            request = replace(request, session=taken.session, forks=not taken.is_copy, prompt=prompt)
            files.update(taken.files)
        spec = self._adapter.command_spec(request)
        for name, content in {**files, **spec.files}.items():
            self._remove_links(name)
            write_private(self._work_dir / name, content)
        environment = _with(request.environment, spec.environment)
        if not self._sandbox_works and (problem := await self._try_sandbox(request.directory, environment)):
            return problem, RunState(report)
        raw_log = self._work_dir / _RAW_LOG
        raw_log.unlink(missing_ok=True)
        forked_for = work.task.id if source and work.task else session.forked_for if session else ""
        secrets = known_secrets(os.environ, request.environment, self._settings.env)
        open_log = partial(open_masked_log, secrets=secrets, limit_bytes=self._context.config.limits.log_bytes)
        with open_log(work.log_path) as keep, open_log(raw_log) as keep_raw:
            # A session is known from its first record on: a killed round is resumed with it, too.
            processes = self._context.processes
            state = RunState(
                report, keep, lambda: self._store_session(work, state, forked_for), secrets.masked, processes.clock.now
            )
            reader = self._adapter.reader(state, request)
            self._mail_reader = reader if isinstance(reader, TakesMail) else None
            try:
                with processes.clock.move_on_after(inf) as scope:
                    clock = RunClock(
                        state,
                        self._settings,
                        processes.clock,
                        scope,
                        reports_progress=self._adapter.reports_progress,
                    )
                    clock.update_deadline()
                    command = [*self._backend.command, *spec.arguments]
                    options: RunOptions = {
                        "timeout_s": None if due == inf else max(0.0, due - processes.clock.now()),
                        "silence_s": work.silence_s,
                        "grace_s": work.grace_s,
                        "first_signal": spec.first_signal,
                        "line_limit_bytes": _LINE_LIMIT_BYTES,
                    }
                    cwd, env = request.directory, environment

                    def on_line(line: Line) -> None:
                        keep_raw(line.text)
                        clock.read_line(line._replace(text=secrets.masked(line.text)), reader)

                    if isinstance(reader, Conversation):
                        async with processes.open(command, cwd=cwd, env=env, on_line=on_line, **options) as running:
                            ended = await _converse(reader, running, spec.stdin, clock)
                    else:
                        ended = await processes.run(
                            command, cwd=cwd, env=env, on_line=on_line, stdin=spec.stdin, **options
                        )
                    stdout_tail, stderr_tail = secrets.masked(ended.stdout_tail), secrets.masked(ended.stderr_tail)
                    ended = replace(ended, stdout_tail=stdout_tail, stderr_tail=stderr_tail)
                    reader.end(ended)
                    hints = self._backend.hints
                    return outcome_of_exit(ended, state, hints, limit_s=self._limit_s(work)), state
                return self._outcome_of_stall(state), state
            finally:
                self._mail_reader = None
                self._store_session(work, state, forked_for)

    async def _run_aside(
        self,
        request: RunRequest[S],
        *arguments: str,
        environment: Mapping[str, str | None],
        stdout: Path | None = None,
    ) -> Exit:
        to_file = [] if stdout is None else ["sh", "-c", 'exec "$@" >"$0"', str(stdout)]
        return await self._context.processes.run(
            [*to_file, *self._backend.command, *arguments],
            cwd=request.directory,
            env=_with(request.environment, environment),
            timeout_s=_ASIDE_S,
        )

    async def _try_sandbox(self, directory: Path, environment: Mapping[str, str]) -> Unavailable | None:
        """Have the CLI run nothing in its own sandbox: a broken one fails each command, and its model reports what it likes."""
        ended = await self._context.processes.run(
            [*self._backend.command, *self._adapter.sandbox_trial],
            cwd=directory,
            env=environment,
            timeout_s=_SANDBOX_TRIAL_S,
        )
        self._sandbox_works = ended.status in (0, _UNKNOWN_ARGUMENTS)
        if self._sandbox_works:
            return None
        said = ended.stderr_tail.strip().rpartition("\n")[2] or f"exit status {ended.status}, {ended.reason}"
        return Unavailable(
            reason=f"the sandbox of {self._adapter.title} does not work here: {shown(said, 500)}",
            hint=f"{install_hint('parts', 'boxes')} for boxes of the town, or set"
            f' permissions = "full" in [{self._backend.table}]',
        )

    def _remove_links(self, name: str) -> None:
        """Remove what would lead out of `work_dir` on the way to this file in it: an agent may have put it there."""
        for parent in reversed(Path(name).parents):
            if (self._work_dir / parent).is_symlink():
                (self._work_dir / parent).unlink()

    @property
    def _trusts_project(self) -> bool:
        return self._settings.trust_project or self._backend.chosen_permissions(self._context) == "full"

    def _limit_s(self, work: Round) -> float:
        return self._settings.timeout_s or work.timeout_s or inf

    def _run_request(self, work: Round, session: CliSessionRecord | None) -> RunRequest[S]:
        settings, adapter = self._settings, self._adapter
        allowed = (*settings.env_allow, *adapter.login_variables, *adapter.own_variables)
        variables = {**inherited(os.environ, allowed, adapter.session_variables), **work.environment}
        environment = cli_environment(variables, allowed=allowed, added=settings.env)
        environment["PWD"] = str(work.directory)  # the kernel's would lead astray who believes it more than the system
        has_own_state = self._backend.has_own_state(environment)
        for name in ("", "tmp", *(["state"] if has_own_state else [])):
            self._remove_links(f"{name}/file")
            (self._work_dir / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        return RunRequest(
            settings=settings,
            permissions=self._permissions,
            trusts_project=self._trusts_project,
            boxed=self._context.boxed,
            asks=self._backend.asks and not self._context.boxed and self._permissions == "write",
            prompt=work.prompt,
            directory=work.directory,
            work_dir=self._work_dir,
            has_own_state=has_own_state,
            session=session,
            tools=self._tools(variables),
            environment=environment,
            result_schema=_result_schema(work.task),
        )

    def _tools(self, environment: Mapping[str, str]) -> TownTools | None:
        return prepare_town_tools(self._work_dir, environment) if self._backend.uses_town_tools(environment) else None

    def _session_to_resume(self, work: Round, source: SessionSource | None) -> CliSessionRecord | None:
        """The session to continue with; of a task with a source, the copy that an earlier attempt has worked in."""
        if not self._settings.resume:
            return None
        session = load_session(self._work_dir, self._context.agent.id)
        if source is not None and (session is None or work.task is None or session.forked_for != work.task.id):
            return None
        if session is None and work.session_id:
            session = CliSessionRecord(
                id=work.session_id, agent_id=self._context.agent.id, directory=str(work.directory)
            )
        stays = self._adapter.sessions_stay_in_directory
        return None if session and stays and session.directory != str(work.directory) else session

    def _store_session(self, work: Round, state: RunState, forked_for: str) -> None:
        """The session that the CLI said it was in, also when the round was cut off; one that said nothing changes nothing."""
        if state.session_id:
            record = CliSessionRecord(
                id=state.session_id,
                agent_id=self._context.agent.id,
                directory=str(work.directory),
                used=state.session_used,
                forked_for=forked_for,
            )
            store_session(self._work_dir, record)

    def _outcome_of_stall(self, state: RunState) -> Outcome:
        """The outcome of a run that our own clock has ended."""
        title = self._adapter.title
        if state.is_final:
            return outcome_of_result(state, self._backend.hints)
        if state.retrying is not None:
            return outcome_of_failure(state.retrying, state, self._backend.hints)
        return Failed(
            reason=f"{title} received nothing from its model for {self._settings.stall_s:g} s",
            usage=state.used,
            session_id=state.session_id,
        )


async def _converse(reader: Conversation, running: RunningCommand, first: bytes | None, clock: RunClock) -> Exit:
    """Let the reader converse with the CLI, after its `first` words, until either is done; how the CLI ended then."""
    async with trio.open_nursery() as nursery:

        async def until_it_ends() -> None:
            await running.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(until_it_ends)
        with suppress(ProcessFailed):  # it reads no more: it is about to end
            if first is not None:
                await running.send(first)
            await reader.converse(running)
            running.close_stdin()
            clock.update_deadline()  # it may say nothing more, and linger
        await trio.sleep_forever()
    return await running.wait()


def _command(adapter: CliAdapter[S], settings: S, root: Path, table: str) -> tuple[str, ...]:
    given = settings.command
    try:
        words = tuple(shlex.split(given)) if isinstance(given, str) else given
    except ValueError as error:
        raise _wrong(root, f"{table}.command", f"cannot split the command into words: {error}") from error
    if (given and not words[:1]) or words[:1] == ("",):
        raise _wrong(root, f"{table}.command", "expected a command, got none")
    return words or adapter.command


def _result_schema(task: Task | None) -> Mapping[str, Any] | None:
    """The schema in a task's table `results`; None if there is none, or none that a CLI could be given."""
    table: Any = task.meta.get("results") if task else None
    schema: Any = cast("dict[str, Any]", table).get("schema") if isinstance(table, dict) else None
    return cast("dict[str, Any]", schema) if isinstance(schema, dict) else None


def _wrong(root: Path, key: str, what: str) -> ConfigError:
    path = str(root / CONFIG_FILE)
    return ConfigError(f"{path}: {what}, at {key}", path=path, key=key)


def _with(environment: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**environment, **changes}
    return {name: value for name, value in merged.items() if value is not None}
