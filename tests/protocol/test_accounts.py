"""Accounts that are throttled: who waits, until when, and what lets them continue."""

from __future__ import annotations

import itertools

import pytest
from tinytown.model.agents import Agent
from tinytown.model.messages import Query
from tinytown.model.results import Batch, Delivery
from tinytown.model.time import parse_rfc3339
from tinytown_cli import administration
from tinytown_ops.costs import ledger

from tests.protocol.conftest import BareTown

HOUR_MS = 3_600_000
ACCOUNTS = {"claude": "max", "claude-opus": "max"}

_numbers = itertools.count(1)


class KernelContext:
    """A town with one host that has three kinds of agents; two of them share an account."""

    def __init__(self, town: BareTown) -> None:
        self.town = town
        self.operations = town.operations
        for name, kind in (("ann", "claude"), ("bob", "claude-opus"), ("eve", "codex")):
            town.run(self.operations.create_agent(name, cli=kind))
        town.run(self.operations.register_host("h", lease_ms=HOUR_MS, details={"name": "here"}))
        placed = town.run(self.operations.place_agents("h", [*ACCOUNTS, "codex"], count=9, accounts=ACCOUNTS))
        self.agents = {agent.name: agent for agent in placed.agents}

    def claim(self, name: str) -> Batch:
        agent = self.agents[name]
        operation = self.operations.claim(
            agent.id, token=f"c{next(_numbers)}", fence=agent.token or "", lease_ms=HOUR_MS
        )
        return self.town.run(operation)

    def settle(
        self, name: str, deliveries: tuple[Delivery, ...] = (), throttled_ms: int | None = -1, jitter: float = 1.0
    ) -> None:
        agent: Agent = self.agents[name]
        operation = self.operations.settle_round(
            agent.id,
            agent.token or "",
            f"run{next(_numbers)}",
            deliveries,
            outcome="finished" if throttled_ms is None else "rate_limited",
            mail="return" if throttled_ms is not None else "ack",
            reason="too many requests",
            throttled_ms=throttled_ms,
            jitter=jitter,
        )
        self.town.run(operation)

    def wait_ms(self, account: str) -> int:
        """How long the account is parked from now on."""
        found = next(each for each in self.town.run(ledger.accounts(self.operations.keys)) if each.name == account)
        return parse_rfc3339(found.parked_until) - self.claim("ann").now_ms if found.parked_until else 0

    def over(self, account: str) -> None:
        """Let the time be over: nobody waits for minutes in a test."""
        self.town.command("ZADD", self.town.key("parked"), 1, account)


@pytest.fixture
def desk(town: BareTown) -> KernelContext:
    return KernelContext(town)


def test_a_throttled_account_holds_all_its_agents_and_nobody_else(desk: KernelContext) -> None:
    for name in desk.agents:
        desk.town.run(desk.operations.send(name, Query(question="?")))
    batch = desk.claim("ann")
    desk.settle("ann", batch.deliveries, throttled_ms=HOUR_MS)
    for name in ("ann", "bob"):
        held = desk.claim(name)
        assert held.deliveries == ()
        assert held.held is not None
        assert held.held.startswith('its account "max" is throttled until 20')
        assert held.next_due_ms is not None
        assert HOUR_MS - 10_000 < held.next_due_ms - held.now_ms <= HOUR_MS
    assert len(desk.claim("eve").deliveries) == 1
    counts = desk.town.run(desk.operations.agent("ann")).mail
    assert (counts.queued, counts.leased, counts.delayed) == (1, 0, 0)
    accounts = {each.name: each for each in desk.town.run(ledger.accounts(desk.operations.keys))}
    assert (accounts["max"].kinds, accounts["max"].agents, accounts["codex"].parked_until) == (
        ("claude", "claude-opus"),
        2,
        None,
    )


def test_an_agent_without_mail_is_held_too_so_that_it_takes_no_task_from_the_backlog(desk: KernelContext) -> None:
    desk.settle("ann", throttled_ms=HOUR_MS)
    assert desk.claim("bob").held


def test_a_drained_agent_with_nothing_left_is_not_held(desk: KernelContext) -> None:
    desk.settle("ann", throttled_ms=HOUR_MS)
    desk.town.run(desk.operations.set_desired_state("bob", "drained"))
    assert desk.claim("bob").held is None
    desk.town.run(desk.operations.set_desired_state("ann", "drained"))
    desk.town.run(desk.operations.send("ann", Query(question="?")))
    assert desk.claim("ann").held


def test_the_human_side_is_never_held(desk: KernelContext) -> None:
    desk.settle("ann", throttled_ms=HOUR_MS)
    assert desk.town.run(desk.operations.claim("00000000-0000-0000-0000-000000000001", token="c")).held is None


def test_throttles_without_a_time_grow_up_to_a_bound_and_a_success_begins_anew(desk: KernelContext) -> None:
    waits: list[int] = []
    for _ in range(12):
        desk.settle("ann")
        waits.append(desk.wait_ms("max"))
        desk.over("max")
    assert [round(ms / 1000) for ms in waits] == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]
    desk.settle("ann", throttled_ms=None)
    desk.settle("bob", jitter=0.0)
    assert 500 < desk.wait_ms("max") <= 1000  # the first again, and at the shorter end of it


def test_rounds_that_tell_of_the_same_throttle_are_one(desk: KernelContext) -> None:
    desk.settle("ann")
    before = desk.wait_ms("max")
    for _ in range(20):
        desk.settle("bob")
    assert desk.wait_ms("max") <= before
    desk.over("max")
    desk.settle("ann")
    assert desk.wait_ms("max") <= 4000


@pytest.mark.parametrize(("named_ms", "longest_ms"), [(0, 2000), (499, 2000), (10**15, 31 * 24 * HOUR_MS)])
def test_a_time_that_cannot_be_meant_is_not_believed(desk: KernelContext, named_ms: int, longest_ms: int) -> None:
    desk.settle("ann", throttled_ms=named_ms)
    assert longest_ms - 5000 < desk.wait_ms("max") <= longest_ms


def test_a_later_time_counts_and_an_earlier_one_does_not(desk: KernelContext) -> None:
    desk.settle("ann", throttled_ms=HOUR_MS)
    desk.settle("bob", throttled_ms=1000)
    assert desk.wait_ms("max") > HOUR_MS - 10_000
    desk.settle("bob", throttled_ms=2 * HOUR_MS)
    assert desk.wait_ms("max") > 2 * HOUR_MS - 10_000


def test_people_let_an_account_go_on_and_its_throttles_are_forgotten(desk: KernelContext) -> None:
    desk.town.run(desk.operations.send("ann", Query(question="?")))
    desk.settle("ann")
    assert desk.town.run(administration.unpark_account(desk.operations.keys, "max", reason="asked by supervisor"))
    assert len(desk.claim("ann").deliveries) == 1
    assert not desk.town.run(administration.unpark_account(desk.operations.keys, "max"))
    assert not desk.town.run(administration.unpark_account(desk.operations.keys, "nobody's"))
    assert desk.town.command("EXISTS", desk.town.key("parked"), desk.town.key("throttles")) == 0


def test_parking_is_told_once_and_so_is_its_end(desk: KernelContext) -> None:
    desk.settle("ann", throttled_ms=HOUR_MS)
    desk.settle("bob")
    desk.over("max")
    for name in ("ann", "bob"):
        desk.claim(name)
    reported = [event for event in desk.town.events() if event["type"].startswith("account")]
    assert [(event["type"], event["account"], event["reason"]) for event in reported] == [
        ("account_parked", "max", "too many requests"),
        ("account_unparked", "max", "its time is over"),
    ]
