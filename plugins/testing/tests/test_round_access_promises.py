"""A way to the town that keeps every promise, and ones that break some: the kit has to name those promises and no others."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tinytown.config import Permissions
from tinytown.contracts import RoundAccess
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.redis import address_of
from tinytown.town import Town
from tinytown_authority import gateway
from tinytown_authority.gateway import Gateway
from tinytown_authority.rules import Rules
from tinytown_authority.settings import Settings
from tinytown_testing import PROMISES, check_round_access

DEADLINE_S = 120.0
SLACK_S = 2.0
FDS: list[int] = []


def good() -> RoundAccess:
    return Gateway(Settings())


class NameOfTwoWords(Gateway):
    name = "no good"


class Server(RoundAccess):
    """Hands out the server itself: a round is a person."""

    name = "server"

    @asynccontextmanager
    async def open(
        self, town: Town, agent: Agent, tasks: Sequence[Task], permissions_of: Callable[[Agent], Permissions]
    ) -> AsyncGenerator[str]:
        address = address_of(town.root, town.config)
        yield f"unix://{address.path}?password_file={address.password_file}"


class Nowhere(Server):
    """Leads nowhere."""

    @asynccontextmanager
    async def open(self, *arguments: Any) -> AsyncGenerator[str]:
        yield "unix:///nowhere/s"


class LeavesAFd(Gateway):
    @asynccontextmanager
    async def open(self, *arguments: Any) -> AsyncGenerator[str]:
        FDS.append(os.open(os.devnull, os.O_RDONLY))
        async with super().open(*arguments) as url:
            yield url


@pytest.fixture(autouse=True)
def _nothing_stays() -> Generator[None]:
    yield
    while FDS:
        os.close(FDS.pop())


async def test_our_gateway_keeps_every_promise() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_round_access(good)
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["round access"]), str(report)


@pytest.mark.parametrize(
    ("broken", "make"),
    [
        (["U1"], lambda: NameOfTwoWords(Settings())),
        (["U2"], Nowhere),
        (["U3", "U4", "U5", "U6"], Server),
        (["U7"], lambda: LeavesAFd(Settings())),
    ],
    ids=["name", "nowhere", "server", "fd"],
)
async def test_a_broken_way_breaks_exactly_these_promises(broken: list[str], make: Callable[[], RoundAccess]) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_round_access(make, slack_s=SLACK_S)
    assert [result.promise.id for result in report.broken] == broken, str(report)


async def test_a_way_that_approves_everything_or_knows_no_token_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, trio.fail_after(DEADLINE_S):

        async def approve(self: Rules, words: list[bytes]) -> list[bytes]:
            return words

        patched.setattr(Rules, "approve", approve)
        report = await check_round_access(good, only={"U1", "U2", "U4"})
        assert [result.promise.id for result in report.broken] == ["U4"], str(report)
    monkeypatch.setattr(gateway.hmac, "compare_digest", lambda *_: True)
    with trio.fail_after(DEADLINE_S):
        report = await check_round_access(good, only={"U2", "U5"})
    assert [result.promise.id for result in report.broken] == ["U5"], str(report)
