"""One round of the latency benchmark: `send URL MESSAGES` (starts the receiver itself), figures on stdout.

The receiver is another process with a link of its own. The mailbox is idle before each message; between messages the
sender times bare PINGs, over its link and over a blocking socket, so that both are of the same seconds.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import IO

import trio
from tinytown.model.messages import Informational
from tinytown.protocol.operation import Operation
from tinytown.protocol.operations import TownOperations
from tinytown.redis.link import open_link
from tinytown.redis.url import parse_url

from .doorbell import TOWN, Doorbells, set_up

IDLE_S = 0.005
DEADLINE_S = 100.0
PING: Operation[object] = Operation(("PING",), decode=lambda reply: reply)
CALLS = TownOperations(TOWN)


async def send(url: str, messages: int) -> dict[str, float]:
    """Send `messages` one by one to a receiver in another process; what both have measured."""
    pings_us: list[float] = []
    bare_us: list[float] = []
    async with open_link(parse_url(url)) as link:
        await set_up(link, CALLS)
        agent_id = (await link.run(CALLS.create_agent("receiver", cli="none"))).id
        with _bare_connection(url) as bare, _receiver(url, agent_id, messages) as answers:
            await trio.to_thread.run_sync(answers.readline)  # it is ready
            for _ in range(messages):
                await trio.sleep(IDLE_S)  # idle is the state to measure
                began_at = time.monotonic()
                await link.run(PING)
                pings_us.append((time.monotonic() - began_at) * 1e6)
                await trio.sleep(IDLE_S)
                bare_us.append(_bare_ping_us(bare))
                await trio.sleep(IDLE_S)
                stamp = Informational(summary=f"{time.monotonic():.9f}".ljust(300))
                await link.run(CALLS.send(agent_id, stamp))
            answer = await trio.to_thread.run_sync(answers.readline)
    figures: dict[str, float] = json.loads(answer)
    ping_us, blocking_us = statistics.median(pings_us), statistics.median(bare_us)
    return {
        **figures,
        "ping_p50_us": ping_us,
        "blocking_ping_p50_us": blocking_us,
        "round_trips": figures["received_p50_us"] / ping_us,
        "blocking_round_trips": figures["received_p50_us"] / blocking_us,
    }


async def receive(url: str, agent_id: str, messages: int) -> None:
    """Wait for the bell, claim, note the time, acknowledge, note the time; print the figures at the end."""
    received_us: list[float] = []
    acked_us: list[float] = []
    bells = Doorbells(CALLS)
    async with open_link(parse_url(url), on_push=bells.rung) as link:
        await link.subscribe(CALLS.keys.host_channel(agent_id))
        print("ready", flush=True)
        claims = 0
        while len(received_us) < messages:
            bell = bells.armed(agent_id)
            claims += 1
            batch = await link.run(CALLS.claim(agent_id, token=f"claim-{claims}", count=1))
            arrived_at = time.monotonic()
            if not batch.deliveries:
                await bell.wait()
                continue
            message = batch.deliveries[0].message
            assert message is not None
            sent_at = float(message.body.text)
            received_us.append((arrived_at - sent_at) * 1e6)
            await link.run(CALLS.ack(agent_id, batch.deliveries))
            acked_us.append((time.monotonic() - sent_at) * 1e6)
    p50_us, p99_us = _percentiles(received_us)
    print(
        json.dumps({"received_p50_us": p50_us, "received_p99_us": p99_us, "acked_p50_us": statistics.median(acked_us)})
    )


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def _bare_connection(url: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(url.removeprefix("unix://"))
    return connection


def _bare_ping_us(connection: socket.socket) -> float:
    began_at = time.monotonic()
    connection.sendall(b"PING\r\n")
    connection.recv(64)
    return (time.monotonic() - began_at) * 1e6


@contextlib.contextmanager
def _receiver(url: str, agent_id: str, messages: int) -> Iterator[IO[bytes]]:
    argv = [sys.executable, "-m", __spec__.name, "receive", url, agent_id, str(messages)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            yield child.stdout
        finally:
            child.terminate()


async def main(role: str, url: str, *words: str) -> None:
    """Be the sender (`send URL MESSAGES`) or the receiver that it starts (`receive URL AGENT_ID MESSAGES`)."""
    with trio.fail_after(DEADLINE_S):
        if role == "receive":
            await receive(url, words[0], int(words[1]))
        else:
            print(json.dumps(await send(url, int(words[0]))))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], *sys.argv[3:])
