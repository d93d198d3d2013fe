"""The numbers of a real town, scraped as Prometheus does; and the dashboard that is made of them."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from typing import Any

import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from tinytown.contracts import Failed, Finished, Usage
from tinytown.errors import ServerUnreachable
from tinytown.model.messages import Informational, Query
from tinytown.town import Town
from tinytown_cli import administration
from tinytown_metrics.address import ADDRESS, PLUGIN
from tinytown_sinks import set_position
from tinytown_testing import Shell, TownDirectory, check_plugin
from tinytown_testing.scripted_backend import ScriptedBackend, answers
from tinytown_testing.town_pairs import TownPair

pytestmark = pytest.mark.usefixtures("deadline")

DEADLINE_S = 60.0
# Numbers are counted by one service, and begin anew with the next one: no pause of this machine may end its lease.
LASTING = "lease_s = 60\n[plugins.metrics]\nport = 0\n"


def scrape(url: str, accept: str = "") -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers={"accept": accept}), timeout=DEADLINE_S) as answer:
        text: str = answer.read().decode()
    return text


class Numbers:
    """Samples by name and labels: ``numbers("tinytown_agents", state="idle")``; of one town, whose label is left out."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        wanted = {"town": "t", **labels}
        return next((each.value for each in self.samples if (each.name, each.labels) == (name, wanted)), None)


async def address_of(town: Town) -> str:
    async def read() -> str | None:
        return await town.run(town.operations.plugin_field(PLUGIN, ADDRESS))

    return str(await town.wait_until(read, lambda url: url is not None))


async def numbers_when(town: Town, condition: Callable[[Numbers], bool]) -> Numbers:
    """What is scraped once it satisfies `condition`."""
    url = await address_of(town)
    while True:
        numbers = Numbers(await trio.to_thread.run_sync(scrape, url))
        if condition(numbers):
            return numbers
        await trio.sleep(0.05)


async def test_a_town_is_told_in_numbers(town_dir: TownDirectory, scripted_backend: ScriptedBackend) -> None:
    usage = Usage(input_tokens=1200, output_tokens=34, cached_tokens=1000, cost_usd=0.25)
    scripted_backend.script = answers(Finished(text="done", usage=usage), Failed(reason="no", retryable=False))
    town_dir.configure(LASTING)
    async with town_dir.open() as town:
        await numbers_when(town, lambda numbers: numbers("tinytown_up") == 1)
        ada = await town.spawn("ada", cli="scripted")
        for name in ("good", "bad"):
            await town.wait_for_task((await ada.assign(name)).id)
        doctor = await town.spawn(
            "tt-doctor", cli="scripted", tags=("tt-doctor",)
        )  # tries the town out, and is not counted
        tried = await town.wait_for_task((await doctor.assign("well?")).id)
        await doctor.kill(now=True)
        await doctor.wait_until(lambda agent: agent.state == "stopped" and not agent.host)
        await town.run(administration.remove_agent(town.operations.keys, doctor.id, force=True))
        await town.run(administration.delete_task(town.operations.keys, tried.id))
        await ada.interrupt()
        await ada.wait_until(lambda agent: agent.state == "paused")
        await ada.send(Query(question="and later?"))
        await ada.send(Informational(summary="for later"))
        await town.send("supervisor", Query(question="so?"), priority="high", sender="ada")
        await town.add_task("for anybody", tags=("nobody",))
        await town.run(town.operations.emit("sink_gap", {"sink": "journal", "after": "1-0", "before": "2-0"}))
        numbers = await numbers_when(town, lambda numbers: numbers("tinytown_sink_gaps_total", sink="journal") == 1)
    expected = {
        ("tinytown_agents", ("state", "paused")): 1,
        ("tinytown_agents", ("state", "idle")): 0,
        ("tinytown_tasks", ("state", "completed")): 1,
        ("tinytown_tasks", ("state", "failed")): 1,
        ("tinytown_tasks_finished_total", ("state", "failed")): 1,
        ("tinytown_backlog_tasks",): 1,
        ("tinytown_supervisor_messages",): 1,
        ("tinytown_dead_letters",): 0,
        ("tinytown_messages_dead_total",): 0,
        ("tinytown_hosts",): 1,
        ("tinytown_frozen",): 0,
        ("tinytown_mailbox_messages", ("agent", "ada"), ("place", "queued")): 1,
        ("tinytown_mailbox_messages", ("agent", "ada"), ("place", "delayed")): 1,
        ("tinytown_messages_sent_total", ("category", "query"), ("priority", "high")): 1,
        ("tinytown_round_duration_seconds_count", ("kind", "scripted"), ("outcome", "finished")): 1,
        ("tinytown_round_duration_seconds_count", ("kind", "scripted"), ("outcome", "failed")): 1,
        ("tinytown_delivery_latency_seconds_count", ("kind", "scripted")): 2,
        ("tinytown_tokens_total", ("kind", "scripted"), ("direction", "input")): 1200,
        ("tinytown_tokens_total", ("kind", "scripted"), ("direction", "cached")): 1000,
        ("tinytown_cost_usd_total", ("kind", "scripted")): 0.25,
    }
    assert {key: numbers(key[0], **dict(key[1:])) for key in expected} == expected
    age_s = numbers("tinytown_queue_age_seconds", agent="ada")
    assert age_s is not None
    assert age_s >= 0
    assert (numbers("tinytown_events_total", type="round_ended") or 0) >= 2


