"""Tasks, agents and hosts under everything that people, agents and kernels may do to them, in any order.

There is no second implementation here to compare with: after every step the whole of the town's data is read, and the
sentences that must always be true of it are checked. Kernels that lost their lease continue calling; nothing may come of it.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model import tasks as task_table
from tinytown.model.messages import PRIORITIES, Query, TaskAssign, TaskOrder
from tinytown.model.results import Delivery
from tinytown.model.tasks import Fate
from tinytown.protocol import agent_operations, mail_operations, operation_base, task_operations
from tinytown.protocol.operation import Operation
from tinytown_cli import administration
from tinytown_cli.blocking_client import BlockingClient
from tinytown_ops.costs.retention import apply_cost_retention

from tests.protocol.conftest import MACHINE, BareTown, Dump, fresh_town, key_type

T = TypeVar("T")
HOUR_MS = 3_600_000
FINISHED = task_table.FINISHED
AGENTS = ["ann", "ben", "cat"]
HOSTS = ["h1", "h2"]

number = st.integers(0, 99)


@dataclass
class Placement:
    """An agent as a kernel believes to hold it, and the round that it runs."""

    host: str
    agent_id: str
    name: str
    fence: str
    round_id: str = ""
    task_ids: tuple[str, ...] = ()
    token: str = ""
    deliveries: tuple[Delivery, ...] = ()


def machine(client: BlockingClient, monkeypatch: pytest.MonkeyPatch) -> type[RuleBasedStateMachine]:
    class TownMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.ids = itertools.count(1)
            for module in (administration, agent_operations, mail_operations, operation_base, task_operations):
                monkeypatch.setattr(module, "new_id", lambda: f"{next(self.ids):08x}-0000-4000-8000-000000000000")
            self.town: BareTown = fresh_town(client, max_deliveries=3)
            self.operations = self.town.operations
            self.held: dict[str, Placement] = {}  # what kernels believe, true or stale
            self.stale: list[Placement] = []
            self.tokens = 0
            self.forced: set[str] = set()  # completed by a person whatever it needed
            self.runs = 0
            self.spawned = 0
            self.paid = 0  # millionths of a dollar
            self.now: Dump = {}

        def attempt(self, operation: Operation[T]) -> T | None:
            """What the town answers; None when it refuses, which may leave no trace."""
            before = self.town.dump()
            with contextlib.suppress(UsageError, NotFound, Refused):
                return self.town.run(operation)
            assert self.town.dump() == before, "a refusal left a trace"
            return None

        def task(self, pick: int) -> str:
            ids = sorted(self.records("task"))
            return ids[pick % len(ids)] if ids else "none"

        def agent(self, pick: int) -> str:
            names = sorted(record["name"] for record in self.records("agent").values())
            return names[pick % len(names)] if names else "none"

        def records(self, kind: str) -> dict[str, dict[str, str]]:
            found = {}
            for key, (_, value) in self.now.items():
                first, _, rest = key.partition(":")
                if first == kind and ":" not in rest:
                    found[rest] = value
            return found

        def members(self, key: str) -> set[str]:
            return set(self.now.get(key, ("", ()))[1])

        @initialize()
        def begin(self) -> None:
            for name in AGENTS:
                self.town.run(self.operations.create_agent(name, cli="shell", role="dev" if name == "ann" else ""))
            for host in HOSTS:
                self.town.run(self.operations.register_host(host, lease_ms=HOUR_MS, details={"name": host}))
            self.now = self.town.dump()

        # -- people

        @rule(
            agent=number, assigned=st.booleans(), needs=st.lists(number, max_size=2), role=st.sampled_from(["", "dev"])
        )
        def add(self, agent: int, assigned: bool, needs: list[int], role: str) -> None:
            ids = [self.task(need) for need in needs] if self.records("task") else []
            name = self.agent(agent) if assigned else ""
            self.attempt(self.operations.add_task("work", agent=name, needs=ids, role=role, task_id=f"t{self.spawned}"))
            self.spawned += 1

        @rule(task=number, agent=number, verb=st.sampled_from(["assign_task", "claim_from_backlog"]))
        def assign(self, task: int, agent: int, verb: str) -> None:
            self.attempt(getattr(self.operations, verb)(self.task(task), self.agent(agent)))

        @rule(agent=number)
        def assign_backlog(self, agent: int) -> None:
            self.attempt(administration.assign_backlog(self.operations.keys, self.agent(agent)))

        @rule(task=number, verb=st.sampled_from(["complete", "submit", "fail", "cancel"]))
        def settle_by_a_person(self, task: int, verb: Any) -> None:
            id_ = self.task(task)
            if self.attempt(self.operations.settle_task(verb, id_, text="because")) and verb in ("complete", "submit"):
                self.forced.add(id_)

        @rule(task=number)
        def reopen(self, task: int) -> None:
            self.attempt(administration.reopen_task(self.operations.keys, self.task(task)))

        @rule(task=number)
        def requeue(self, task: int) -> None:
            self.attempt(administration.requeue_task(self.operations.keys, self.task(task)))

        @rule(task=number, until=st.sampled_from(["", "2100-01-01T00:00:00Z", "2000-01-01T00:00:00Z"]))
        def hold(self, task: int, until: str) -> None:
            held = self.attempt(
                administration.hold_task(self.operations.keys, self.task(task), reason="wait", until=until)
            )
            assert held is None or (held.state, held.held, held.round_id) == ("blocked", "wait", None)

        @rule(task=number)
        def release_a_hold(self, task: int) -> None:
            self.attempt(administration.release_task(self.operations.keys, self.task(task)))

        @rule()
        def time_comes_for_holds(self) -> None:
            for task in self.members("holds"):
                self.town.command("ZADD", self.town.key("holds"), 1, task)
            self.town.run(self.operations.heartbeat(HOSTS[0], lease_ms=HOUR_MS))
            assert not self.town.command("ZCARD", self.town.key("holds"))

        @rule(agent=number, assigned=st.booleans(), until=st.sampled_from(["", "2100-01-01T00:00:00Z"]))
        def add_a_task_that_is_held(self, agent: int, assigned: bool, until: str) -> None:
            operation = self.operations.add_task(
                "work",
                agent=self.agent(agent) if assigned else "",
                task_id=f"t{self.spawned}",
                held="not yet",
                held_until=until,
            )
            self.attempt(operation)
            self.spawned += 1

        @rule(agent=number)
        def order_in_free_text(self, agent: int) -> None:
            self.attempt(self.operations.send(self.agent(agent), TaskOrder(description="do it")))

        @rule(task=number)
        def delete(self, task: int) -> None:
            self.attempt(administration.delete_task(self.operations.keys, self.task(task)))

        @rule(task=number, need=number)
        def add_need(self, task: int, need: int) -> None:
            self.attempt(administration.add_need(self.operations.keys, self.task(task), self.task(need)))

        @rule(task=number, needs=st.lists(number, max_size=2), priority=st.sampled_from(PRIORITIES))
        def update(self, task: int, needs: list[int], priority: Any) -> None:
            needed = [self.task(need) for need in needs]
            self.attempt(administration.update_task(self.operations, self.task(task), needs=needed, priority=priority))

        @rule(finished=st.sampled_from(sorted(FINISHED)))
        def add_what_was_finished_elsewhere(self, finished: Any) -> None:
            self.attempt(self.operations.add_task("done", finished=finished, task_id=f"t{self.spawned}"))
            self.spawned += 1

        @rule(agent=number, desired_state=st.sampled_from(["running", "running", "paused", "stopped"]))
        def set_desired_state(self, agent: int, desired_state: Any) -> None:
            self.attempt(self.operations.set_desired_state(self.agent(agent), desired_state))

        @rule(agent=number, force=st.booleans())
        def remove_agent(self, agent: int, force: bool) -> None:
            if self.attempt(administration.remove_agent(self.operations.keys, self.agent(agent), force=force)):
                self.spawned += 1
                self.town.run(self.operations.create_agent(f"new{self.spawned}", cli="shell"))

        @rule(agent=number, later=st.booleans(), priority=st.sampled_from(PRIORITIES))
        def ask(self, agent: int, later: bool, priority: Any) -> None:
            due = self.clock_ms() + HOUR_MS if later else 0
            question = Query(question="how far?")
            self.attempt(self.operations.send(self.agent(agent), question, priority=priority, not_before_ms=due))

        @rule(frozen=st.booleans())
        def freeze_or_thaw(self, frozen: bool) -> None:
            self.town.run(
                administration.freeze(self.operations.keys, reason="stop")
                if frozen
                else administration.thaw(self.operations.keys, reason="go on")
            )

        @rule(
            budgets=st.sampled_from(
                [{}, {"town_usd": 3}, {"agent_usd ann": 1}, {"task_usd": 1}, {"day_usd": 9, "reserve_usd": 4}]
            )
        )
        def budgets(self, budgets: dict[str, int]) -> None:
            self.town.run(self.operations.set_budgets(budgets))

        @rule(by_a_person=st.booleans())
        def parked_accounts_are_free_again(self, by_a_person: bool) -> None:
            for account in self.members("parked"):
                if by_a_person:
                    self.town.run(administration.unpark_account(self.operations.keys, account))
                else:
                    self.town.command("ZADD", self.town.key("parked"), 1, account)

        @rule()
        def days_of_the_ledger_go(self) -> None:
            self.town.run(apply_cost_retention(self.operations.keys, days=0))

        @rule(agent=number)
        def empty_the_mailbox(self, agent: int) -> None:
            self.attempt(administration.remove_message(self.operations.keys, self.agent(agent), "all"))

        @rule()
        def redrive(self) -> None:
            self.attempt(administration.redrive(self.operations.keys, "all"))

        @rule(gates=st.booleans())
        def gates(self, gates: bool) -> None:
            self.town.run(self.operations.setup({"gates": int(gates)}))

        @rule()
        def tidy(self) -> None:
            self.town.run(
                administration.apply_retention(
                    self.operations.keys, finished_age_ms=HOUR_MS, finished_count=3, events=100_000
                )
            )

        # -- kernels

        @rule(host=st.sampled_from(HOSTS), count=st.integers(1, 3))
        def place(self, host: str, count: int) -> None:
            placed = self.attempt(self.operations.place_agents(host, ["shell"], count=count))
            for agent in placed.agents if placed else ():
                if agent.id in self.held:
                    self.stale.append(self.held[agent.id])
                assert int(agent.token or 0) > self.tokens, "a token that did not grow"
                self.held[agent.id] = Placement(host, agent.id, agent.name, agent.token or "")
                self.tokens = int(agent.token or 0)

        @precondition(lambda self: self.held)
        @rule(pick=number, orders=st.integers(1, 3))
        def begin_a_round(self, pick: int, orders: int) -> None:
            placed = self.held[sorted(self.held)[pick % len(self.held)]]
            if placed.round_id:
                return
            self.runs += 1
            round_id = f"r{self.runs}"
            claim = self.operations.claim(
                placed.agent_id, token=round_id, fence=placed.fence, count=8, orders=orders, lease_ms=HOUR_MS
            )
            batch = self.attempt(claim)
            if batch is None or not batch.deliveries:
                return
            assert "frozen_at" not in self.now.get("meta", ("", {}))[1]
            placed.deliveries, placed.task_ids, placed.token = batch.deliveries, (), ""
            for delivery in batch.deliveries:
                if delivery.message and isinstance(body := delivery.message.body, TaskAssign):
                    started = self.town.run(
                        self.operations.start_task(placed.agent_id, placed.fence, body.task_id, round_id)
                    )
                    assert not started.stale, "an order that was called off was delivered"
                    assert started.task
                    if started.held:
                        self.town.run(self.operations.nack(placed.agent_id, [delivery], delay_ms=HOUR_MS, counts=False))
                        placed.deliveries = tuple(other for other in placed.deliveries if other is not delivery)
                        continue
                    if placed.token:
                        assert started.task.token == placed.token, "two tokens in one round"
                    else:
                        assert int(started.task.token or 0) > self.tokens, "a token that did not grow"
                    self.tokens = int(started.task.token or 0)
                    placed.task_ids, placed.token = (*placed.task_ids, body.task_id), started.task.token or ""
            assert len(placed.task_ids) <= orders
            if not placed.deliveries:
                return
            start = self.operations.start_round(placed.agent_id, placed.fence, round_id, *placed.task_ids[:1])
            if self.attempt(start) is not None:
                placed.round_id = round_id

        @precondition(lambda self: self.held)
        @rule(
            pick=number,
            outcome=st.sampled_from(
                [
                    ("finished", "ack", "complete"),
                    ("finished", "ack", "again"),
                    ("finished", "nack", "again"),
                    ("failed", "nack", "again"),
                    ("failed", "ack", "fail"),
                    ("interrupted", "return", "again"),
                    ("rate_limited", "return", "again"),
                ]
            ),
            delayed=st.booleans(),
            money=st.sampled_from([0, 0, 1, 5]),
        )
        def end_a_round(self, pick: int, outcome: Any, delayed: bool, money: int) -> None:
            placed = self.held[sorted(self.held)[pick % len(self.held)]]
            if not placed.round_id:
                return
            operation = self.operations.settle_round(
                placed.agent_id,
                placed.fence,
                placed.round_id,
                placed.deliveries,
                outcome=outcome[0],
                mail=outcome[1],
                fate=outcome[2],
                task_ids=placed.task_ids,
                delay_ms=HOUR_MS if delayed else 0,
                reason="so it went",
                throttled_ms=HOUR_MS if outcome[0] == "rate_limited" else None,
                charge=f"2 1 0 {money}",
            )
            self.paid += money  # too late to count is paid for all the same
            late = self.operations.charge_round(
                placed.agent_id, placed.round_id, f"2 1 0 {money}", task_ids=placed.task_ids
            )
            reported = self.attempt(operation)
            assert reported is None or self.town.run(operation) == reported, "sent twice, answered twice"
            self.town.run(late)
            placed.round_id, placed.deliveries, placed.token = "", (), ""

        @precondition(lambda self: any(placed.token for placed in self.held.values()))
        @rule(pick=number, which=number, verb=st.sampled_from(["complete", "submit", "fail", "cancel"]))
        def settle_by_the_agent(self, pick: int, which: int, verb: Any) -> None:
            working = sorted((placed for placed in self.held.values() if placed.token), key=lambda p: p.agent_id)
            placed = working[pick % len(working)]
            by, token, id_ = placed.agent_id, placed.token, placed.task_ids[which % len(placed.task_ids)]
            task = self.attempt(self.operations.settle_task(verb, id_, text="done", by=by, token=token))
            if task:
                assert (task.agent_id, task.token) == (by, token)
            self.attempt(self.operations.settle_task(verb, id_, by=by, token="0"))

        @rule(task=number, fate=st.sampled_from(["complete", "again", "fail"]))
        def judge(self, task: int, fate: Fate) -> None:
            self.attempt(self.operations.record_verdict(self.task(task), fate, evidence="it does not compile"))

        @precondition(lambda self: self.held)
        @rule(pick=number)
        def claim_from_the_backlog_by_itself(self, pick: int) -> None:
            placed = self.held[sorted(self.held)[pick % len(self.held)]]
            self.attempt(self.operations.claim_matching(placed.agent_id, placed.fence))

        @precondition(lambda self: self.held)
        @rule(pick=number, state=st.sampled_from(["idle", "paused", "suspended", "stopped", "error", "draining"]))
        def observe(self, pick: int, state: str) -> None:
            placed = self.held[sorted(self.held)[pick % len(self.held)]]
            self.attempt(self.operations.report_agent_state(placed.agent_id, placed.fence, state, "seen"))

        @precondition(lambda self: self.held)
        @rule(pick=number, state=st.sampled_from(["suspended", "stopped", "error", "starting"]), again=st.booleans())
        def release(self, pick: int, state: str, again: bool) -> None:
            placed = self.held[sorted(self.held)[pick % len(self.held)]]
            operation = self.operations.release_agent(placed.agent_id, placed.fence, state, retry_ms=0 if again else -1)
            if self.attempt(operation) is not None:
                self.stale.append(self.held.pop(placed.agent_id))

        @rule(host=st.sampled_from(HOSTS), orderly=st.booleans())
        def lose_a_host(self, host: str, orderly: bool) -> None:
            if orderly:
                self.town.run(self.operations.deregister_host(host, reason="shut down"))
            else:
                self.town.command("ZADD", self.town.key("hosts"), 1, host)
                other = HOSTS[1 - HOSTS.index(host)]
                self.town.run(self.operations.register_host(other, lease_ms=HOUR_MS, details={"name": other}))
            for agent_id in [id_ for id_, placed in self.held.items() if placed.host == host]:
                self.stale.append(self.held.pop(agent_id))
            assert self.attempt(self.operations.heartbeat(host, lease_ms=HOUR_MS)) is None
            assert self.attempt(self.operations.place_agents(host, ["shell"], count=9)) is None
            self.town.run(self.operations.register_host(host, lease_ms=HOUR_MS, details={"name": host}))

        @rule(agent=number)
        def leases_run_out(self, agent: int) -> None:
            ids = sorted(self.records("agent"))
            key = self.town.key(f"mail:{ids[agent % len(ids)]}:leases")
            for member in self.members(key[len(self.town.base) + 1 :]):
                self.town.command("ZADD", key, 1, member)

        @rule(agent=number)
        def time_comes_for_delayed_mail(self, agent: int) -> None:
            ids = sorted(self.records("agent"))
            key = self.town.key(f"mail:{ids[agent % len(ids)]}:delayed")
            for member in self.members(key[len(self.town.base) + 1 :]):
                self.town.command("ZADD", key, 1, member)

        @precondition(lambda self: self.stale)
        @rule(pick=number)
        def a_kernel_that_lost_its_lease_goes_on(self, pick: int) -> None:
            old = self.stale[pick % len(self.stale)]
            before = self.town.dump()
            operations, agent, fence = self.operations, old.agent_id, old.fence
            for operation in (
                operations.claim(agent, token="late", fence=fence, acks=old.deliveries),
                operations.report_agent_state(agent, fence, "idle"),
                operations.release_agent(agent, fence, "suspended"),
                operations.start_round(agent, fence, "late", *old.task_ids[:1]),
                operations.start_task(agent, fence, *(old.task_ids[:1] or ("t0",)), "late"),
                operations.claim_matching(agent, fence),
                operations.settle_round(
                    agent, fence, "late", old.deliveries, outcome="finished", mail="ack", fate="complete"
                ),
            ):
                assert self.attempt(operation) is None
            for id_ in old.task_ids:  # what it says of a task that is completed already is heard, and changes nothing
                self.attempt(operations.settle_task("complete", id_, by=agent, token=old.token))
            assert not any(self.town.run(operations.ack(agent, old.deliveries)))
            assert not any(self.town.run(operations.renew(agent, old.deliveries)))
            assert set(self.town.run(operations.nack(agent, old.deliveries))) <= {"stale"}
            assert set(self.town.run(operations.dead_letter(agent, old.deliveries, reason="late"))) <= {"stale"}
            assert self.town.dump() == before

        def clock_ms(self) -> int:
            return int(self.town.command("TIME")[0]) * 1000

        # -- what always holds

        @invariant()
        def look(self) -> None:
            self.now = self.town.dump()
            for key, (kind, _) in self.now.items():
                assert key_type(key) == kind, f"{key} is a {kind} and the table of keys says {key_type(key)}"
            self.every_index_agrees_with_the_records()
            self.a_task_is_blocked_exactly_while_a_need_is_open_or_somebody_holds_it()
            self.nothing_is_completed_before_its_needs_unless_a_person_says_so()
            self.every_assigned_task_has_exactly_one_order_that_somebody_will_read()
            self.hosts_and_agents_agree()
            self.events_tell_every_change_of_a_task_and_completions_are_counted()
            self.money_is_counted_once_and_reserved_by_those_who_may_spend_it()

        def every_index_agrees_with_the_records(self) -> None:
            tasks, agents = self.records("task"), self.records("agent")
            for state in task_table.TASK_STATES:
                assert self.members(f"tasks:state:{state}") == {i for i, t in tasks.items() if t["state"] == state}
            assert self.members("tasks") == self.members("tasks:ids") == set(tasks)
            assert self.members("backlog") == {i for i, t in tasks.items() if t["state"] == "pending"}
            assert self.members("holds") == {i for i, t in tasks.items() if "held_until" in t}
            assert self.members("tasks:finished") == {i for i, t in tasks.items() if t["state"] in FINISHED}
            assert self.members("agents") == set(agents)
            for id_ in agents:
                mine = {i for i, t in tasks.items() if t.get("agent_id") == id_}
                assert self.members(f"tasks:agent:{id_}") == mine
                assert self.members(f"agent:{id_}:open") == {i for i in mine if tasks[i]["state"] not in FINISHED}
            for key in self.now:
                if key.startswith("tasks:agent:") or (key.startswith("agent:") and key.count(":") == 2):
                    assert key.split(":")[2 if key.startswith("tasks") else 1] in agents, (
                        f"{key} of an agent that is gone"
                    )
            for task in tasks.values():
                assert task["state"] != "pending" or not task["agent_id"]
                assert task["state"] not in ("assigned", "running", "verifying") or task["agent_id"] in agents
                assert (task["state"] in FINISHED) == ("completed_at" in task)
                assert task["state"] != "running" or (task["round_id"] and task["token"])

        def a_task_is_blocked_exactly_while_a_need_is_open_or_somebody_holds_it(self) -> None:
            tasks = self.records("task")
            for id_, task in tasks.items():
                needs = set(task["needs"].strip("[]").replace('"', "").split(",")) - {""}
                for need in needs & set(tasks):
                    assert id_ in self.members(f"task:{need}:dependants")
                if task["state"] in FINISHED:
                    continue
                open_needs = {need for need in needs if need in tasks and tasks[need]["state"] != "completed"}
                assert self.members(f"task:{id_}:needs") == open_needs
                held = task.get("held", "")
                assert not held or task["state"] == "blocked"
                if task["state"] not in ("running", "verifying"):
                    assert (task["state"] == "blocked") == bool(open_needs or held)
                if held:
                    assert task["reason"] == f"held: {held}"
                elif task["state"] == "blocked":
                    for need in open_needs:
                        reported = tasks[need]["state"] if tasks[need]["state"] in ("failed", "cancelled") else ""
                        assert f"{need} ({reported}" in task["reason"]

        def nothing_is_completed_before_its_needs_unless_a_person_says_so(self) -> None:
            completed: set[str] = set()
            open_ones: dict[str, set[str]] = {}
            for event in self.events():
                if event["type"] != "task_state_changed":
                    continue
                id_ = event["task"]
                if event["new"] == "blocked" and event["reason"].startswith("needs "):
                    open_ones[id_] = {part.split(" ")[0] for part in event["reason"].removeprefix("needs ").split(", ")}
                elif event["new"] in ("assigned", "pending"):
                    open_ones.pop(id_, None)
                elif event["new"] == "completed" and id_ not in self.forced:
                    assert not open_ones.get(id_), f"{id_} was completed while {open_ones[id_]} was open"
                    completed.add(id_)

        def every_assigned_task_has_exactly_one_order_that_somebody_will_read(self) -> None:
            places: dict[str, list[tuple[str, str]]] = {}
            for id_ in self.records("agent"):
                box = f"mail:{id_}"
                for place in ("queue", "leases", "delayed"):
                    for member in self.members(f"{box}:{place}"):
                        places.setdefault(member[1:], []).append((id_, place))
                bodies = self.members(f"{box}:bodies")
                assert bodies == {
                    m[1:] for place in ("queue", "leases", "delayed") for m in self.members(f"{box}:{place}")
                }
            assert all(len(where) == 1 for where in places.values()), "a message in two places"
            valid = set()
            for id_, task in self.records("task").items():
                if task["state"] == "assigned":
                    assert places[task["order"]][0][0] == task["agent_id"], f"nobody will hear of {id_}"
                    valid.add(task["order"])
                elif task["state"] == "running":
                    assert self.records("agent")[task["agent_id"]]["host"], f"{id_} is running and nobody runs it"
                    valid.add(task["order"])
                else:
                    assert not task.get("order")
            for message, ((_, place),) in places.items():
                if message.startswith("t") and place != "leases":
                    assert message in valid, f"{message} is out of date and will be delivered"

        def hosts_and_agents_agree(self) -> None:
            agents = self.records("agent")
            for host in self.members("hosts"):
                assert self.members(f"host:{host}:agents") == {
                    i for i, agent in agents.items() if agent["host"] == host
                }
            for id_, agent in agents.items():
                assert bool(agent["host"]) == bool(agent["token"])
                assert not (agent["host"] and id_ in self.members("placement"))
                current = agent.get("current_task")
                if current:
                    task = self.records("task")[current]
                    assert task["state"] in ("running", "verifying")
                    assert task["agent_id"] == id_
                if id_ in self.members("asleep"):
                    assert agent["state"] in ("suspended", "error")
                    assert not agent["host"]
                if agent["state"] == "suspended" and not agent["host"] and id_ not in self.members("placement"):
                    assert agent["desired_state"] in ("running", "stopped")
                    if agent["desired_state"] == "running":
                        for place in ("queue", "delayed"):
                            assert not self.members(f"mail:{id_}:{place}"), "mail for an agent that sleeps on"
                        assert not agent["role"] or not any(
                            task["state"] == "pending" and task.get("role") == agent["role"]
                            for task in self.records("task").values()
                        ), "work on the backlog for an agent that sleeps on"
                if agent["desired_state"] == "stopped":
                    assert id_ not in self.members("placement")
                    assert agent["host"] or agent["state"] in ("stopped", "suspended", "error")

        def events_tell_every_change_of_a_task_and_completions_are_counted(self) -> None:
            state: dict[str, str] = {}
            completions: dict[str, int] = {}
            for event in self.events():
                if event["type"] == "task_added":
                    state[event["task"]] = event["state"]
                if event["type"] != "task_state_changed":
                    continue
                old, new = event["old"], event["new"]
                assert old == state[event["task"]]
                assert old == new or new in task_table.TRANSITIONS[old]  # type: ignore[index]
                state[event["task"]] = new
                if new == "completed":
                    completions[event["agent"]] = completions.get(event["agent"], 0) + 1
            for id_, task in self.records("task").items():
                assert state[id_] == task["state"]
            for agent in self.records("agent").values():
                assert int(agent["tasks_completed"]) == completions.get(agent["name"], 0)

        def money_is_counted_once_and_reserved_by_those_who_may_spend_it(self) -> None:
            agents = self.records("agent")
            assert all(agents[id_]["host"] for id_ in self.members("reserved")), "reserved by nobody"
            sums: dict[str, int] = {}
            for field, line in self.now.get("costs", ("", {}))[1].items():
                what = field.partition(" ")[0]
                sums[what] = sums.get(what, 0) + int(line.split(" ")[4])
            assert set(sums.values()) <= {self.paid}, f"{self.paid} was paid, the ledger says {sums}"

        def events(self) -> list[dict[str, str]]:
            return [dict(fields) for _, fields in self.now.get("events", ("", []))[1]]

    return TownMachine


def test_a_town_stays_consistent_whatever_is_done_to_it(
    client: BlockingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_state_machine_as_test(machine(client, monkeypatch), settings=MACHINE)
