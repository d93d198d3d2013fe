"""The town over HTTP: what each endpoint answers and changes, on a real server."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import trio
from tinytown.errors import (
    LimitReached,
    NotFound,
    ProtocolViolation,
    Refused,
    ServerUnreachable,
    TinytownError,
    UsageError,
)
from tinytown.model.messages import Query
from tinytown.protocol import Operation
from tinytown_cli.public import agent_shape, task_shape
from tinytown_testing.towns import TownDirectory
from tinytown_townhall.problems import status_of
from tinytown_townhall.recent import Recent

from plugins.townhall.tests.conftest import Client, eventually, open_client


async def test_a_task_goes_its_way_over_http(client: Client) -> None:
    await client.post("/v1/agents", {"name": "ada", "cli": "scripted", "role": "worker"}, status=201)
    task = await client.post("/v1/tasks", {"description": "count words", "agent": "ada", "tags": ["x"]}, status=201)
    assert (task["state"], task["assigned_to"], task["tags"]) == ("assigned", "ada", ["x"])
    other = await client.post("/v1/tasks", {"description": "then this", "needs": [task["id"]]}, status=201)
    assert (other["state"], other["open_needs"]) == ("blocked", [task["id"]])
    done = await client.post(f"/v1/tasks/{task['id'][:8]}/complete", {"result": "42 words"})
    assert (done["state"], done["result"]) == ("completed", "42 words")
    assert (await client.get(f"/v1/tasks/{other['id']}"))["state"] == "pending"
    again = await client.post(f"/v1/tasks/{task['id']}/reopen", {"reason": "count again"})
    assert (again["state"], again["rejection"]) == ("assigned", "count again")
    assert (await client.post(f"/v1/tasks/{task['id']}/fail", {"reason": "no"}))["state"] == "failed"


async def test_every_change_of_a_task_has_an_endpoint(client: Client) -> None:
    for name in ("ada", "bob"):
        await client.town.spawn(name, cli="scripted")
    task = (await client.post("/v1/backlog", {"description": "anything", "tags": ["t"]}, status=201))["id"]
    assert [row["id"] for row in (await client.get("/v1/backlog"))["tasks"]] == [task]
    changed = await client.ask("PATCH", f"/v1/tasks/{task}", {"title": "Something", "priority": "high"})
    assert (changed.json["title"], changed.json["priority"]) == ("Something", "high")
    assert (await client.post(f"/v1/backlog/{task}/claim", {"agent": "ada"}))["agent_name"] == "ada"
    assert (await client.post(f"/v1/tasks/{task}/assign", {"agent": "bob"}))["assigned_to"] == "bob"
    held = await client.post(f"/v1/tasks/{task}/hold", {"reason": "wait for the design"})
    assert (held["state"], held["held"]) == ("blocked", "wait for the design")
    assert (await client.post(f"/v1/tasks/{task}/release"))["state"] == "assigned"
    assert (await client.post(f"/v1/tasks/{task}/requeue"))["state"] == "pending"
    assert (await client.post("/v1/backlog/assign-all", {"agent": "bob"}))["ids"] == [task]
    assert (await client.post(f"/v1/tasks/{task}/cancel", {"reason": "no longer wanted"}))["state"] == "cancelled"
    assert (await client.ask("DELETE", f"/v1/tasks/{task}")).json == {"removed": True, "task_id": task}
    assert (await client.ask("GET", f"/v1/tasks/{task}")).status == 404


async def test_tasks_are_listed_page_by_page(client: Client) -> None:
    ids = [(await client.town.add_task(f"task {number}", tags=["even"] * (number % 2 == 0))).id for number in range(25)]
    found: list[str] = []
    cursor = ""
    for _ in range(4):
        page = await client.get(f"/v1/tasks?limit=7&cursor={cursor}")
        found += [task["id"] for task in page["tasks"]]
        cursor = page["next"]
        await client.town.add_task("added meanwhile")
    assert (found, cursor) == (ids[::-1], None)
    assert [task["id"] for task in (await client.get("/v1/tasks?tag=even&state=pending"))["tasks"]] == ids[::-2]
    assert (await client.ask("GET", "/v1/tasks?cursor=gone")).status == 404
    assert len((await client.get("/v1/task-rows?state=pending"))["tasks"]) == 29


async def test_lists_of_tasks_say_what_each_still_waits_for(client: Client) -> None:
    first = (await client.post("/v1/tasks", {"description": "lay the ground"}, status=201))["id"]
    await client.post("/v1/tasks", {"description": "build on it", "needs": [first]}, status=201)
    for path in ("/v1/tasks?state=blocked", "/v1/task-rows?state=blocked"):
        (task,) = (await client.get(path))["tasks"]
        assert (task["needs"], task["open_needs"]) == ([first], [first]), path
    (free,) = (await client.get("/v1/task-rows?state=pending"))["tasks"]
    assert free["open_needs"] == []


async def test_events_of_plugins_have_the_words_of_their_plugin(client: Client) -> None:
    await client.town.run(client.town.operations.emit("git_reserved", {"agent": "ada", "paths": "src"}))
    assert (await client.get("/v1/events?limit=1"))["events"][0]["text"] == "ada reserves src"
    await client.town.run(client.town.operations.emit("nobodys_event", {"note": "x"}))
    assert (await client.get("/v1/events?limit=1"))["events"][0]["text"] == "nobodys_event note=x"


async def test_an_agent_is_steered(client: Client) -> None:
    await client.post("/v1/agents", {"name": "ada", "cli": "scripted"}, status=201)
    for action, state in (("interrupt", "paused"), ("resume", "running"), ("close", "drained"), ("kill", "stopped")):
        assert (await client.post(f"/v1/agents/ada/{action}"))["desired_state"] == state
    assert (await client.post("/v1/agents/ada/restart"))["desired_state"] == "running"
    assert (await client.get("/v1/agents"))["count"] == 1
    assert "no kernel is running" in (await client.get("/v1/agents/ada/why"))["text"]
    await client.post("/v1/agents/ada/kill")
    assert (await client.post("/v1/agents/prune", {"all": True}))["agents"] == ["ada"]
    assert (await client.ask("GET", "/v1/agents/ada")).code == "not_found"


async def test_the_shapes_are_those_of_the_command_line(client: Client) -> None:
    handle = await client.town.spawn("ada", cli="scripted")
    task = await handle.assign("do it")
    seen = await client.get("/v1/agents/ada")
    shape = json.loads(msgspec.json.encode(agent_shape(await handle.info())))
    assert seen.items() <= shape.items()
    assert shape.keys() - seen.keys() <= {"wanted"}
    reported = json.loads(msgspec.json.encode(task_shape(await client.town.task(task.id))))
    assert (await client.get(f"/v1/tasks/{task.id}")).items() <= reported.items()


async def test_a_question_is_answered_in_place(client: Client) -> None:
    ada = await client.town.spawn("ada", cli="scripted")
    asked = await client.town.send("supervisor", Query(question="Which one?"), sender="ada")
    (item,) = [each for each in (await client.get("/v1/attention"))["items"] if each["kind"] == "question"]
    assert (item["id"], item["text"], item["agent"]) == (asked.message_id, "Which one?", "ada")
    await client.post(f"/v1/inbox/{asked.message_id}/answer", {"text": "The first."})
    (answer,) = await ada.town.inbox("ada")
    assert (answer.text, answer.correlation_id, answer.sender) == ("The first.", asked.message_id, "supervisor")
    assert (await client.get("/v1/inbox"))["messages"] == []
    assert (await client.ask("POST", f"/v1/inbox/{asked.message_id}/answer", {"text": "x"})).status == 404


async def test_mail_is_sent_once_listed_traced_and_removed(client: Client) -> None:
    await client.town.spawn("ada", cli="scripted")
    letter = {"to": "ada", "message": "hello", "kind": "query", "message_id": "m1"}
    assert (await client.post("/v1/messages", letter, status=201))["new"] is True
    assert (await client.post("/v1/messages/send", letter, status=201))["new"] is False
    (message,) = (await client.get("/v1/agents/ada/inbox"))["messages"]
    assert (message["id"], message["text"], message["place"], message["from"]) == (
        "m1",
        "hello",
        "queued",
        "supervisor",
    )
    assert (await client.get("/v1/messages/m1/trace"))["steps"]
    assert (await client.ask("DELETE", "/v1/agents/ada/inbox/m1")).json == {"ids": ["m1"]}
    assert (await client.get("/v1/dead-letters"))["dead"] == []


async def test_the_status_is_read_once_for_many_and_never_behind_what_was_done(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    status = client.town.status

    async def count() -> Any:
        nonlocal read
        read += 1
        return await status()

    client.hall.status = Recent(client.town, count)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(client.get, "/v1/status")
    assert read < 20
    for number in range(5):
        await client.post("/v1/agents", {"name": f"agent-{number}", "cli": "scripted"}, status=201)
        assert (await client.get("/v1/status"))["agent_count"] == number + 1
    await client.town.spawn("elsewhere", cli="scripted")  # by another program

    async def is_seen() -> bool:
        return bool((await client.get("/v1/status"))["agent_count"] == 6)

    await eventually(is_seen)


async def test_the_town_is_frozen_and_thawed(client: Client) -> None:
    assert (await client.post("/v1/town/freeze", {"reason": "costs"}))["changed"] is True
    assert (await client.get("/v1/status"))["frozen"]["reason"] == "costs"
    assert (await client.get("/v1/attention"))["items"][0]["kind"] == "frozen"
    assert (await client.post("/v1/town/thaw"))["changed"] is True
    assert (await client.post("/v1/town/thaw"))["changed"] is False


@pytest.mark.parametrize(
    "path",
    ["/v1/town", "/v1/status", "/v1/hosts", "/v1/costs?by=agent", "/v1/accounts", "/v1/rounds", "/v1/events", "/v1/session",
     "/v1/tasks/pending", "/api/scaling", "/health", "/ready", "/openapi.json"],
)  # fmt: skip
async def test_it_can_be_looked_at(client: Client, path: str) -> None:
    answer = await client.ask("GET", path)
    assert answer.status == 200
    again = await client.ask("GET", path, headers={"If-None-Match": answer.headers["etag"]})
    if path not in ("/health", "/ready"):  # these have times in them
        assert (again.status, again.body) == (304, b"")


async def test_a_spawned_agent_really_works(town_dir: TownDirectory) -> None:
    town_dir.configure('default_cli = "shell"\n[agent_clis.hello]\ncommand = "echo hello from an agent"')
    with trio.fail_after(60):
        async with town_dir.open() as town, open_client(town) as client:
            await client.post("/v1/agents", {"name": "ada", "cli": "hello"}, status=201)
            task = await client.post("/v1/tasks/assign", {"agent": "ada", "task": "greet"}, status=201)
            assert (await town.wait_for_task(task["task_id"])).state == "completed"
            (record,) = (await client.get("/v1/rounds?agent=ada"))["rounds"]
            assert record["outcome"] == "finished"
            details = await client.get(f"/v1/rounds/{record['round_id']}")
            assert "greet" in details["transcript"]["prompt"]
            assert any("hello" in line for line in (await client.get("/v1/agents/ada/log"))["lines"])
            async with client.stream("/v1/agents/ada/log/stream") as events:
                assert (await anext(events)).data


# -- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/agents/zed", None, 404, "not_found"),
        ("GET", "/v1/tasks/zed", None, 404, "not_found"),
        ("GET", "/v1/rounds/zed", None, 404, "not_found"),
        ("GET", "/v1/nothing", None, 404, "not_found"),
        ("PUT", "/v1/agents", {}, 405, "method_not_allowed"),
        ("POST", "/v1/agents", {"name": "supervisor"}, 400, "usage"),
        ("POST", "/v1/agents", {"name": "../x"}, 400, "usage"),
        ("POST", "/v1/agents", {"name": "a", "wrong": 1}, 400, "usage"),
        ("POST", "/v1/agents", {}, 400, "usage"),
        ("POST", "/v1/agents", [], 400, "usage"),
        ("POST", "/v1/tasks", {"description": "  "}, 400, "usage"),
        ("POST", "/v1/tasks", {"description": "x", "agent": "zed"}, 404, "not_found"),
        ("POST", "/v1/tasks", {"description": "x", "needs": ["zed"]}, 404, "not_found"),
        ("POST", "/v1/tasks", {"description": "x", "priority": "soon"}, 400, "usage"),
        ("POST", "/v1/messages", {"to": "zed", "message": "x"}, 404, "not_found"),
        ("GET", "/v1/tasks?limit=0", None, 400, "usage"),
        ("GET", "/v1/tasks?state=odd", None, 400, "usage"),
        ("GET", "/v1/tasks?limit=1&limit=2", None, 400, "usage"),
        ("GET", "/v1/events?after=x", None, 400, "usage"),
        ("GET", "/v1/costs?since=yesterday", None, 400, "usage"),
    ],
)
async def test_an_error_is_a_problem_with_a_stable_code(
    client: Client, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = await client.ask(method, path, body)
    assert (answer.status, answer.code) == (status, code)
    problem = answer.json
    assert problem["status"] == status
    assert problem["type"] == f"urn:tinytown:problem:{code}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["detail"]


async def test_what_the_towns_state_refuses_is_a_conflict(client: Client) -> None:
    await client.town.spawn("ada", cli="scripted")
    again = await client.ask("POST", "/v1/agents", {"name": "ada", "cli": "scripted"})
    assert (again.status, again.code) == (409, "exists")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x"), 400),
        (UsageError("x", code="limit_reached"), 409),
        (NotFound("x"), 404),
        (Refused("x"), 409),
        (Refused("x", code="not_allowed"), 403),
        (LimitReached("x"), 409),
        (ServerUnreachable("x"), 503),
        (ProtocolViolation("x"), 502),
        (TinytownError("x"), 500),
    ],
)
def test_each_kind_of_error_has_a_status(error: TinytownError, status: int) -> None:
    assert status_of(error) == status


async def test_a_town_whose_server_is_gone_is_not_ready(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(operation: Operation[Any]) -> None:
        raise ServerUnreachable("gone")

    monkeypatch.setattr(client.town, "run", gone)
    answer = await client.ask("GET", "/ready")
    assert (answer.status, answer.json["redis"]) == (503, "disconnected")
    assert (await client.ask("GET", "/v1/status")).code == "server_unreachable"
    assert (await client.ask("GET", "/health")).status == 200


async def test_a_fault_of_ours_is_a_problem_without_its_details(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(operation: Operation[Any]) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(client.town, "run", fail)
    answer = await client.ask("GET", "/v1/status")
    assert (answer.status, answer.code) == (500, "internal")
    assert "secret" not in answer.body.decode()
    assert "ZeroDivisionError: secret" in capsys.readouterr().err
