"""Tasks with a schema, as a town works on them."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.contracts import Finished, Gate, Verdict, WorkContext
from tinytown.errors import UsageError
from tinytown.model.tasks import Task
from tinytown.town import Town
from tinytown_cli import administration
from tinytown_cli.new_task import read_meta
from tinytown_results import schema_of, value_of
from tinytown_results.gate import ResultGate
from tinytown_results.settings import Settings
from tinytown_testing.scripted_backend import ScriptedBackend, answers
from tinytown_testing.shell import Shell
from tinytown_testing.towns import TownDirectory

pytestmark = pytest.mark.usefixtures("deadline")

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
META = {"results": {"schema": SCHEMA}}


@asynccontextmanager
async def worked_on(
    town_dir: TownDirectory, scripted: ScriptedBackend, *texts: str, settings: str = "", meta: Any = META
) -> AsyncGenerator[tuple[Town, Task]]:
    """A town with a finished task, whose agent has submitted these texts one after the other."""
    town_dir.configure(settings)
    scripted.script = answers(*(Finished(text=text) for text in texts))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.add_task("count the files", agent=agent.name, meta=meta)
        yield town, await town.wait_for_task(task.id)


async def test_a_result_that_fits_completes_the_task_and_is_a_value(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    async with worked_on(town_dir, scripted_backend, 'Here it is:\n```json\n{"n": 3}\n```') as (_, task):
        assert (task.state, value_of(task), schema_of(task)) == ("completed", {"n": 3}, SCHEMA)
    (round_,) = scripted_backend.rounds
    assert "## The form of the result" in round_.prompt
    assert '"required": [' in round_.prompt


async def test_a_result_that_does_not_fit_goes_back_once_with_what_is_wrong(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    async with worked_on(town_dir, scripted_backend, '{"n": "three"}', '{"n": 3}') as (_, task):
        assert (task.state, value_of(task), task.meta["results"].get("refused")) == ("completed", {"n": 3}, None)
    assert "$.n: 'three' is not of type 'integer'" in scripted_backend.rounds[1].prompt


@pytest.mark.parametrize(("settings", "rounds"), [("", 2), ("[plugins.results]\nrepair_rounds = 0\n", 1)])
async def test_a_task_whose_results_never_fit_fails_with_the_reason(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend, settings: str, rounds: int
) -> None:
    async with worked_on(town_dir, scripted_backend, "I am done", settings=settings) as (town, task):
        assert task.state == "failed"
        assert "it is no JSON" in (task.reason or "")
        assert len(scripted_backend.rounds) == rounds
        with pytest.raises(LookupError):
            value_of(task)
        await town.run(administration.reopen_task(town.operations.keys, task.id))
        await town.wait_for_task(task.id)
        assert len(scripted_backend.rounds) == 2 * rounds  # it has its repair rounds again


class Watching(Gate):
    """Notes which tasks come to it."""

    name = "watching"

    def __init__(self) -> None:
        self.seen: list[Task] = []

    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        assert work.task is not None
        self.seen.append(await work.town.task(work.task.id))
        return Verdict(True)


async def test_other_gates_see_results_that_fit_alone_and_have_the_value(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    watching = Watching()
    scripted_backend.gates = [watching]
    async with worked_on(town_dir, scripted_backend, "no", '{"n": 3}'):
        (seen,) = watching.seen
        assert value_of(seen) == {"n": 3}


async def test_a_verdict_that_is_asked_for_again_counts_once(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    """As when the kernel was killed between the check and the verdict."""
    twice: list[bool | None] = []

    class Twice(ResultGate):
        async def check(self, work: WorkContext, directory: Path) -> Verdict:
            twice.append((await super().check(work, directory)).passed)
            return await super().check(work, directory)

    town_dir.configure('blocked_plugins = ["results"]\n')
    scripted_backend.gates = [Twice(Settings())]
    scripted_backend.script = answers(Finished(text="no"), Finished(text='{"n": 3}'))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await town.add_task("count", agent=agent.name, meta=META)).id)
        assert (task.state, twice) == ("completed", [False, True])


async def test_a_pattern_that_takes_for_ever_holds_up_nobody(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinytown_results.gate._CHECK_S", 1.0)
    slow = {"results": {"schema": {"type": "string", "pattern": "^(a+)+$"}}}
    async with worked_on(town_dir, scripted_backend, json.dumps("a" * 50 + "b"), meta=slow) as (_, task):
        assert (task.state, "could not be checked within 1 s" in (task.reason or "")) == ("failed", True)


@pytest.mark.parametrize("table", ["no table", {"schema": 3}, {}])
async def test_a_table_that_is_none_lets_nothing_through(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend, table: Any
) -> None:
    async with worked_on(town_dir, scripted_backend, "done", meta={"results": table}) as (_, task):
        assert task.state == "failed"


async def test_a_task_without_a_schema_may_have_any_result(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    async with worked_on(town_dir, scripted_backend, "done", meta={}) as (_, task):
        assert (task.state, schema_of(task)) == ("completed", None)
    assert "The form of the result" not in scripted_backend.rounds[0].prompt


def write(tt: Shell, name: str, content: object) -> None:
    (tt.directory / name).write_text(json.dumps(content))


@pytest.fixture
def town(tt: Shell) -> Shell:
    tt("init", "--name", "t")
    tt("spawn", "ada", "--cli", "echo", "--no-start")
    return tt


@pytest.mark.parametrize(("command", "start"), [(("assign", "ada"), ("--no-start",)), (("backlog", "add"), ())])
def test_a_task_is_given_a_schema_on_the_command_line(
    town: Shell, command: Sequence[str], start: Sequence[str]
) -> None:
    write(town, "schema.json", SCHEMA)
    added = town.json(*command, "count", "--schema", "schema.json", *start)["task_id"]
    assert town.json("task", "show", added)["meta"] == META
    assert "no checked result: it is" in town("task", "result", added, "--json", code=4).error["message"]
    plain = town.json(*command, "count", *start)["task_id"]
    assert "has no schema" in town("task", "result", plain, code=4).err


def test_many_tasks_share_a_schema(town: Shell) -> None:
    write(town, "schema.json", SCHEMA)
    (town.directory / "todo.txt").write_text("count these\ncount those\n")
    added = town.json("assign", "ada", "--file", "todo.txt", "--schema", "schema.json", "--no-start")["tasks"]
    assert [town.json("task", "show", each["task_id"])["meta"] for each in added] == [META, META]


@pytest.mark.parametrize(
    ("content", "what"), [({"type": "text"}, "is no JSON schema"), ([], "which is an object"), (None, "no such file")]
)
def test_what_is_no_schema_adds_no_task(town: Shell, content: Any, what: str) -> None:
    if content is not None:
        write(town, "schema.json", content)
    assert what in town("assign", "ada", "count", "--schema", "schema.json", "--no-start", code=2).err
    assert town.json("task", "list")["tasks"] == []


def test_without_what_checks_it_a_schema_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ())
    with pytest.raises(UsageError) as refused:
        read_meta(str(tmp_path / "schema.json"))
    assert refused.value.hint == "pip install tinytown-results"


async def test_the_value_is_printed_as_json_and_nothing_else(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    async with worked_on(town_dir, scripted_backend, '{"n": 3}') as (town, task):
        done = await trio.run_process(
            [sys.executable, "-m", "tinytown", "task", "result", task.id], cwd=town.root, capture_stdout=True
        )
        assert json.loads(done.stdout) == {"n": 3}


def test_a_persons_word_passes_no_gate(town: Shell) -> None:
    write(town, "schema.json", {"type": "string"})
    task = town.json("backlog", "add", "count", "--schema", "schema.json")["task_id"]
    town("task", "complete", task, "--result", "three")
    town("task", "result", task, code=4)
