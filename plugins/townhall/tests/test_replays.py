"""A request with an Idempotency-Key acts once, however often it is sent."""

from __future__ import annotations

import trio

from plugins.townhall.tests.conftest import Answer, Client, open_client

KEY = {"Idempotency-Key": "k-1"}


async def test_what_is_sent_twice_acts_once_at_any_townhall(client: Client) -> None:
    first = await client.ask("POST", "/v1/tasks", {"description": "x"}, KEY)
    async with open_client(client.town) as other:
        again = await other.ask("POST", "/v1/tasks", {"description": "x"}, KEY)
    assert (again.status, again.json) == (201, first.json)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(await client.town.tasks()) == 1
    assert (await client.ask("POST", "/v1/tasks", {"description": "x"}, {"Idempotency-Key": "k-2"})).json != first.json


async def test_many_at_once_act_once(client: Client) -> None:
    answers: list[Answer] = []

    async def send() -> None:
        answers.append(await client.ask("POST", "/v1/tasks", {"description": "x"}, KEY))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(send)
    assert {answer.status for answer in answers} <= {201, 409}
    assert {answer.code for answer in answers if answer.status == 409} <= {"in_progress"}
    assert len(await client.town.tasks()) == 1


async def test_a_key_belongs_to_one_request(client: Client) -> None:
    await client.ask("POST", "/v1/tasks", {"description": "x"}, KEY)
    assert (await client.ask("POST", "/v1/tasks", {"description": "y"}, KEY)).code == "key_reused"
    assert (await client.ask("POST", "/v1/town/thaw", {}, KEY)).code == "key_reused"
    assert (await client.ask("POST", "/v1/tasks", {"description": "x"}, {"Idempotency-Key": "k" * 300})).code == "usage"


async def test_a_refusal_is_an_answer_too(client: Client) -> None:
    refused = await client.ask("POST", "/v1/tasks", {"description": "x", "agent": "zed"}, KEY)
    await client.town.spawn("zed", cli="scripted")
    again = await client.ask("POST", "/v1/tasks", {"description": "x", "agent": "zed"}, KEY)
    assert (refused.code, again.code) == ("not_found", "not_found")
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_key_of_a_read_changes_nothing(client: Client) -> None:
    assert "idempotent-replayed" not in (await client.ask("GET", "/v1/town", headers=KEY)).headers
    assert "idempotent-replayed" not in (await client.ask("GET", "/v1/town", headers=KEY)).headers
