"""A server's clock that is set does not change how long anything takes.

That everything lies later than it did, by as much as a host's own counter has not moved, is what a clock that was set back
looks like. `tests/kernel/test_clock_steps.py` has a server whose clock really is.
"""

from __future__ import annotations

import pytest
from tinytown.model.messages import Query

from tests.protocol.conftest import BareTown

LEASE_MS = 10_000
HOUR_MS = 3_600_000
SOON_MS = 60_000


class Clocked:
    """A town with two hosts, mail that is due later, a held task, a parked account and an agent that waits for a host."""

    def __init__(self, town: BareTown) -> None:
        self.town, self.boot_ms = town, {"a": 1_000_000, "b": 5_000}
        operations = town.operations
        for host in "ab":
            town.run(operations.register_host(host, lease_ms=LEASE_MS, details={"name": host, "backends": "shell"}))
        town.run(operations.create_agent("ann", cli="shell"))
        self.agent = town.run(operations.place_agents("a", ["shell"], count=1)).agents[0]
        self.beat("a")
        self.beat("b")
        town.run(operations.send("ann", Query(question="later"), not_before_ms=self.now() + SOON_MS, message_id="m"))
        town.run(operations.add_task("work", task_id="t"))
        town.command("ZADD", town.key("parked"), self.now() + SOON_MS, "vendor")
        town.command("ZADD", town.key("placement"), self.now() + SOON_MS, "waiting", 0, "at once")
        town.command("ZADD", town.key("holds"), self.now() + SOON_MS, "t")
        town.command("HSET", town.key("task:t"), "held_until", self.now() + SOON_MS)

    def now(self) -> int:
        seconds, microseconds = self.town.command("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def beat(self, host: str, after_ms: int = 0) -> None:
        """A heartbeat, so long by the host's own counter after the last one."""
        self.boot_ms[host] += after_ms
        operations = self.town.operations
        self.town.run(operations.heartbeat(host, lease_ms=LEASE_MS, boot_ms=self.boot_ms[host]))

    def move(self, by_ms: int) -> None:
        """Everything that is stored lies later by so much, as if the server's clock had been set back."""
        box = f"mail:{self.agent.id}"
        for name in ("hosts", "parked", "holds", "placement", f"{box}:delayed"):
            for member in self.town.command("ZRANGE", self.town.key(name), "(0", 200_000_000_000_000, "BYSCORE"):
                self.town.command("ZINCRBY", self.town.key(name), by_ms, member)
        self.town.command("HINCRBY", self.town.key("task:t"), "held_until", by_ms)
        self.town.command("HINCRBY", self.town.key("meta"), "clock_at", by_ms)
        for host in self.boot_ms:
            if self.town.command("EXISTS", self.town.key(f"host:{host}")):
                self.town.command("HINCRBY", self.town.key(f"host:{host}"), "clock", by_ms)

    def left_ms(self) -> dict[str, int]:
        """How long it takes from now on until each thing is due."""
        town, now = self.town, self.now()
        scores = {
            "mail": town.command("ZSCORE", town.key(f"mail:{self.agent.id}:delayed"), "qm"),
            "account": town.command("ZSCORE", town.key("parked"), "vendor"),
            "hold": town.command("ZSCORE", town.key("holds"), "t"),
            "held_until": town.command("HGET", town.key("task:t"), "held_until"),
            "placement": town.command("ZSCORE", town.key("placement"), "waiting"),
        }
        return {name: int(float(score)) - now for name, score in scores.items()}

    def hosts(self) -> list[str]:
        return [host.id for host in self.town.run(self.town.operations.hosts())]


@pytest.fixture
def clocked(town: BareTown) -> Clocked:
    return Clocked(town)


@pytest.mark.parametrize("back_ms", [2 * HOUR_MS, -2 * HOUR_MS, 6_000, -6_000])
def test_what_is_due_in_a_minute_is_due_in_a_minute_whatever_the_clock_was_set_to(
    clocked: Clocked, back_ms: int
) -> None:
    clocked.move(back_ms)
    clocked.beat("a")
    left = clocked.left_ms()
    assert all(SOON_MS - 7_000 < ms <= SOON_MS + 5_000 for ms in left.values()), left
    assert sorted(clocked.hosts()) == ["a", "b"]
    deadline = int(float(clocked.town.command("ZSCORE", clocked.town.key("hosts"), "b")))
    assert LEASE_MS - 1_000 < deadline - clocked.now() < 3 * LEASE_MS  # time to report itself in
    clocked.beat("b")  # which saw the same step, and adds it no second time
    again = clocked.left_ms()
    assert all(SOON_MS - 7_000 < ms <= SOON_MS + 5_000 for ms in again.values()), again
    assert clocked.town.command("ZSCORE", clocked.town.key("placement"), "at once") == 0
    assert sorted(clocked.hosts()) == ["a", "b"]


@pytest.mark.parametrize("back_ms", [2 * HOUR_MS, -2 * HOUR_MS])
def test_what_is_given_before_the_step_is_noticed_is_due_when_it_says(clocked: Clocked, back_ms: int) -> None:
    clocked.move(back_ms)
    for place in ("parked", "placement"):
        clocked.town.command("ZADD", clocked.town.key(place), clocked.now() + SOON_MS, "new")
    clocked.beat("a")
    for place in ("parked", "placement"):
        left = int(float(clocked.town.command("ZSCORE", clocked.town.key(place), "new"))) - clocked.now()
        assert SOON_MS - 5_000 < left <= SOON_MS
    assert all(SOON_MS - 5_000 < ms <= SOON_MS + 5_000 for ms in clocked.left_ms().values())


@pytest.mark.parametrize("back_ms", [2 * HOUR_MS, -2 * HOUR_MS])
def test_mail_that_waits_for_the_next_round_keeps_its_place(clocked: Clocked, back_ms: int) -> None:
    box = clocked.town.key(f"mail:{clocked.agent.id}:delayed")
    clocked.town.command("ZADD", box, 203_000_000_000_007, "cone", 203_000_000_000_009, "ctwo")
    before = clocked.town.command("ZRANGE", box, 200_000_000_000_000, "+inf", "BYSCORE", "WITHSCORES")
    assert len(before) == 2
    clocked.move(back_ms)
    clocked.beat("a")
    assert clocked.town.command("ZRANGE", box, 200_000_000_000_000, "+inf", "BYSCORE", "WITHSCORES") == before


def test_a_jump_forward_ends_no_lease_and_takes_no_agent_from_its_host(clocked: Clocked) -> None:
    clocked.move(-2 * HOUR_MS)
    clocked.beat("b")
    assert sorted(clocked.hosts()) == ["a", "b"]
    agent = clocked.town.run(clocked.town.operations.agent("ann"))
    assert (agent.host, agent.token) == ("a", clocked.agent.token)
    clocked.beat("a")


def test_a_lease_that_ends_without_a_step_ends(clocked: Clocked) -> None:
    clocked.town.command("ZADD", clocked.town.key("hosts"), clocked.now() - 1, "a")
    clocked.beat("b")
    assert clocked.hosts() == ["b"]


def test_a_clock_that_was_set_back_while_no_kernel_ran_is_noticed_by_the_next(clocked: Clocked) -> None:
    town, operations = clocked.town, clocked.town.operations
    for host in "ab":
        town.run(operations.deregister_host(host, reason="stopped"))
    clocked.move(2 * HOUR_MS)
    town.run(operations.register_host("c", lease_ms=LEASE_MS, details={"name": "c"}))
    town.run(operations.heartbeat("c", lease_ms=LEASE_MS, boot_ms=7))
    left = clocked.left_ms()
    assert all(SOON_MS - 5_000 < ms <= SOON_MS + 5_000 for ms in left.values()), left


def test_a_heartbeat_that_took_long_and_clocks_that_drift_change_nothing_for_long(clocked: Clocked) -> None:
    clocked.beat("a", -8_000)  # sent 8 s ago
    clocked.beat("a", 8_000)
    clocked.beat("b", 3_000)
    left = clocked.left_ms()
    assert all(SOON_MS - 12_000 < ms <= SOON_MS + 5_000 for ms in left.values()), left
    for _ in range(10):
        clocked.beat("a", 1_000)  # a counter that runs fast, by less than a step at a time
    assert abs(int(clocked.town.command("HGET", clocked.town.key("meta"), "clock_offset"))) < 5_000


def test_a_lease_of_the_town_that_a_clock_left_behind_is_taken(town: BareTown) -> None:
    acquire = town.operations.acquire_lease
    assert town.run(acquire("sink", "one", lease_ms=LEASE_MS))
    assert not town.run(acquire("sink", "two", lease_ms=LEASE_MS))
    town.command("PEXPIRE", town.key("lease:sink"), 2 * HOUR_MS)
    assert town.run(acquire("sink", "two", lease_ms=LEASE_MS))
