"""Rounds of any coding CLI: a scripted CLI under a real process supervisor."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import msgspec
import pytest
import trio
from tinytown.contracts import (
    AgentSession,
    Failed,
    Finished,
    Lost,
    Outcome,
    RateLimited,
    Round,
    Unauthorized,
    Unavailable,
    Usage,
)
from tinytown.errors import BackendUnavailable, ConfigError
from tinytown.model.agents import Agent
from tinytown_adapters import (
    CliAdapter,
    CliBackend,
    CliSettings,
    CommandSpec,
    JsonLinesReader,
    Permissions,
    Record,
    RunRequest,
    RunState,
    backends_for,
    failure_of,
)
from tinytown_adapters.backend import CliSession
from tinytown_testing import ReportRecorder, Sandbox

DEADLINE_S = 30.0


class ToyReader(JsonLinesReader):
    def on_record(self, record: Record) -> None:
        state = self.state
        state.session(record.text("session"))
        if record.get("say"):
            state.add_text(record.text("say"))
        if record.get("tool"):
            state.start_tool(record.text("tool"))
        if record.get("retry"):
            state.retry(failure_of(record.text("retry")))
        if record.get("fail"):
            state.fail(failure_of(record.text("fail")))
        if record.get("used"):
            state.set_usage(Usage(input_tokens=record.count("used")))
        if record.flag("done"):
            state.finish(record.text("text"))


class ToyAdapter(CliAdapter[CliSettings]):
    """Its prompt is a shell script, and `$1` what it is to continue with."""

    plugin: ClassVar[str] = "toy"
    kind: ClassVar[str] = "toy"
    title: ClassVar[str] = "Toy"
    command: ClassVar[tuple[str, ...]] = ("sh", "-s", "--")
    install: ClassVar[str] = "buy one"
    login: ClassVar[str] = "find the key"
    login_variables: ClassVar[tuple[str, ...]] = ("TOY_KEY",)
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "full")
    prompt_limit_chars: ClassVar[int | None] = 100_000
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"toy-mini": {"model": "mini"}}

    def command_spec(self, request: RunRequest[CliSettings]) -> CommandSpec:
        return CommandSpec(
            arguments=[request.session.id if request.session else "", request.permissions],
            stdin=request.prompt.encode(),
            files={"notes/model.txt": request.settings.model.encode()},
            environment={
                "TOY_STATE": str(request.state_directory) if request.has_own_state else None,
                "WORK_DIR": str(request.work_dir),
            },
        )

    def reader(self, state: RunState, request: RunRequest[CliSettings]) -> ToyReader:
        return ToyReader(state)


class StayingToy(ToyAdapter):
    sessions_stay_in_directory: ClassVar[bool] = True


@dataclass
class Toys:
    sandbox: Sandbox
    agent: Agent
    report: ReportRecorder = field(default_factory=ReportRecorder)
    adapter: ToyAdapter = field(default_factory=ToyAdapter)

    def backend(self, **settings: Any) -> CliBackend[CliSettings]:
        return backends_for(self.adapter, msgspec.convert(settings, CliSettings), self.sandbox.root)[0]

    @asynccontextmanager
    async def session(self, **settings: Any) -> AsyncGenerator[AgentSession]:
        async with self.backend(**settings).open(self.sandbox.context(self.agent)) as session:
            yield session

    def round(self, script: str, *, environment: Mapping[str, str] | None = None, **changes: Any) -> Round:
        return replace(self.sandbox.round(self.agent, script, environment=environment), **changes)

    async def run(self, script: str, changes: Mapping[str, Any] = {}, **settings: Any) -> Outcome:
        async with self.session(**settings) as session:
            return await session.run_round(self.round(script, **changes), self.report)

    @property
    def work_dir(self) -> Path:
        return self.sandbox.context(self.agent).state_directory / "toy"


@pytest.fixture
def toys(sandbox: Sandbox) -> Toys:
    return Toys(sandbox, sandbox.agent(cli="toy"))


DONE = """echo '{"done": true, "text": "well done"}'"""


# -- the outcome -----------------------------------------------------------------------------------------


async def test_it_has_finished_when_everything_says_so(toys: Toys) -> None:
    outcome = await toys.run(f"""echo '{{"session": "s1", "say": "hm", "used": 7}}'; {DONE}""")
    assert outcome == Finished(text="well done", usage=Usage(input_tokens=7), session_id="s1")
    assert toys.report.lines == ["hm"]
    assert toys.report.used == [Usage(input_tokens=7)]


async def test_it_is_told_the_directory_that_it_is_started_in(toys: Toys) -> None:
    script = r"""tr '\0' '\n' </proc/$$/environ | sed -n 's/^PWD=\(.*\)/{"say": "\1"}/p'"""
    await toys.run(script, {"environment": {"PWD": "/"}})
    assert toys.report.lines == [str(toys.sandbox.work)]


async def test_a_vendor_that_does_not_answer_costs_the_task_no_attempt(toys: Toys) -> None:
    outcome = await toys.run("""echo '{"retry": "internal server error"}'; exit 1""")
    assert isinstance(outcome, RateLimited)
    assert "gets no answer from its model's server: internal server error" in outcome.reason


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("""echo '{"say": "hm"}'""", "without a result"),
        ("true", "without a result"),
        (
            """echo '{"say": "so far"}'; echo broken >&2; exit 3""",
            "ended with status 3: broken",
        ),
        ("""echo '{"done": true, "text": " "}'""", "ended its last turn without an answer"),
        ("""echo '{"say": "let me see"}'; echo '{"tool": "ls"}'; echo '{"done": true}'""", "its last text: let me see"),
        (f"""echo '{{"fail": "no good"}}'; {DONE}""", "no good"),
        ("echo 'fetch failed' >&2; exit 1", "fetch failed"),
    ],
)
async def test_it_has_failed_when_one_thing_does_not(toys: Toys, script: str, reason: str) -> None:
    outcome = await toys.run(script)
    assert isinstance(outcome, Failed)
    assert outcome.retryable
    assert reason in outcome.reason


@pytest.mark.parametrize(
    "end", ["exit 3", "kill -9 $$", "kill -TERM $$", "exec sleep 100", "trap '' TERM INT; sleep 100"]
)
async def test_once_its_result_is_there_the_end_of_its_process_takes_nothing_away(
    toys: Toys, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinytown_adapters.run_clock.LINGER_S", 0.3)
    began = trio.current_time()
    outcome = await toys.run(f"{DONE}; {end}", {"grace_s": 0.2})
    assert isinstance(outcome, Finished)
    assert outcome.text == "well done"
    assert trio.current_time() - began < 60


async def test_a_result_that_is_there_when_the_time_is_over_counts(toys: Toys) -> None:
    outcome = await toys.run(f"{DONE}; while :; do echo still here; sleep 0.05; done", {"timeout_s": 1.0})
    assert isinstance(outcome, Finished)
    said = """'{"fail": "interrupted", "done": true}'"""
    outcome = await toys.run(f'trap "echo {said}; exit 1" TERM; while :; do sleep 0.05; done', {"timeout_s": 0.5})
    assert isinstance(outcome, Failed)
    assert outcome.reason == "ended after 0.5 s, the time limit of a round"
    outcome = await toys.run("""echo '{"say": "half of it"}'; sleep 100""", {"timeout_s": 0.5})
    assert isinstance(outcome, Failed)
    assert outcome.reason.endswith("the time limit of a round; its last text: half of it")


@pytest.mark.parametrize(
    ("script", "kind", "wanted"),
    [
        ("echo 'rate limit; try again in 5s' >&2; exit 1", RateLimited, {"retry_after_s": 5.0}),
        ("""echo '{"fail": "overloaded"}'; exit 1""", RateLimited, {"retry_after_s": 60.0}),
        ("""echo '{"fail": "please run /login"}'; exit 1""", Unauthorized, {"hint": "find the key"}),
        ("""echo '{"fail": "your credit balance is too low"}'""", Unauthorized, {}),
        (
            """echo '{"fail": "unknown model"}'""",
            Unavailable,
            {"hint": "set plugins.toy.model to a model of your account"},
        ),
        ("""echo '{"fail": "prompt is too long"}'""", Failed, {"retryable": False}),
        ("exit 127", Unavailable, {"hint": "buy one"}),
        ("exit 143", Lost, {}),
        ("echo last words >&2; kill -9 $$", Lost, {"stderr_tail": "last words\n"}),
    ],
)
async def test_whose_doing_it_is_decides_what_follows(
    toys: Toys, script: str, kind: type[Outcome], wanted: dict[str, Any]
) -> None:
    outcome = await toys.run(script)
    assert isinstance(outcome, kind)
    assert getattr(outcome, "reason", "")
    assert {name: getattr(outcome, name) for name in wanted} == wanted


async def test_what_cannot_be_read_costs_itself_alone(toys: Toys) -> None:
    script = f"""echo nonsense; printf '[]\\n{{"say": 5}}\\n\\377\\n'; head -c 17000000 /dev/zero | tr '\\0' x; echo
    {DONE}; printf '{{"say": "unfini'"""
    outcome = await toys.run(script)
    assert isinstance(outcome, Finished)
    assert outcome.text == "well done"
    assert "nonsense" in toys.report.lines


async def test_without_its_cli_it_says_how_to_install_it(toys: Toys) -> None:
    outcome = await toys.run("", command="no-such-toy")
    assert isinstance(outcome, Unavailable)
    assert outcome.hint == "buy one"
    assert any("buy one" in each for each in toys.backend(command="no-such-toy").warnings())


async def test_a_prompt_beyond_what_it_takes_is_refused_before_it_starts(toys: Toys) -> None:
    outcome = await toys.run("#" * 100_001)
    assert isinstance(outcome, Failed)
    assert not outcome.retryable
    assert "100,001 characters" in outcome.reason


# -- its own clock ---------------------------------------------------------------------------------------


async def test_patience_with_retries_ends_and_the_error_decides(toys: Toys) -> None:
    script = """while :; do echo '{"retry": "rate limit; try again in 9s"}'; sleep 0.05; done"""
    assert await toys.run(script, patience_s=0.2) == RateLimited(
        reason="rate limit; try again in 9s", retry_after_s=9.0
    )


async def test_a_model_that_gives_no_sign_is_given_up_but_not_a_tool_that_works(toys: Toys) -> None:
    outcome = await toys.run("sleep 100", stall_s=0.2)
    assert isinstance(outcome, Failed)
    assert "nothing from its model" in outcome.reason
    outcome = await toys.run(f"""echo '{{"tool": "make"}}'; sleep 1; {DONE}""", stall_s=0.2)
    assert isinstance(outcome, Finished)


@pytest.mark.parametrize("script", ['echo \'{"say": "hm"}\'', 'echo \'{"retry": "overloaded"}\''])
async def test_its_clock_stands_still_while_the_town_is_frozen(toys: Toys, script: str) -> None:
    processes = toys.sandbox.processes
    began, outcomes = trio.Event(), list[Outcome]()

    async def run() -> None:
        async with toys.session(stall_s=1.0, patience_s=1.0) as session:
            toys.report.line = lambda _: began.set()  # type: ignore[method-assign]
            outcomes.append(await session.run_round(toys.round(f"{script}; sleep 0.3; {DONE}"), toys.report))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await began.wait()
        processes.pause_all()
        await trio.sleep(2.0)  # longer than both limits
        processes.continue_all()
    assert isinstance(outcomes[0], Finished)


async def test_its_time_limit_goes_before_that_of_the_round(toys: Toys) -> None:
    outcome = await toys.run("sleep 100", {"timeout_s": 50.0}, timeout_s=0.2)
    assert isinstance(outcome, Failed)
    assert "0.2 s, the time limit" in outcome.reason


# -- sessions --------------------------------------------------------------------------------------------

RESUMABLE = """case "$1" in
    "") echo '{"session": "s'$$'"}'; echo '{"done": true, "text": "new"}' ;;
    *) echo '{"session": "'$1'"}'; echo '{"done": true, "text": "again"}' ;;
