"""Streams: events that continue where they were cut, and the picture that pages show."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tinytown.contracts import Finished
from tinytown.model.messages import Informational, Query
from tinytown_cli import administration
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.towns import TownDirectory
from tinytown_townhall import event_stream, live

from plugins.townhall.tests.conftest import Client, eventually, open_client


async def test_events_come_as_they_happen_and_go_on_after_a_cut(client: Client) -> None:
    async with client.stream("/v1/events/stream") as events:
        first = await client.town.add_task("one")
        seen = await anext(events)
    assert (seen.type, seen.data["task"], seen.data["text"]) == (
        "task_added",
        first.id,
        f"task {first.id[:8]} added: one",
    )
    missed = [(await client.town.add_task(text)).id for text in ("two", "three")]
    async with client.stream("/v1/events/stream?type=task_added", {"Last-Event-ID": seen.id}) as events:
        assert [(await anext(events)).data["task"] for _ in missed] == missed
        last = await client.town.add_task("four")
        assert (await anext(events)).data["task"] == last.id


async def test_a_reader_that_was_away_for_long_reads_from_the_server(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await client.town.add_task(f"task {number}")).id for number in range(1_200)]
    client.hall.feed._begin = client.town.position.value
    client.hall.feed._kept.clear()
    async with client.stream("/v1/events/stream?after=0&type=task_added") as events:
        assert [(await anext(events)).data["task"] for _ in ids] == ids


async def test_events_are_chosen_by_agent_task_and_type(client: Client) -> None:
    await client.town.spawn("ada", cli="scripted")
    task = await client.town.add_task("x", agent="ada")
    await client.town.add_task("y")
    listed = await client.get(f"/v1/events?task={task.id}")
    assert {event["task"] for event in listed["events"]} == {task.id}
    assert all("ada" in str(event) for event in (await client.get("/v1/events?agent=ada"))["events"])
    after = await client.get(f"/v1/events?after={listed['next']}")
    assert (after["events"], after["next"]) == ([], listed["next"])
    assert len((await client.get("/v1/events?after=0&limit=1"))["events"]) == 1


async def test_a_page_gets_the_town_and_then_what_changes(client: Client) -> None:
    await client.town.spawn("ada", cli="scripted")
    async with client.stream("/v1/live") as pictures:
        whole = (await anext(pictures)).data
        assert [agent["name"] for agent in whole["agents"]] == ["ada"]
        assert whole["attention"][0]["kind"] == "no_kernel"
        assert whole["events"][-1]["type"] == "agent_spawned"
        task = await client.town.add_task("count", agent="ada")
        seen = await _until(pictures, lambda change: change.get("tasks"))
        assert [row["id"] for row in seen["tasks"]] == [task.id]
        (row,) = seen["agents"]
        assert (row["name"], row["open_tasks"], row["inbox"]["tasks"]) == ("ada", 1, 1)
        await client.town.send("supervisor", Query(question="which?"), sender="ada")
        seen = await _until(pictures, lambda change: change.get("attention"))
        assert "question" in {item["kind"] for item in seen["attention"]}
        await client.town.spawn("bob", cli="scripted")
        seen = await _until(pictures, lambda change: change.get("agents"))
        assert [row["name"] for row in seen["agents"]] == ["bob"]
        await client.town.run(administration.remove_agent(client.town.operations.keys, "bob", force=True))
        assert await _until(pictures, lambda change: change.get("gone_agents"))


async def test_many_changes_come_together(client: Client) -> None:
    await client.town.spawn("ada", cli="scripted")
    async with client.stream("/v1/live") as pictures:
        await anext(pictures)
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(client.town.add_task, "x")
        rows, changes = set[str](), 0
        while len(rows) < 500:
            change = (await anext(pictures)).data
            rows |= {row["id"] for row in change.get("tasks", ())}
            changes += 1
        assert changes < 100


async def test_a_page_that_does_not_keep_up_is_dropped_and_others_go_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_WAITING_PAGES", 1)
    slow = client.hall.live.follow()
    await anext(slow)
    async with client.stream("/v1/live") as pictures:
        await anext(pictures)
        for number in range(4):
            task = await client.town.add_task(str(number))
            await _until(pictures, lambda change, task=task: task.id in str(change.get("tasks")))
    left = [chunk async for chunk in slow]
    assert len(left) == 1


async def test_a_stream_without_events_has_a_heartbeat(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.05)
    async with await client.connect() as stream:
        await stream.send_all(b"GET /v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while received.count(b"\n: \n\n") < 3:
            received += await stream.receive_some()


async def test_streams_leave_nothing_behind(client: Client) -> None:
    for _ in range(20):
        async with client.stream("/v1/live") as pictures:
            await anext(pictures)
    await client.town.add_task("so that the ends are noticed")
    await eventually(lambda: not client.hall.live._pages and not client.server._open)


async def test_agents_at_work_are_shown_with_their_last_words(town_dir: TownDirectory) -> None:
    town_dir.configure(
        '[agent_clis.hello]\ncommand = "echo the answer is 42"\n[rates.hello]\ninput_usd_per_mtok = 0\noutput_usd_per_mtok = 0'
    )
    with trio.fail_after(60):
        async with town_dir.open() as town, open_client(town) as client, client.stream("/v1/live") as pictures:
            await anext(pictures)
            ada = await town.spawn("ada", cli="hello")
            await ada.send(Informational(summary="hi"))
            task = await ada.assign("think")
            done = await _until(
                pictures, lambda change: any(row["state"] == "completed" for row in change.get("tasks", ()))
            )
            assert task.id in {row["id"] for row in done["tasks"]}
            while True:
                async with client.stream("/v1/live") as again:
                    (row,) = (await anext(again)).data["agents"]
                if row["state"] == "idle":
                    break
            assert row["words"] == "the answer is 42"
            assert row["activity"] == "no work assigned"


async def test_a_question_of_a_round_that_waits_is_answered_in_place(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    answers: list[str | None] = []

    async def script(work: Any, report: Any) -> Finished:
        answers.append(await report.ask("Delete build/?", ["Yes", "No, never"]))
        answers.append(await report.ask("What is it called?"))
        return Finished(text="done")

    async def asked(client: Client, pictures: Any, words: str) -> Any:
        def find(picture: Any) -> Any:
            return next((item for item in picture.get("attention") or () if item["text"] == words), None)

        return find(await _until(pictures, find))

    scripted_backend.script = script
    with trio.fail_after(60):
        async with town_dir.open() as town, open_client(town) as client, client.stream("/v1/live") as pictures:
            task = await (await town.spawn("ada")).assign("do it")
            first = await asked(client, pictures, "Delete build/?")
            assert (first["options"], first["round_waits"], first["agent"]) == (["Yes", "No, never"], True, "ada")
            path = f"/v1/inbox/{first['id']}/answer"
            assert (await client.ask("POST", path, {"text": "perhaps"})).code == "usage"
            assert (await client.post(path, {"text": "No, never"}))["to_agent"] == "ada"
            second = await asked(client, pictures, "What is it called?")

            async def has_letter() -> bool:  # which follows the question
                return second["id"] in {message.id for message in await town.inbox()}

            await eventually(has_letter)
            await client.post(f"/v1/inbox/{second['id']}/answer", {"text": "the importer"})
            assert (await town.wait_for_task(task.id)).state == "completed"
            assert answers == ["No, never", "the importer"]

            async def is_quiet() -> bool:
                return "question" not in {item["kind"] for item in (await client.get("/v1/attention"))["items"]}

            await eventually(is_quiet)


async def _until(pictures: Any, wanted: Any) -> Any:
    async for picture in pictures:
        if wanted(picture.data):
            return picture.data
    raise AssertionError("the stream ended")
