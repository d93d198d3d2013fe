"""Rounds that start from a copy of another agent's session: what they get of it, and what they do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import trio
from tinytown.contracts import Failed, Finished, Outcome
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown_adapters import (
    CliAdapter,
    CliBackend,
    CliSessionRecord,
    CliSettings,
    CommandSpec,
    JsonLinesReader,
    Record,
    RunCli,
    RunRequest,
    RunState,
    SessionNotForked,
    SessionSource,
    TakenSession,
    failure_of,
)
from tinytown_adapters.forks import source_of
from tinytown_adapters.session_store import load_session
from tinytown_testing import ReportRecorder, Sandbox

DEADLINE_S = 30.0


class ToyReader(JsonLinesReader):
    def on_record(self, record: Record) -> None:
        self.state.session(record.text("session"))
        if record.get("fail"):
            self.state.fail(failure_of(record.text("fail")))
        if record.flag("done"):
            self.state.finish(record.text("text"))


class ForkingToy(CliAdapter[CliSettings]):
    """Its prompt ends with a shell script; `$1` is how it is to begin (new, resume, fork) and `$2` the session.

    Its sessions are files with what was said in them, in its state directory.
    """

    plugin: ClassVar[str] = "toy"
    kind: ClassVar[str] = "toy"
    title: ClassVar[str] = "Toy"
    command: ClassVar[tuple[str, ...]] = ("sh", "-c", 'eval "$(awk "p; /^---/ { p = 1 }")"', "toy")
    install: ClassVar[str] = "buy one"
    login: ClassVar[str] = "find the key"
    forks_sessions: ClassVar[bool] = True

    def command_spec(self, request: RunRequest[CliSettings]) -> CommandSpec:
        how = "new" if request.session is None else "fork" if request.forks else "resume"
        return CommandSpec(
            arguments=[how, request.session.id if request.session else ""],
            stdin=request.prompt_bytes,
            environment={"STATE": str(request.state_directory)},
        )

    async def take_session(self, source: SessionSource, request: RunRequest[CliSettings], run: RunCli) -> TakenSession:
        found = source.read(source.work_dir / "state", source.session_id)
        if found is None:
            raise source.gone
        session = CliSessionRecord(id=source.session_id, agent_id="", directory="")
        return TakenSession(session, {f"state/{found[0]}": found[1]})

    def reader(self, state: RunState, request: RunRequest[CliSettings]) -> ToyReader:
        return ToyReader(state)


SCRIPT = """---
case $1 in
    new) id=new-$$ ;;
    fork) id=$2-of-$$; cp "$STATE/$2" "$STATE/$id" || exit 3 ;;
    resume) id=$2 ;;
esac
echo "said" >> "$STATE/$id"
echo '{"session": "'$id'"}'
"""
DONE = """echo '{"done": true, "text": "'$1 $(wc -l < "$STATE/$id")'"}'"""


class Toys:
    """Agents of the toy, each with rounds of its own."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.report = ReportRecorder()
        self.agents: dict[str, Agent] = {}

    def agent(self, name: str) -> Agent:
        return self.agents.setdefault(name, self.sandbox.agent(name, cli="toy"))

    def work_dir(self, name: str) -> Path:
        return self.sandbox.context(self.agent(name)).state_directory / "toy"

    def task(self, agent: str, session_id: str | None, **more: Any) -> Task:
        meta = {"fork": {"agent": agent, "session_id": session_id, **more}}
        return msgspec.structs.replace(self.sandbox.task("build it"), meta=meta)

    async def run(
        self,
        name: str,
        task: Task | None = None,
        end: str = DONE,
        adapter: CliAdapter[CliSettings] | None = None,
        **settings: Any,
    ) -> Outcome:
        agent, chosen = self.agent(name), CliSettings(state="agent", **settings)
        backend = CliBackend(adapter or ForkingToy(), "toy", chosen, self.sandbox.root)
        work = self.sandbox.round(agent, SCRIPT + end)
        with trio.fail_after(DEADLINE_S):
            async with backend.open(self.sandbox.context(agent)) as session:
                return await session.run_round(replace(work, task=task or work.task), self.report)


@pytest.fixture
def toys(sandbox: Sandbox) -> Toys:
    return Toys(sandbox)


def text_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Finished), outcome
    return outcome.text


def session_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Finished), outcome
    assert outcome.session_id
    return outcome.session_id


async def test_several_tasks_start_from_one_session_which_stays_as_it_is(toys: Toys) -> None:
    first = await toys.run("ada")
    before = (toys.work_dir("ada") / "state" / session_of(first)).read_bytes()
    for name in ("ben", "cleo", "ada"):
        outcome = await toys.run(name, toys.task("ada", session_of(first)))
        assert text_of(outcome) == "fork 2"
        assert session_of(outcome).startswith(f"{session_of(first)}-of-")
        assert (toys.work_dir("ada") / "state" / session_of(first)).read_bytes() == before
    assert text_of(await toys.run("ben")) == "resume 3"