async def test_openmetrics_is_spoken_too(town_dir: TownDirectory) -> None:
    town_dir.configure("[plugins.metrics]\nport = 0\n")
    async with town_dir.open() as town:
        url = await address_of(town)
        text = await trio.to_thread.run_sync(scrape, url, "application/openmetrics-text; version=1.0.0")
    assert "tinytown_up" in {family.name for family in parse_openmetrics(text)}
    with pytest.raises(OSError, match="refused"):  # with the kernel its port has gone
        scrape(url)


async def test_a_scrape_while_the_server_is_away_says_so(town_dir: TownDirectory) -> None:
    town_dir.configure("[plugins.metrics]\nport = 0\n")
    async with town_dir.open() as town:
        url = await address_of(town)
        town_dir.server.stop(timeout_s=DEADLINE_S)
        numbers = Numbers(await trio.to_thread.run_sync(scrape, url))
        assert numbers("tinytown_up") in (0, 1)  # the connection starts it again
        await numbers_when(town, lambda numbers: numbers("tinytown_up") == 1)


async def test_what_happens_while_the_server_cannot_be_reached_is_counted_later(
    town_dir: TownDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    town_dir.configure(LASTING)
    async with town_dir.connect() as other, town_dir.open() as town:
        await numbers_when(town, lambda numbers: numbers("tinytown_up") == 1)
        event = partial(town.operations.emit, "sink_gap", {"sink": "journal", "after": "1-0", "before": "2-0"})
        await other.run(event())
        await numbers_when(town, lambda numbers: numbers("tinytown_sink_gaps_total", sink="journal") == 1)
        away = trio.Event()

        async def unreachable(_: object) -> None:  # what a link raises after 10 s of outage
            away.set()
            raise ServerUnreachable("the server is away")

        with monkeypatch.context() as outage:
            outage.setattr(town, "run", unreachable)
            await other.run(event())
            await away.wait()
            await other.run(event())
        await numbers_when(town, lambda numbers: numbers("tinytown_sink_gaps_total", sink="journal") == 3)


async def test_a_port_that_is_taken_is_reported(town_dir: TownDirectory) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        town_dir.configure(f"[plugins.metrics]\nport = {taken.getsockname()[1]}\n")
        async with town_dir.open() as town:
            (event,) = await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="metrics")
    assert "Address already in use" in event["text"]


def queries(thing: Any) -> Iterator[str]:
    """Every query in a dashboard."""
    if isinstance(thing, dict):
        yield from (value for key, value in thing.items() if key in ("expr", "query") and isinstance(value, str))
        thing = list(thing.values())
    for each in thing if isinstance(thing, list) else []:
        yield from queries(each)


