"""Which host takes an agent: by backend, labels, room and load, in whatever order hosts ask."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from tinytown.errors import UsageError
from tinytown.model.agents import Agent
from tinytown_cli import administration

from tests.protocol.conftest import BareTown

HOUR_MS = 3_600_000


class Place:
    """A town to which hosts and agents come."""

    def __init__(self, town: BareTown) -> None:
        self.town = town
        self.operations = town.operations
        self.run = town.run
        self.backends: dict[str, list[str]] = {}
        self.capacity: dict[str, int] = {}
        self.at_once = 1000

    def host(
        self, name: str, *, backends: str = "shell", labels: str = "", capacity: int = 100, lease_ms: int = HOUR_MS
    ) -> None:
        about = {
            "name": name,
            "machine": name,
            "root": "/town",
            "backends": backends,
            "capacity": str(capacity),
            "labels": f"host={name} {labels}",
        }
        self.run(self.operations.register_host(name, lease_ms=lease_ms, details=about))
        self.backends[name], self.capacity[name] = backends.split(), capacity

    def agent(self, name: str, **options: Any) -> None:
        self.run(self.operations.create_agent(name, **{"cli": "shell", **options}))

    def ask(self, host: str) -> list[Agent]:
        """What `host` gets when it asks for as many as it has room for."""
        mine = sum(agent.host == host for agent in self.run(self.operations.agents()))
        room = self.capacity[host] - mine
        room = min(room, self.at_once)
        return (
            list(self.run(self.operations.place_agents(host, self.backends[host], count=room)).agents) if room else []
        )

    def spread(self) -> Counter[str | None]:
        return Counter(agent.host for agent in self.run(self.operations.agents()))

    def reason(self, name: str) -> str | None:
        return self.run(self.operations.agent(name)).reason


@pytest.fixture
def place(town: BareTown) -> Place:
    return Place(town)


@pytest.mark.parametrize("order", ["abc", "cba", "bbbacb"])
def test_agents_that_come_at_once_are_spread_evenly_in_whatever_order_hosts_ask(place: Place, order: str) -> None:
    for host in "abc":
        place.host(host)
    for number in range(30):
        place.agent(f"x{number}")
    for host in order:
        place.ask(host)
    assert place.spread() == {"a": 10, "b": 10, "c": 10}


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_hosts_that_take_a_few_at_a_time_leave_none_to_each_other_for_ever(place: Place, at_once: int) -> None:
    place.at_once = at_once
    for host in "ab":
        place.host(host, capacity=10_000)
    for number in range(4):
        place.agent(f"x{number}", labels=["host=a"])
    while place.ask("a"):
        pass
    for number in range(12):
        place.agent(f"y{number}")
    while place.ask("a") or place.ask("b"):
        pass
    assert place.spread() == {"a": 8, "b": 8}


def test_the_least_loaded_host_takes_an_agent_and_load_is_measured_by_room(place: Place) -> None:
    place.host("small", capacity=10)
    place.host("large", capacity=40)
    for number in range(25):
        place.agent(f"x{number}")
        for host in random.Random(number).sample(["small", "large"], 2):
            place.ask(host)
    assert place.spread() == {"small": 5, "large": 20}


def test_a_host_that_is_full_is_not_waited_for(place: Place) -> None:
    place.host("full", capacity=1)
    place.host("free", capacity=2)
    for number in range(4):
        place.agent(f"x{number}")
    place.ask("free")
    place.ask("full")
    assert place.spread() == {"full": 1, "free": 2, None: 1}
    waiting = next(agent for agent in place.run(place.operations.agents()) if agent.host is None)
    place.run(place.operations.register_host("other", lease_ms=HOUR_MS, details={"backends": "codex"}))
    place.run(place.operations.place_agents("other", ["codex"], count=5))
    assert place.reason(waiting.name) == "waiting for room: every kernel that could take it is full"


def test_an_agent_runs_only_where_all_of_its_labels_are_and_says_what_is_missing(place: Place) -> None:
    place.host("plain")
    place.host("strong", labels="gpu big")
    place.agent("gina", labels=["gpu", "big"])
    place.agent("nora", labels=["gpu", "arm"])
    place.agent("carl", cli="codex")
    place.agent("homer", labels=["host=plain"])
    place.agent("away", labels=["host=elsewhere"])
    for host in ("plain", "strong", "plain"):
        place.ask(host)
    hosts = {agent.name: agent.host for agent in place.run(place.operations.agents())}
    assert hosts == {"gina": "strong", "homer": "plain", "nora": None, "carl": None, "away": None}
    assert (
        place.reason("nora")
        == 'waiting for a kernel with the backend "shell", with the label "gpu", with the label "arm"'
    )
    assert place.reason("carl") == 'waiting for a kernel with the backend "codex"'
    assert place.reason("away") == 'waiting for a kernel with the backend "shell", on host "elsewhere"'
    place.host("arm", labels="gpu arm")
    place.ask("arm")
    assert place.run(place.operations.agent("nora")).host == "arm"


def test_an_agent_with_a_session_goes_back_to_where_it_was(place: Place) -> None:
    for host in ("a", "b"):
        place.host(host)
    place.agent("ada")
    (ada,) = place.ask("a") or place.ask("b")
    home = ada.host
    assert home
    other = "b" if home == "a" else "a"
    settle = place.operations.settle_round(
        ada.id, ada.token or "", "run", (), outcome="finished", mail="ack", session_id="s1"
    )
    place.run(settle)
    for number in range(4):
        place.agent(f"x{number}", labels=[f"host={home}"])
    place.ask(home)
    place.run(place.operations.release_agent(ada.id, ada.token or "", "suspended", retry_ms=0))
    assert place.ask(other) == []
    assert [agent.name for agent in place.ask(home)] == ["ada"]
    place.run(place.operations.deregister_host(home, reason="gone"))
    assert "ada" in [agent.name for agent in place.ask(other)]


def test_a_host_that_has_not_renewed_its_lease_for_long_is_not_waited_for(place: Place) -> None:
    place.host("late", lease_ms=HOUR_MS)
    place.host("here")
    place.agent("x0", labels=["host=here"])
    place.ask("here")
    place.agent("ada")
    assert place.ask("here") == []  # it is for the other one
    shift = "redis.call('ZINCRBY', KEYS[1] .. ':hosts', ARGV[1], 'late')"
    place.town.command("EVAL", shift, 1, place.town.base, -(HOUR_MS * 2 // 3))
    assert [agent.name for agent in place.ask("here")] == ["ada"]


def test_a_host_that_is_about_to_leave_is_not_waited_for(place: Place) -> None:
    place.host("leaving")
    place.host("staying")
    place.agent("x0", labels=["host=staying"])
    place.ask("staying")
    place.agent("ada")
    assert place.ask("staying") == []
    place.run(place.operations.heartbeat("leaving", lease_ms=HOUR_MS, capacity=0))
    assert [agent.name for agent in place.ask("staying")] == ["ada"]


@pytest.mark.parametrize("label", ["", " ", "a b", "-x", "x" * 129, "🦆", "a\nb", "a,b"])
def test_what_is_no_label_is_refused(place: Place, label: str) -> None:
    with pytest.raises(UsageError, match="expected a label"):
        place.operations.create_agent("ada", cli="shell", labels=[label])


@pytest.mark.parametrize("hindrance", ["no host has its label", "its account is parked", "its budget is spent"])
def test_a_task_wakes_a_sleeper_that_can_begin_before_one_that_cannot(place: Place, hindrance: str) -> None:
    place.host("a", backends="shell other", labels="gpu")
    place.agent("ann", role="dev", labels=["gpu"])
    place.agent("bob", role="dev", cli="other")
    for agent in place.ask("a"):
        place.run(place.operations.release_agent(agent.id, agent.token or "", "suspended"))
        place.town.command("ZADD", place.town.key("asleep"), 1 if agent.name == "ann" else 2, agent.id)
    if hindrance == "no host has its label":
        place.run(place.operations.deregister_host("a", reason="gone"))
        place.host("b", backends="shell other")
    elif hindrance == "its account is parked":
        place.town.command("ZADD", place.town.key("parked"), 9_999_999_999_999, "shell")
    else:
        place.run(place.operations.set_budgets({"agent_usd ann": 0}))
    for number in range(2):
        place.run(place.operations.add_task("work", task_id=f"t{number}", role="dev"))
        woken = place.town.command("ZRANGE", place.town.key("placement"), 0, -1)
        names = {place.run(place.operations.agent(id_.decode())).name for id_ in woken}
        assert names == ({"bob"} if number == 0 else {"ann", "bob"})


@pytest.mark.parametrize("fate", ["paused", "stopped", "drained", "error", "removed"])
def test_a_task_whose_woken_agent_goes_away_wakes_the_next(place: Place, fate: Any) -> None:
    place.host("a")
    for number, name in enumerate(("ann", "bob")):
        place.agent(name, role="dev")
        (agent,) = place.ask("a")
        place.run(place.operations.release_agent(agent.id, agent.token or "", "suspended"))
        place.town.command("ZADD", place.town.key("asleep"), number + 1, agent.id)
    place.run(place.operations.add_task("work", role="dev"))
    if fate == "removed":
        place.run(administration.remove_agent(place.operations.keys, "ann", force=True))
    elif fate == "error":
        (ann,) = place.ask("a")
        place.run(place.operations.release_agent(ann.id, ann.token or "", "error", reason="crashed"))
    else:
        place.run(place.operations.set_desired_state("ann", fate))
    assert "bob" in [agent.name for agent in place.ask("a")]


def test_what_a_sleeper_had_that_is_removed_wakes_another(place: Place) -> None:
    place.host("a")
    for name in ("ann", "bob"):
        place.agent(name, role="dev")
        (agent,) = place.ask("a")
        fence, id_ = agent.token or "", agent.id
        if name == "ann":
            place.run(place.operations.add_task("work", role="dev", agent="ann"))
            batch = place.run(place.operations.claim(id_, token="c", fence=fence))
            place.run(place.operations.nack(id_, batch.deliveries, delay_ms=HOUR_MS))
        place.run(place.operations.release_agent(id_, fence, "suspended"))
        place.town.command("ZADD", place.town.key("asleep"), 1 if name == "ann" else 2, id_)
    place.run(administration.remove_agent(place.operations.keys, "ann", force=True))
    assert [agent.name for agent in place.ask("a")] == ["bob"]
