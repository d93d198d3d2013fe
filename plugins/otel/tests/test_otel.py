"""Traces and metrics of a real town, as a collector on the loopback gets them by OTLP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tinytown.config import Config, convert_settings
from tinytown.contracts import Failed, Finished, Gate, Round, Usage, Verdict
from tinytown.errors import ConfigError
from tinytown.model.messages import Query
from tinytown.town import Town
from tinytown_otel.export import Exporter, NotExported
from tinytown_otel.settings import ENDPOINT_VARIABLE, Settings
from tinytown_otel.traces import model_of
from tinytown_otel.views import ExportCheck, ExportSection, ExportStatus
from tinytown_testing import ReceivedRequest, Receiver, check_plugin
from tinytown_testing.scripted_backend import ScriptedBackend, answers
from tinytown_testing.towns import TownDirectory

pytestmark = pytest.mark.usefixtures("deadline")

DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytown_otel.service._FIRST_RETRY_S", 0.02)
    monkeypatch.delenv(ENDPOINT_VARIABLE, raising=False)


def spans(receiver: Receiver) -> list[Span]:
    """What has arrived, in order."""
    return [
        span
        for request in receiver.taken
        if request.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def configure(town_dir: TownDirectory, receiver: Receiver, *lines: str) -> None:
    town_dir.configure("\n".join(["[plugins.otel]", f'endpoint = "{receiver.url}"', *lines, ""]))


async def wait_for_span(receiver: Receiver, name: str, condition: Callable[[Span], bool] = lambda _: True) -> Span:
    def found() -> list[Span]:
        return [span for span in spans(receiver) if span.name == name and condition(span)]

    await receiver.wait_until(lambda: bool(found()))
    return found()[0]


class Once(Gate):
    """Refuses the first submission."""

    name = "once"

    def __init__(self) -> None:
        self.asked = 0

    async def check(self, *_: object) -> Verdict:
        self.asked += 1
        return Verdict(passed=self.asked > 1, evidence="no tests")


async def test_a_task_is_a_trace_of_its_rounds_gates_and_mail(
    town_dir: TownDirectory, receiver: Receiver, scripted_backend: ScriptedBackend
) -> None:
    async def work(*_: object) -> Finished:
        await town.send("supervisor", Query(question="so?"), sender="ada")
        return Finished(
            text="done", usage=Usage(input_tokens=1200, output_tokens=34, cached_tokens=1000, cost_usd=0.25)
        )

    scripted_backend.script = work
    scripted_backend.gates = [Once()]
    configure(town_dir, receiver, 'resource = { "deployment.environment.name" = "test" }')
    async with town_dir.open() as town:
        ada = await town.spawn("ada", cli="scripted")
        await ada.send(Query(question="are you there?"))
        hello = await wait_for_span(receiver, "send query")
        greeted = await wait_for_span(receiver, "invoke_agent ada")
        assert [(link.trace_id, link.span_id) for link in greeted.links] == [(hello.trace_id, hello.span_id)]
        assert greeted.trace_id == UUID(attributes(greeted)["tinytown.round.id"]).bytes
        task = await ada.assign("write it", title="the manual", priority="high")
        await town.wait_for_task(task.id)
        root = await wait_for_span(receiver, "task")
        await town.run(town.operations.emit("task_merged", {"task": task.id, "commit": "abc", "duration_ms": "1500"}))
        merged = await wait_for_span(receiver, "task_merged")
    trace_id = UUID(task.id).bytes
    mine = [span for span in spans(receiver) if span.trace_id == trace_id]
    assert (root.trace_id, root.parent_span_id, root.status.code) == (trace_id, b"", 0)
    reported = attributes(root)
    assert {name: reported[f"tinytown.task.{name}"] for name in ("id", "title", "state", "priority", "attempts")} == {
        "id": task.id,
        "title": "the manual",
        "state": "completed",
        "priority": "high",
        "attempts": 2,
    }
    rounds = [span for span in mine if span.name == "invoke_agent ada"]
    assert len(rounds) == 2
    assert {span.parent_span_id for span in rounds} == {root.span_id}
    about = attributes(rounds[0])
    assert {name: about[name] for name in about if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "ada",
        "gen_ai.provider.name": "scripted",
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 34,
        "gen_ai.usage.cache_read.input_tokens": 1000,
    }
    assert (about["tinytown.cost_usd"], about["tinytown.round.outcome"]) == (0.25, "finished")
    gates = [span for span in mine if span.name == "gates"]
    assert [attributes(span)["tinytown.task.state"] for span in gates] == ["assigned", "completed"]
    assert [span.status.message for span in gates] == ["gate once: no tests", ""]
    asked = [span for span in mine if span.name == "send query"]
    assert [span.parent_span_id for span in asked] == [span.span_id for span in rounds]
    assert attributes(asked[0])["messaging.destination.name"] == "supervisor"
    assert merged.parent_span_id == root.span_id
    assert merged.end_time_unix_nano - merged.start_time_unix_nano == 1_500_000_000
    for span in (span for span in mine if span is not merged and span.name != "task_merged"):
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    resource = ExportTraceServiceRequest.FromString(receiver.taken[0].body).resource_spans[0].resource
    assert attributes(resource).items() >= {
        ("service.name", "tinytown"),
        ("service.namespace", "t"),
        ("deployment.environment.name", "test"),
    }


async def test_merges_and_refused_work_are_spans_of_their_tasks(
    town_dir: TownDirectory, receiver: Receiver, scripted_backend: ScriptedBackend
) -> None:
    both_begun = trio.Event()

    async def change(round_: Round, _: object) -> Finished:
        if len(scripted_backend.rounds) == 2:
            both_begun.set()
        await both_begun.wait()
        (round_.directory / "README").write_text(f"{round_.round_id}\n")
        return Finished(text="done")

    scripted_backend.script = change
    git = ["git", "-C", str(town_dir.root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (town_dir.root / "README").write_text("hello\n")
    for words in (["init", "-q"], ["add", "README"], ["commit", "-q", "-m", "first"]):
        await trio.run_process([*git, *words])
    town_dir.configure(f'[plugins.otel]\nendpoint = "{receiver.url}"\n[plugins.git]\nfetch = false\n', max_attempts=1)
    async with town_dir.open() as town:
        agents = [await town.spawn(name, cli="scripted") for name in ("ada", "bea")]
        tasks = [await agent.assign("write your name") for agent in agents]
        ended = [await town.wait_for_task(task.id) for task in tasks]
        await receiver.wait_until(lambda: [span.name for span in spans(receiver)].count("task") == 2)
    assert sorted(task.state for task in ended) == ["completed", "failed"]
    for task in ended:
        mine = {span.name: span for span in spans(receiver) if span.trace_id == UUID(task.id).bytes}
        verdict = mine["git_merged" if task.state == "completed" else "git_refused"]
        assert verdict.parent_span_id == mine["task"].span_id
        assert attributes(verdict)["tinytown.agent"] == attributes(mine["task"])["gen_ai.agent.name"]
        assert mine["git_submitted"].start_time_unix_nano <= verdict.end_time_unix_nano
        assert mine["gates"].start_time_unix_nano <= verdict.start_time_unix_nano <= verdict.end_time_unix_nano
        if task.state == "completed":
            assert (len(attributes(verdict)["tinytown.commit"]), verdict.status.code) == (40, 0)
        else:
            assert (verdict.status.code, "README" in verdict.status.message) == (2, True)


async def test_what_fails_is_an_error(
    town_dir: TownDirectory, receiver: Receiver, scripted_backend: ScriptedBackend
) -> None:
    scripted_backend.script = answers(Failed(reason="no such branch", retryable=False))
    configure(town_dir, receiver)
    async with town_dir.open() as town:
        ada = await town.spawn("ada", cli="scripted")
        task = await ada.assign("merge")
        await town.wait_for_task(task.id)
        root = await wait_for_span(receiver, "task")
        work = await wait_for_span(receiver, "invoke_agent ada")
    for span in (root, work):
        assert (span.status.code, span.status.message) == (2, "no such branch")
    assert attributes(work)["error.type"] == "failed"


async def test_metrics_count_rounds_tokens_money_tasks_and_mail(
    town_dir: TownDirectory, receiver: Receiver, scripted_backend: ScriptedBackend
) -> None:
    usage = Usage(input_tokens=1200, output_tokens=34, cost_usd=0.25)
    scripted_backend.script = answers(Finished(text="done", usage=usage))
    configure(town_dir, receiver, "metrics_every_s = 0.1")
    async with town_dir.open() as town:
        ada = await town.spawn("ada", cli="scripted")
        for number in range(2):
            await town.wait_for_task((await ada.assign(f"task {number}")).id)
        await town.send("supervisor", Query(question="so?"), priority="high")
    numbers = points(receiver)
    about = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "ada", "gen_ai.provider.name": "scripted"}
    (duration,) = numbers["gen_ai.client.operation.duration"]
    assert (attributes(duration), duration.count) == (about, 2)
    tokens = {attributes(point)["gen_ai.token.type"]: point.sum for point in numbers["gen_ai.client.token.usage"]}
    assert tokens == {"input": 2400, "output": 68}
    assert [point.as_double for point in numbers["tinytown.cost"]] == [0.5]
    assert [(attributes(point), point.as_int) for point in numbers["tinytown.tasks.finished"]] == [
        ({"tinytown.task.state": "completed"}, 2)
    ]
    assert [(attributes(point), point.as_int) for point in numbers["tinytown.messages.sent"]] == [
        ({"tinytown.message.category": "query", "tinytown.message.priority": "high"}, 1)
    ]


def points(receiver: Receiver) -> Mapping[str, list[Any]]:
    """The latest numbers, by metric."""
    (*_, latest) = [request for request in receiver.taken if request.path == "/v1/metrics"]
    metrics = ExportMetricsServiceRequest.FromString(latest.body).resource_metrics[0].scope_metrics[0].metrics
    return {metric.name: list(getattr(metric, metric.WhichOneof("data")).data_points) for metric in metrics}


async def send(town: Town, *numbers: int) -> None:
    for number in numbers:
        await town.run(town.operations.emit("task_noted", {"task": "t", "number": str(number)}))


def sent(receiver: Receiver) -> list[int]:
    return [int(attributes(span)["tinytown.number"]) for span in spans(receiver) if span.name == "task_noted"]


async def status_of(town: Town) -> ExportStatus:
    return await town.run(ExportStatus.read(town.operations))


async def test_a_collector_that_is_away_gets_everything_in_order_and_the_failure_is_seen(
    town_dir: TownDirectory, receiver: Receiver
) -> None:
    receiver.behave = lambda _: 500
    configure(town_dir, receiver)
    async with town_dir.open() as town:
        await send(town, 1, 2)
        await receiver.wait_until(lambda: len(receiver.seen) > 2)
        status = await town.wait_until(lambda: status_of(town), lambda status: status.failure is not None)
        assert status.failure == "it answered 500 Internal Server Error"
        receiver.behave = lambda _: 200
        await send(town, 3)
        await receiver.wait_until(lambda: sent(receiver) == [1, 2, 3])
        await town.wait_until(lambda: status_of(town), lambda status: status.failure is None)


async def test_a_span_that_is_refused_is_dropped_and_counted(town_dir: TownDirectory, receiver: Receiver) -> None:
    def refuse(request: ReceivedRequest) -> int:
        return 400 if b"poison" in request.body else 200

    receiver.behave = refuse
    configure(town_dir, receiver)
    async with town_dir.connect() as town:
        await send(town, *range(4))
        await town.run(town.operations.emit("task_noted", {"task": "t", "number": "9", "text": "poison"}))
        await send(town, 10)
    async with town_dir.open() as town:
        await receiver.wait_until(lambda: sent(receiver) == [0, 1, 2, 3, 10])
        status = await town.wait_until(lambda: status_of(town), lambda status: status.dropped == 1)
        assert status.refusal == "it answered 400 Bad Request"
        read_notice = partial(town.run, town.operations.plugin_field("otel", "notice"))
        notice = await town.wait_until(read_notice, lambda text: text is not None)
        assert notice == "1 span refused by the collector; see: tt doctor"


async def test_a_collector_that_hangs_holds_nobody_up(town_dir: TownDirectory, receiver: Receiver) -> None:
    receiver.behave = lambda _: None
    configure(town_dir, receiver, "timeout_s = 200", "metrics_every_s = 0.1")
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            ada = await town.spawn("ada", cli="echo")
            assert (await town.wait_for_task((await ada.assign("go on")).id)).state == "completed"
            await receiver.wait_until(lambda: len(receiver.seen) == 1)


@pytest.mark.deadline_s(60)
async def test_a_collector_that_begins_to_hang_at_the_end_does_not_hold_the_kernel_up(
    town_dir: TownDirectory, receiver: Receiver
) -> None:
    configure(town_dir, receiver, "timeout_s = 300")
    async with town_dir.open() as town:
        await send(town, 1)
        await receiver.wait_until(lambda: sent(receiver) == [1])
        receiver.behave = lambda _: None
        await send(town, 2)
    assert sent(receiver) == [1]


async def test_a_restart_goes_on_where_the_last_kernel_stopped(town_dir: TownDirectory, receiver: Receiver) -> None:
    configure(town_dir, receiver)
    async with town_dir.open() as town:
        await send(town, 1)
        await receiver.wait_until(lambda: sent(receiver) == [1])
        await send(town, 2, 3)
    assert sent(receiver) == [1, 2, 3]  # the last ones as it ended
    async with town_dir.connect() as town:
        await send(town, 4)
    async with town_dir.open() as town:
        await send(town, 5)
        await receiver.wait_until(lambda: len(sent(receiver)) == 5)
    assert sent(receiver) == [1, 2, 3, 4, 5]


async def test_secrets_and_redirects(receiver: Receiver) -> None:
    with Receiver() as other:
        receiver.behave = lambda _: (307, {"location": f"{other.url}/v1/traces"})
        exporter = Exporter(receiver.url, {"authorization": "Bearer s3cret"}, 5.0)
        with pytest.raises(NotExported, match="it answered 307 Temporary Redirect"):
            await trio.to_thread.run_sync(exporter.send_spans, [])
        exporter.close()
        assert receiver.seen[0].headers["authorization"] == "Bearer s3cret"
        assert not other.seen


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"endpoint": "collector:4317"}, "expected an address such as http://127.0.0.1:4318"),
        ({"endpoint": "http://ann:secret@host"}, "has a password"),
        ({"headers": {"authorization": "Bearer s3cret"}}, "expected env:NAME or file:PATH as the header authorization"),
        ({"timeout_s": 0}, "timeout_s"),
    ],
)
def test_settings_that_make_no_sense_are_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        convert_settings(Settings, table, Path("tinytown.toml"), "plugins.otel")
    assert "s3cret" not in str(caught.value)


def test_the_collector_may_be_named_by_the_usual_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().address == ""
    monkeypatch.setenv(ENDPOINT_VARIABLE, "http://collector:4318")
    assert Settings().address == f"env:{ENDPOINT_VARIABLE}"
    assert Settings(endpoint="http://other:4318").address == "http://other:4318"


def test_the_model_is_that_of_the_kind_or_its_preset() -> None:
    config = Config(
        name="t", plugins={"claude": {"model": "opus", "presets": {"quick": {"model": "haiku"}}}, "codex": {}}
    )
    assert [model_of(config, kind) for kind in ("claude", "quick", "codex", "shell")] == ["opus", "haiku", "", ""]


async def test_the_views_tell_what_is_wrong(town_dir: TownDirectory) -> None:
    status = ExportStatus().failing("it answered 401").dropping("it answered 400")
    async with town_dir.connect() as town:
        for operation in status.write(town.operations):
            await town.run(operation)
        assert await status_of(town) == status
        assert status.failing("it answered 403").failing_since == status.failing_since
        assert status.working() == ExportStatus(dropped=1, refusal="it answered 400")

    class Client:
        """A town whose answer is the status."""

        def __init__(self, status: ExportStatus) -> None:
            self.status = status
            self.operations = town.operations

        def run(self, _: object) -> ExportStatus:
            return self.status

    check, section = ExportCheck(Settings(endpoint="http://host")), ExportSection()
    client: Any = Client(status)
    assert [finding.level for finding in check.check(client)] == ["problem", "note"]
    content = section.read(client)
    assert content is not None
    assert "it answered 401" in content.lines[0]
    client = Client(ExportStatus())
    assert [finding.level for finding in check.check(client)] == ["ok"]
    assert section.read(client) is None
    assert [finding.level for finding in ExportCheck(Settings()).check(client)] == ["note"]


async def test_it_keeps_the_promises_of_the_kit(receiver: Receiver) -> None:
    for report in await check_plugin("otel", toml=f'name = "t"\n[plugins.otel]\nendpoint = "{receiver.url}"\n'):
        report.raise_if_broken()
