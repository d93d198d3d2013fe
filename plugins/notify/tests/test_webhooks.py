"""Webhooks in a real town, with receivers that are slow, away, refuse or hang: nothing is lost, and nobody waits for them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.protocol import Operation
from tinytown.town import Town
from tinytown_cli.serializers import event_shape
from tinytown_notify import queue
from tinytown_notify.queue import ChannelStatus
from tinytown_notify.webhooks import sign, signing_key
from tinytown_testing import ReceivedRequest, Receiver
from tinytown_testing.towns import KernelStarter, TownDirectory

pytestmark = pytest.mark.usefixtures("deadline", "quick_retries")

DEADLINE_S = 60.0
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def webhook(url: str, **keys: Any) -> str:
    lines = {"url": url, "events": ["tick"], **keys}
    return "\n".join(
        ["[[plugins.notify.webhooks]]", *(f"{name} = {_toml(value)}" for name, value in lines.items()), ""]
    )


def _toml(value: Any) -> str:
    return (
        str(value).replace("'", '"')
        if isinstance(value, list)
        else f'"{value}"'
        if isinstance(value, str)
        else str(value)
    )


async def tick(town: Town, *numbers: int) -> None:
    """Events that the webhooks of these tests want, some at a time."""

    async def emit(some: range | list[int]) -> None:
        for number in some:
            await town.run(town.operations.emit("tick", {"number": str(number)}))

    for number in numbers:
        await emit([number])


def numbers(receiver: Receiver) -> list[int]:
    return [int(event["number"]) for event in receiver.json]


async def status_of(town: Town, channel: str = "webhook-1") -> ChannelStatus:
    statuses = await town.run(queue.statuses(town.operations.keys))
    return next((status for status in statuses if status.name == channel), ChannelStatus(name=channel))


async def wait_for_status(
    town: Town, condition: Callable[[ChannelStatus], bool], channel: str = "webhook-1"
) -> ChannelStatus:
    with trio.fail_after(DEADLINE_S):
        while not condition(status := await status_of(town, channel)):  # noqa: ASYNC110
            await trio.sleep(0.02)
    return status


async def test_an_event_arrives_as_the_manual_shows_it(town_dir: TownDirectory, receiver: Receiver) -> None:
    town_dir.configure(webhook(f"{receiver.url}/hook?a=b", events=["task_added"]))
    async with town_dir.open() as town:
        await town.add_task("write the manual", title="Grüße")
        await receiver.wait_for(1)
        (event,) = [event for event in await town.run(town.operations.latest_events(50)) if event.type == "task_added"]
    (request,) = receiver.taken
    assert request.json == event_shape(event)
    assert request.path == "/hook?a=b"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"].endswith(f"_{event.id}")
    assert "webhook-signature" not in request.headers


async def test_a_request_is_signed_as_standard_webhooks_says(
    town_dir: TownDirectory, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    town_dir.configure(webhook(receiver.url, secret="env:HOOK_SECRET"))
    async with town_dir.open() as town:
        await tick(town, 1)
        await receiver.wait_for(1)
    (request,) = receiver.taken
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"


async def test_the_signature_of_the_specification_comes_out() -> None:
    body = b'{"test": 2432232314}'
    signature = sign(signing_key(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_receiver_that_is_away_gets_everything_in_order_when_it_is_back(town_dir: TownDirectory) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    town_dir.configure(webhook(f"http://127.0.0.1:{port}"))
    async with town_dir.open() as town:
        await tick(town, 1, 2, 3)
        status = await wait_for_status(town, lambda status: status.failure is not None and status.queued == 3)
        assert status.failing_since is not None
        with Receiver(port) as receiver:
            await tick(town, 4)
            await receiver.wait_for(4)
            assert numbers(receiver) == [1, 2, 3, 4]
            await wait_for_status(town, lambda status: not status.queued and status.failure is None)


async def test_an_answer_of_500_is_tried_again_with_the_same_id(town_dir: TownDirectory, receiver: Receiver) -> None:
    receiver.behave = lambda _: 500 if len(receiver.seen) < 4 else 200
    town_dir.configure(webhook(receiver.url))
    async with town_dir.open() as town:
        await tick(town, 1, 2)
        await receiver.wait_for(2)
    assert numbers(receiver) == [1, 2]
    first = receiver.taken[0].headers["webhook-id"]
    assert [request.headers["webhook-id"] for request in receiver.seen[:4]] == [first] * 4


async def test_what_a_receiver_refuses_is_a_dead_letter_and_can_be_delivered_again(
    town_dir: TownDirectory, receiver: Receiver
) -> None:
    receiver.behave = lambda request: 422 if request.json["number"] == "2" else 204
    town_dir.configure(webhook(receiver.url))
    async with town_dir.open() as town:
        await tick(town, 1, 2, 3)
        await receiver.wait_for(2)
        status = await wait_for_status(town, lambda status: status.dead == 1 and not status.queued)
        assert (status.delivered, status.failure) == (2, None)
        keys = town.operations.keys
        (letter,) = await town.run(queue.dead_letters(keys, "webhook-1", limit=9))
        assert letter.reason == "it answered 422 Unprocessable Entity"
        receiver.behave = lambda _: 204
        assert await town.run(queue.redeliver(keys, "webhook-1", letter.id[:13])) == (letter.id,)
        await receiver.wait_for(3)
    assert numbers(receiver) == [1, 3, 2]
    refused = next(request for request in receiver.seen if request.json["number"] == "2")
    assert receiver.taken[-1].headers["webhook-id"] == refused.headers["webhook-id"]


async def test_what_is_never_taken_is_given_up_after_its_time(town_dir: TownDirectory, receiver: Receiver) -> None:
    receiver.behave = lambda _: 503
    town_dir.configure(webhook(receiver.url) + "[plugins.notify]\ngive_up_after_s = 1\ndead_letters = 2\n")
    async with town_dir.open() as town:
        await tick(town, 1, 2, 3)
        status = await wait_for_status(town, lambda status: status.dead + status.dropped == 3)
        assert (status.dead, status.dropped, status.queued) == (2, 1, 0)
        letters = await town.run(queue.dead_letters(town.operations.keys, "webhook-1", limit=9))
        assert {letter.reason for letter in letters} == {"it answered 503 Service Unavailable"}
        notice = await town.run(town.operations.plugin_field("notify", "notice"))
        assert notice == "not delivered: 3 (1 of them dropped); see: tt notify dead"


async def test_one_that_always_breaks_the_receiver_holds_the_others_up_for_ten_attempts(
    town_dir: TownDirectory, receiver: Receiver
) -> None:
    receiver.behave = lambda request: 500 if request.json["number"] == "1" else 204
    town_dir.configure(webhook(receiver.url))
    async with town_dir.open() as town:
        await tick(town, 1, 2)
        await receiver.wait_for(1)
        await wait_for_status(town, lambda status: status.dead == 1)
    assert numbers(receiver) == [2]
    assert len(receiver.seen) == 11


async def test_a_receiver_that_hangs_or_is_slow_holds_nobody_up(town_dir: TownDirectory, receiver: Receiver) -> None:
    receiver.behave = lambda _: None
    with Receiver() as slow, Receiver() as quick:
        slow.delay_s = 0.1
        town_dir.configure(
            'default_cli = "echo"\n'
            + webhook(receiver.url, events=["*"], name="hanging")
            + webhook(slow.url, events=["*"], name="slow")
            + webhook(quick.url, events=["*"], name="quick")
        )
        with trio.fail_after(DEADLINE_S):
            async with town_dir.open() as town:
                agent = await town.spawn("ada", cli="echo")
                task = await agent.assign("go on")
                assert (await town.wait_for_task(task.id)).state == "completed"
                await quick.wait_until(lambda: any(event["type"] == "round_ended" for event in quick.json))
                assert len(receiver.seen) == 1
            began = trio.current_time()
        assert trio.current_time() - began < DEADLINE_S
    assert not receiver.taken


async def test_a_redirect_is_followed_on_the_same_host_only(town_dir: TownDirectory, receiver: Receiver) -> None:
    with Receiver() as other:

        def redirect(request: ReceivedRequest) -> Any:
            if request.path == "/hook":
                return 308, {"location": "/moved"}
            return 204

        receiver.behave = redirect
        town_dir.configure(webhook(f"{receiver.url}/hook"))
        async with town_dir.open() as town:
            await tick(town, 1)
            await receiver.wait_for(1)
            assert receiver.taken[0].path == "/moved"
            receiver.behave = lambda _: (307, {"location": f"{other.url}/elsewhere"})
            await tick(town, 2)
            status = await wait_for_status(town, lambda status: status.failure is not None)
            assert "redirects to 127.0.0.1" in str(status.failure)
        assert not other.seen


async def test_several_events_in_a_request_are_an_array_and_a_refused_one_is_found(
    town_dir: TownDirectory, receiver: Receiver
) -> None:
    receiver.behave = lambda request: 400 if "6" in {event["number"] for event in request.json} else 200
    town_dir.configure(webhook(receiver.url, batch=8))
    async with town_dir.connect() as town:
        await tick(town, *range(20))
    async with town_dir.open() as town:
        status = await wait_for_status(town, lambda status: status.dead == 1 and not status.queued)
    assert status.delivered == 19
    assert numbers(receiver) == [number for number in range(20) if number != 6]
    assert max(len(request.json) for request in receiver.taken) == 8


async def test_a_new_channel_begins_a_minute_ago(town_dir: TownDirectory, receiver: Receiver) -> None:
    town_dir.configure(webhook(receiver.url))
    async with town_dir.connect() as town:
        keys = town.operations.keys
        minutes_ago = f"{int(time.time() - 90) * 1000}-1"
        old = ("XADD", keys.events, minutes_ago, "type", "tick", "number", "1")
        await town.run(Operation(old, bytes.decode))
        await tick(town, 2)
    async with town_dir.open():
        await receiver.wait_for(1)
    assert numbers(receiver) == [2]


async def test_a_restart_goes_on_behind_the_last_delivery(town_dir: TownDirectory, receiver: Receiver) -> None:
    town_dir.configure(webhook(receiver.url))
    async with town_dir.open() as town:
        await tick(town, 1, 2)
        await receiver.wait_for(2)
        await wait_for_status(town, lambda status: not status.queued)
    async with town_dir.connect() as town:
        await tick(town, 3)
    async with town_dir.open() as town:
        await tick(town, 4)
        await receiver.wait_for(4)
    assert numbers(receiver) == [1, 2, 3, 4]


async def test_the_last_events_of_a_kernel_are_sent_before_it_ends(town_dir: TownDirectory, receiver: Receiver) -> None:
    town_dir.configure(webhook(receiver.url))
    async with town_dir.open() as town:
        await wait_for_status(town, lambda _: True)
        await tick(town, 1)
        await receiver.wait_for(1)
        await tick(town, 2, 3)
    assert numbers(receiver) == [1, 2, 3]


@pytest.mark.deadline_s(60)
async def test_a_receiver_that_begins_to_hang_at_the_end_does_not_hold_the_kernel_up(
    town_dir: TownDirectory, receiver: Receiver
) -> None:
    town_dir.configure(webhook(receiver.url, timeout_s=300))
    async with town_dir.open() as town:
        await tick(town, 1)
        await receiver.wait_for(1)
        receiver.behave = lambda _: None
        await tick(town, 2, 3)
    assert numbers(receiver) == [1]


async def test_ten_thousand_events_at_once_arrive_with_bounded_memory(
    town_dir: TownDirectory, receiver: Receiver
) -> None:
    count, streams = 10_000, 20
    town_dir.configure(webhook(receiver.url, batch=100))
    async with town_dir.open() as town:
        await tick(town, -1)
        await receiver.wait_for(1)
        receiver.taken.clear()
        before_bytes = resident_bytes()
        async with trio.open_nursery() as nursery:
            for stream in range(streams):
                nursery.start_soon(tick, town, *range(stream, count, streams))
        most_bytes = resident_bytes()
        with trio.fail_after(DEADLINE_S):
            while len(receiver.json) < count:
                most_bytes = max(most_bytes, resident_bytes())
                await trio.sleep(0.2)
        assert (await status_of(town)).dropped == 0
    assert sorted(numbers(receiver)) == list(range(count))
    ids = [tuple(map(int, event["id"].split("-"))) for event in receiver.json]
    assert ids == sorted(ids)
    assert most_bytes - before_bytes < 100 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_killed_kernel_loses_nothing(
    town_dir: TownDirectory, receiver: Receiver, start_kernel: KernelStarter
) -> None:
    town_dir.configure(webhook(receiver.url))
    receiver.delay_s = 0.02
    async with town_dir.connect() as town:
        kernel = start_kernel()
        await tick(town, *range(30))
        await receiver.wait_for(5)
        kernel.kill()
        start_kernel()
        await tick(town, *range(30, 40))
        await receiver.wait_until(lambda: set(numbers(receiver)) == set(range(40)))
    first = list(dict.fromkeys(numbers(receiver)))
    assert first == list(range(40))