async def test_every_query_of_the_dashboard_names_metrics_and_labels_that_are_there(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    usage = Usage(input_tokens=1, output_tokens=1, cost_usd=0.1)
    scripted_backend.script = answers(Finished(text="done", usage=usage))
    town_dir.configure(LASTING)
    async with town_dir.open() as town:
        await numbers_when(town, lambda numbers: numbers("tinytown_up") == 1)
        ada = await town.spawn("ada", cli="scripted")
        await town.wait_for_task((await ada.assign("something")).id)
        await ada.interrupt()
        await ada.send(Query(question="later?"))
        await town.run(set_position(town.operations.keys, "journal", "0-1"))
        await town.run(town.operations.emit("plugin_reported", {"plugin": "x", "text": "y"}))
        await town.run(town.operations.emit("sink_gap", {"sink": "journal", "after": "1-0", "before": "2-0"}))
        numbers = await numbers_when(town, lambda numbers: numbers("tinytown_sink_gaps_total", sink="journal") == 1)
    labels: dict[str, set[str]] = {}
    for sample in numbers.samples:
        labels.setdefault(sample.name, set()).update(sample.labels)
    dashboard = json.loads(files("tinytown_metrics").joinpath("dashboard.json").read_text())
    used: set[str] = set()
    for query in queries(dashboard):
        named = set(re.findall(r"\btinytown_\w+", query))
        assert named <= labels.keys(), query
        used |= named
        grouped = {label for group in re.findall(r"by \(([\w, ]+)\)", query) for label in group.split(", ")}
        assert grouped <= set().union(*(labels[name] for name in named)), query
    families = {re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in labels if "_created" not in name}
    assert {re.sub(r"_(total|bucket|count)$", "", name) for name in used} == families
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_the_command_says_where_to_scrape_and_prints_the_dashboard(tt: Shell) -> None:
    tt("init", "--name", "t")
    with (tt.directory / "tinytown.toml").open("a") as file:
        file.write("\n[plugins.metrics]\nport = 0\n")
    assert tt("metrics", "--json").json == {"url": None, "answers": False}
    assert "no kernel has served metrics yet" in tt("metrics").out
    tt("start", "--background")
    while not (found := tt("metrics", "--json").json)["answers"]:
        pass
    assert found["url"].removeprefix("http://").removesuffix("/metrics") in tt("metrics").out
    assert "tinytown_up" in scrape(found["url"])
    assert json.loads(tt("metrics", "--dashboard").out) == tt("metrics", "--dashboard", "--json").json
    tt("stop")
    assert tt("metrics", "--json").json == {"url": found["url"], "answers": False}
    assert "does not answer here" in tt("metrics").out


def task_counted(numbers: Numbers) -> bool:
    return (numbers("tinytown_events_total", type="task_added") or 0) > 0


async def test_another_kernel_serves_the_numbers_when_the_first_dies(town_pair: TownPair) -> None:
    town_pair.configure("[plugins.metrics]\nport = 0\n")
    async with town_pair.watch() as town:
        first = await town_pair.start(town_pair.first)
        before = await address_of(town)
        await town_pair.start(town_pair.second)
        await town.add_task("what both know")
        await numbers_when(town, task_counted)
        first.kill()
        await town.add_task("what happens while nobody counts")
        read = partial(town.run, town.operations.plugin_field(PLUGIN, ADDRESS))
        await town.wait_until(read, lambda url: url != before)
        numbers = await numbers_when(town, lambda numbers: numbers("tinytown_hosts") == 1 and task_counted(numbers))
    assert (numbers("tinytown_up"), numbers("tinytown_tasks", state="pending")) == (1, 2)


async def test_it_keeps_the_promises_of_the_kit() -> None:
    for report in await check_plugin("metrics", toml='name = "t"\n[plugins.metrics]\nport = 0\n'):
        report.raise_if_broken()