async def test_the_prompt_says_whose_session_it_was_and_where_the_agent_is(toys: Toys) -> None:
    first = await toys.run("ada")
    requests: list[RunRequest[CliSettings]] = []

    class Noting(ForkingToy):
        def reader(self, state: RunState, request: RunRequest[CliSettings]) -> ToyReader:
            requests.append(request)
            return super().reader(state, request)

    await toys.run("ben", toys.task("ada", session_of(first)), adapter=Noting())
    await toys.run("ben", adapter=Noting())
    forked, resumed = requests
    assert "a copy of an earlier session of ada" in forked.prompt
    assert f"You are ben, and your workspace is {toys.sandbox.work}" in forked.prompt
    assert resumed.prompt == SCRIPT + DONE


async def test_the_next_attempt_resumes_the_fork_and_the_next_task_forks_again(toys: Toys) -> None:
    first = session_of(await toys.run("ada"))
    task = toys.task("ada", first)
    assert isinstance(await toys.run("ben", task, "exit 3"), Failed)
    record = load_session(toys.work_dir("ben"), toys.agent("ben").id)
    assert record is not None
    assert record.forked_for == task.id
    assert text_of(await toys.run("ben")) == "resume 3"  # mail, say
    again = await toys.run("ben", task)
    assert (text_of(again), session_of(again)) == ("resume 4", record.id)
    assert text_of(await toys.run("ben", toys.task("ada", first))) == "fork 2"
    assert text_of(await toys.run("ben", task)) == "fork 2"  # its own fork is not the last session any more
    assert text_of(await toys.run("ben", task, resume=False)) == "fork 2"


async def test_a_fork_that_is_gone_is_made_again(toys: Toys) -> None:
    task = toys.task("ada", session_of(await toys.run("ada")))
    await toys.run("ben", task)
    gone = """test $1 = fork || { echo '{"fail": "no session found"}'; exit 1; }\n"""
    assert text_of(await toys.run("ben", task, gone + DONE)) == "fork 2"
    assert "forking the session of ada again: no session found" in toys.report.lines


async def test_what_cannot_be_forked_fails_for_good(toys: Toys) -> None:
    task = toys.task("ada", session_of(await toys.run("ada")))
    outcomes = [
        await toys.run("ben", toys.task("ada", "another")),
        await toys.run("ben", toys.task("nobody", "another")),
        await toys.run("ben", task, """echo '{"fail": "no session found: broken"}'; exit 1"""),
    ]

    class Other(ForkingToy):
        take_session = CliAdapter.take_session

    outcomes.append(await toys.run("cleo", task, adapter=Other()))
    reasons: list[str] = []
    for outcome in outcomes:
        assert isinstance(outcome, Failed)
        assert not outcome.retryable
        reasons.append(outcome.reason)
    gone = "the session another of {}, which the task starts from, is not on this machine"
    assert reasons == [
        gone.format("ada"),
        gone.format("nobody"),
        "the session of ada cannot be forked: no session found: broken",
        "Toy cannot fork sessions",
    ]


@pytest.mark.parametrize(
    "table",
    [
        None,
        "ada",
        {"agent": "ada"},
        {"agent": "../ada", "session_id": "s1"},
        {"agent": "ada", "session_id": "../../ben/toy/state/s1"},
        {"agent": "ada", "session_id": "--help"},
        {"agent": "ada", "session_id": "*"},
        {"agent": "ada", "session_id": ""},
    ],
)
async def test_a_table_that_is_not_valid_fails_its_task(toys: Toys, table: object) -> None:
    task = msgspec.structs.replace(toys.sandbox.task("build it"), meta={"fork": table})
    with pytest.raises(SessionNotForked, match="not valid"):
        source_of(task, toys.sandbox.base, "toy")
    outcome = await toys.run("ben", task)
    assert isinstance(outcome, Failed)
    assert not outcome.retryable


@pytest.mark.parametrize("where", ["the file", "its directory", "the place of the CLI"])
async def test_a_link_that_the_other_agent_has_put_there_is_not_followed(toys: Toys, where: str) -> None:
    secret = toys.sandbox.base / "secret" / "state"
    secret.mkdir(parents=True)
    (secret / "s1").write_text("hunter2\n")
    links: Mapping[str, tuple[str, Path]] = {
        "the file": ("state/s1", secret / "s1"),
        "its directory": ("state", secret),
        "the place of the CLI": ("", secret.parent),
    }
    name, target = links[where]
    link = toys.work_dir("ada") / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    outcome = await toys.run("ben", toys.task("ada", "s1"))
    assert isinstance(outcome, Failed)
    assert "cannot read the session of ada" in outcome.reason
    assert not (toys.work_dir("ben") / "state" / "s1").exists()