esac"""


async def test_a_session_is_gone_on_with_over_rounds_and_kernels(toys: Toys) -> None:
    async with toys.session() as session:
        first = await session.run_round(toys.round(RESUMABLE), toys.report)
        second = await session.run_round(toys.round(RESUMABLE), toys.report)
    third = await toys.run(RESUMABLE)
    assert isinstance(first, Finished)
    assert (first.text, first.session_id is not None) == ("new", True)
    assert second == third == Finished(text="again", session_id=first.session_id)
    assert await toys.run(RESUMABLE, resume=False) != third


async def test_an_agent_of_an_old_name_begins_a_session_of_its_own(toys: Toys) -> None:
    await toys.run(RESUMABLE)
    toys.agent = toys.sandbox.agent(toys.agent.name, cli="toy")
    outcome = await toys.run(RESUMABLE)
    assert isinstance(outcome, Finished)
    assert outcome.text == "new"


async def test_a_session_that_stays_in_its_directory_is_not_asked_for_elsewhere(toys: Toys) -> None:
    toys.adapter = StayingToy()
    await toys.run(RESUMABLE)
    elsewhere = await toys.run(RESUMABLE, {"directory": toys.sandbox.home})
    assert isinstance(elsewhere, Finished)
    assert elsewhere.text == "new"


@pytest.mark.parametrize("problem", ["No session found with that id", "prompt is too long"])
async def test_a_session_that_is_gone_or_full_is_begun_anew_once(toys: Toys, problem: str) -> None:
    await toys.run(RESUMABLE)
    script = f"""test -z "$1" || {{ echo '{problem}' >&2; echo '{{"fail": "{problem}"}}'; exit 1; }}; {RESUMABLE}"""
    outcome = await toys.run(script)
    assert isinstance(outcome, Finished)
    assert outcome.text == "new"
    assert f"starting a new session: {problem}" in toys.report.lines
    outcome = await toys.run("""echo '{"fail": "no session found"}'; exit 1""")
    assert isinstance(outcome, Failed)


async def test_a_session_that_was_interrupted_is_gone_on_with(toys: Toys) -> None:
    async with toys.session() as session:
        with trio.CancelScope() as scope:

            class Interrupting(ReportRecorder):
                def line(self, text: str) -> None:
                    scope.cancel()

            script = """echo '{"session": "s7", "say": "begun"}'; sleep 100"""
            await session.run_round(toys.round(script), Interrupting())
        assert scope.cancelled_caught
        outcome = await session.run_round(toys.round(RESUMABLE), toys.report)
    assert outcome == Finished(text="again", session_id="s7")


# -- what it is started with -----------------------------------------------------------------------------


async def test_it_gets_its_files_its_environment_and_nothing_secret(toys: Toys) -> None:
    script = f"""echo "$2 $(cat "$WORK_DIR/notes/model.txt") $GITHUB_TOKEN.$TOY_KEY.$EXTRA.$TOY_STATE" >&2
    echo '{{"say": "'"$TINYTOWN_AGENT_NAME"'"}}'; {DONE}"""
    environment = {"GITHUB_TOKEN": "secret", "TOY_KEY": "key"}
    async with toys.session(model="large", permissions="read", env={"EXTRA": "more"}) as session:
        await session.run_round(toys.round(script, environment=environment), toys.report)
    raw = (toys.work_dir / "last-run.log").read_text()
    assert f"read large .key.more.{toys.work_dir}/state" in raw
    assert toys.report.lines == ["ada"]
    assert (toys.work_dir / "notes" / "model.txt").stat().st_mode & 0o777 == 0o600
    assert (toys.work_dir / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("ends", ["finishes", "fails"])
async def test_no_path_out_of_a_run_shows_a_secret(toys: Toys, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    monkeypatch.setenv("OTHER_TOKEN", "of-the-kernel-77")
    said = '{"say": "the key is %s, %s", "tool": "echo %s"}'
    script = (
        f"""printf '{said}\\n' "$TOY_KEY" of-the-kernel-77 "$TOY_KEY"; echo "$TOY_KEY, plain"; echo "$TOY_KEY" >&2\n"""
    )
    script += """printf '{"done": true, "text": "%s"}' "$TOY_KEY" """ if ends == "finishes" else "exit 3"
    outcome = await toys.run(script, env={"TOY_KEY": "of-the-toy-123"})
    everything = [repr(outcome), *toys.report.lines, toys.round("").log_path.read_text()]
    everything.append((toys.work_dir / "last-run.log").read_text())
    assert isinstance(outcome, Finished if ends == "finishes" else Failed)
    assert "the key is ***, ***" in toys.report.lines
    assert not [text for text in everything if "of-the-toy-123" in text or "of-the-kernel-77" in text]


async def test_without_a_key_in_the_environment_it_keeps_its_state_where_it_always_does(toys: Toys) -> None:
    script = f"""echo '{{"say": "state '"$TOY_STATE"'"}}'; {DONE}"""
    await toys.run(script)
    await toys.run(script, state="agent")
    assert toys.report.lines == ["state", f"state {toys.work_dir}/state"]


async def test_the_log_has_what_people_read_and_the_last_run_what_the_cli_printed(toys: Toys) -> None:
    await toys.run(f"""printf '%s\\n' '{{"say": "two\\nlines \\u001b[31m"}}'; {DONE}""")
    log = toys.round("").log_path.read_text()
    assert log == "two\nlines \\x1b[31m\n"
    assert '"say"' in (toys.work_dir / "last-run.log").read_text()


# -- kinds and settings ----------------------------------------------------------------------------------


def test_kinds_of_one_cli_share_an_account() -> None:
    backends = backends_for(ToyAdapter(), CliSettings(presets={"toy-max": {"model": "max"}}), Path("/town"))
    assert [(each.kind, each.account, each.settings.model) for each in backends] == [
        ("toy", "toy", ""),
        ("toy-mini", "toy", "mini"),
        ("toy-max", "toy", "max"),
    ]


def test_what_the_model_may_do_unasked_is_said_unless_the_person_has_chosen_it() -> None:
    def warnings(**settings: Any) -> list[str]:
        (backend, *_) = backends_for(ToyAdapter(), CliSettings(command="/bin/sh", **settings), Path("/town"))
        return [each for each in backend.warnings() if "without asking" in each]

    assert len(warnings()) == 1
    assert warnings(permissions="full") == warnings(permissions="read") == []


def test_what_a_missing_cli_may_do_is_no_warning() -> None:
    (backend, *_) = backends_for(ToyAdapter(), CliSettings(command="/nonexistent/toy"), Path("/town"))
    missing = backend.missing_program()
    assert missing is not None
    assert missing[0].endswith("(/nonexistent/toy)")
    (warning,) = backend.warnings()
    assert warning.endswith(f"(/nonexistent/toy not found): {missing[1]}")
    (backend, *_) = backends_for(ToyAdapter(), CliSettings(command="/bin/sh"), Path("/town"))
    assert backend.missing_program() is None


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"command": "say 'hello"}, "plugins.toy.command"),
        ({"command": "''"}, "plugins.toy.command"),
    ],
)
def test_settings_that_cannot_be_kept_are_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        backends_for(ToyAdapter(), CliSettings(**settings), Path("/town"))
    assert caught.value.fields["key"] == key


def test_in_a_box_the_cli_is_called_with_the_widest_profile_that_it_knows() -> None:
    (backend, *_) = backends_for(ToyAdapter(), CliSettings(permissions="read"), Path("/town"))
    context: Any = SimpleNamespace(permissions="write", boxed=True)
    assert backend.permissions_in(context) == "full"
    assert [backend.permissions_of(context, default) for default in (None, "write")] == ["read", "read"]


def test_a_profile_that_neither_a_box_nor_the_cli_enforces_stops_the_agent() -> None:
    (backend, *_) = backends_for(ToyAdapter(), CliSettings(), Path("/town"))
    context: Any = SimpleNamespace(permissions="write", boxed=False)
    assert backend.permissions_of(context, None) == "full"
    assert backend.permissions_of(context, "write") == "write"
    assert backend.own_profiles == ()
    with pytest.raises(BackendUnavailable, match="does not support 'write' by itself"):
        backend.permissions_in(context)


def test_a_link_that_an_agent_leaves_in_its_directory_leads_nowhere(tmp_path: Path) -> None:
    session: Any = CliSession.__new__(CliSession)
    session._work_dir = tmp_path / "work"
    (tmp_path / "work").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work" / "state").symlink_to(tmp_path / "elsewhere")
    session._remove_links("state/.toy/settings.json")
    assert not (tmp_path / "work" / "state").exists()
    assert (tmp_path / "elsewhere").is_dir()


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, None),
        ({"results": {"schema": {"type": "object"}}}, {"type": "object"}),
        ({"results": {"schema": "no schema"}}, None),
        ({"results": "no table"}, None),
    ],
)
async def test_the_schema_of_a_result_is_that_in_the_table_of_the_task(
    toys: Toys, monkeypatch: pytest.MonkeyPatch, meta: dict[str, Any], expected: object
) -> None:
    seen: list[RunRequest[CliSettings]] = []
    spec = ToyAdapter.command_spec

    def noted(self: ToyAdapter, request: RunRequest[CliSettings]) -> CommandSpec:
        seen.append(request)
        return spec(self, request)

    monkeypatch.setattr(ToyAdapter, "command_spec", noted)
    task = msgspec.structs.replace(toys.sandbox.task("do it"), meta=meta)
    await toys.run("true", {"task": task})
    assert seen[0].result_schema == expected


class CagedToy(ToyAdapter):
    """Brings a sandbox of its own, which works if the variable says so."""

    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "write", "full")
    sandbox_trial: ClassVar[tuple[str, ...]] = ("trial",)
    command: ClassVar[tuple[str, ...]] = (
        "sh",
        "-c",
        'if [ "$1" = trial ]; then echo tried >> tries; echo "no namespaces" >&2; exit $TRIAL; fi; exec sh -s -- "$@"',
        "toy",
    )

    def has_own_sandbox(self) -> bool:
        return True


@pytest.mark.parametrize("status", ["1", "101"])
async def test_a_sandbox_that_does_not_work_is_said_before_anything_runs_in_it(toys: Toys, status: str) -> None:
    toys.adapter = CagedToy()
    outcome = await toys.run(DONE, permissions="write", env={"TRIAL": status})
    assert isinstance(outcome, Unavailable)
    assert outcome.reason == "the sandbox of Toy does not work here: no namespaces"
    assert "tinytown-sandbox" in outcome.hint
    assert 'permissions = "full" in [plugins.toy]' in outcome.hint


@pytest.mark.parametrize(("status", "permissions", "tries"), [("0", "write", 1), ("2", "read", 1), ("1", "full", 0)])
async def test_a_sandbox_is_tried_once_where_it_is_needed(
    toys: Toys, status: str, permissions: str, tries: int
) -> None:
    toys.adapter = CagedToy()
    async with toys.session(permissions=permissions, env={"TRIAL": status}) as session:
        for _ in range(2):
            assert isinstance(await session.run_round(toys.round(DONE), toys.report), Finished)
    tried = toys.sandbox.work / "tries"
    assert (len(tried.read_text().splitlines()) if tried.exists() else 0) == tries
