"""The ledger: every round is counted once, budgets hold, what a round may cost is reserved, old days go."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from tinytown.config import AgentBudget, BudgetsConfig
from tinytown.errors import UsageError
from tinytown.model.messages import Query
from tinytown.model.results import Batch
from tinytown_cli import administration
from tinytown_cli.blocking_client import BlockingClient
from tinytown_ops.costs import ledger
from tinytown_ops.costs.ledger import Budget, CostRow, Costs
from tinytown_ops.costs.retention import apply_cost_retention
from tinytown_testing.bare_town import BareTown, fresh_town

pytestmark = pytest.mark.usefixtures("deadline")

HOUR_MS = 3_600_000
DOLLAR = "100 20 0 1000000"
DAY_S = 86_400

_numbers = itertools.count(1)


class Books:
    """A town with three agents on one host, and its ledger."""

    def __init__(self, town: BareTown) -> None:
        self.town = town
        self.operations = town.operations
        self.run = town.run
        for name in ("ann", "bob", "eve"):
            self.run(self.operations.create_agent(name, cli="other" if name == "eve" else "shell"))
        self.run(self.operations.register_host("h", lease_ms=HOUR_MS, details={"name": "here"}))
        placed = self.run(self.operations.place_agents("h", ["shell", "other"], count=9)).agents
        self.agents = {agent.name: agent for agent in placed}

    def allow(self, **budgets: Any) -> None:
        self.run(self.operations.set_budgets(BudgetsConfig(**budgets).server_numbers))

    def mail(self, *names: str) -> None:
        for name in names:
            self.run(self.operations.send(name, Query(question="?")))

    def claim(self, name: str) -> Batch:
        agent = self.agents[name]
        token = f"c{next(_numbers)}"
        return self.run(self.operations.claim(agent.id, token=token, fence=agent.token or "", lease_ms=HOUR_MS))

    def settle(
        self, name: str, charge: str = DOLLAR, *, batch: Batch | None = None, task: str = "", times: int = 1
    ) -> None:
        agent = self.agents[name]
        operation = self.operations.settle_round(
            agent.id,
            agent.token or "",
            f"run{next(_numbers)}",
            batch.deliveries if batch else (),
            outcome="finished",
            mail="ack",
            task_ids=[task] if task else [],
            charge=charge,
        )
        for _ in range(times):
            self.run(operation)

    def costs(self, by: Any = "town", since: str = "") -> Costs:
        return self.run(ledger.costs(self.operations.keys, by=by, since=since))

    def rows(self, by: Any, since: str = "") -> dict[str, CostRow]:
        return {row.name: row for row in self.costs(by, since).rows}

    def budget(self, name: str, agent: str | None = None) -> Budget:
        return next(each for each in self.costs().budgets if (each.budget, each.agent) == (name, agent))

    def reported(self, type_: str) -> list[dict[str, str]]:
        return [event for event in self.town.events() if event["type"] == type_]

    def age(self, days: int) -> None:
        """Let everything in the ledger have happened so many days earlier."""
        shift = """
        local kept = redis.call('ZRANGE', KEYS[1] .. ':costs:days', 0, -1, 'WITHSCORES')
        redis.call('DEL', KEYS[1] .. ':costs:days')
        for i = 1, #kept, 2 do
          local day = string.gsub(kept[i], '^%d+', function(year) return string.format('%04d', year - 1) end)
          redis.call('RENAME', KEYS[1] .. ':costs:day:' .. kept[i], KEYS[1] .. ':costs:day:' .. day)
          redis.call('ZADD', KEYS[1] .. ':costs:days', kept[i + 1] - ARGV[1], day)
        end
        for _, field in ipairs(redis.call('HKEYS', KEYS[1] .. ':costs')) do
          local line = redis.call('HGET', KEYS[1] .. ':costs', field)
          redis.call('HSET', KEYS[1] .. ':costs', field, (string.gsub(line, '%d+$', function(n) return n - ARGV[1] end)))
        end
        """
        self.town.command("EVAL", shift, 1, self.town.base, days)


@pytest.fixture
def books(bare_town: BareTown) -> Books:
    return Books(bare_town)


def test_a_round_is_entered_for_town_day_agent_task_kind_and_account(books: Books) -> None:
    books.run(books.operations.add_task("do it", agent="ann", task_id="job", title="The job"))
    books.settle("ann", "1000 200 300 1500000", task="job")
    books.settle("ann", "10 2 3 0", task="job")
    books.settle("eve", "5 5 0 250000")
    today = books.costs().today
    both = CostRow(rounds=2, input_tokens=1010, output_tokens=202, cached_tokens=303, usd=1.5)
    eves = CostRow(rounds=1, input_tokens=5, output_tokens=5, usd=0.25)
    assert books.rows("agent") == {"ann": named(both, "ann"), "eve": named(eves, "eve")}
    assert books.rows("task") == {"job": named(both, "job"), "": eves}
    assert books.rows("kind") == {"shell": named(both, "shell"), "other": named(eves, "other")}
    assert set(books.rows("account")) == {"shell", "other"}
    assert books.rows("day")[today].usd == 1.75
    assert books.costs().total == books.costs("day").total == books.costs("agent", since=today).total
    assert books.costs("agent", since=today).rows == books.costs("agent").rows
    assert books.costs("agent", since="2999-01-01").rows == ()
    assert books.run(ledger.titles(books.operations.keys, ["job", "gone"])) == ("The job", "")
    assert [row.name for row in books.costs("agent").rows] == ["ann", "eve"]  # the dearest first


def named(row: CostRow, name: str) -> CostRow:
    from msgspec.structs import replace

    return replace(row, name=name)


def test_a_price_that_nobody_knows_is_not_nothing(books: Books) -> None:
    books.settle("ann", "100 10 0 -1")
    books.settle("bob", "-")
    books.settle("eve", "0 0 0 0")
    rows = books.rows("agent")
    assert (rows["ann"].usd, rows["ann"].input_tokens, rows["ann"].unpriced_rounds) == (None, 100, 1)
    assert (rows["bob"].usd, rows["bob"].unmeasured_rounds) == (None, 1)
    assert rows["eve"].usd == 0.0
    books.settle("ann", DOLLAR)
    assert (books.rows("agent")["ann"].usd, books.rows("agent")["ann"].unpriced_rounds) == (1.0, 1)


def test_what_came_too_late_to_count_was_paid_for_all_the_same_and_once(books: Books) -> None:
    ann = books.agents["ann"]
    settle = books.operations.settle_round(
        ann.id, ann.token or "", "late", (), outcome="finished", mail="ack", charge=DOLLAR
    )
    books.run(settle)
    for _ in range(2):  # its answer was lost, and then the lease
        books.run(books.operations.charge_round(ann.id, "late", DOLLAR))
    assert books.costs().total.usd == 1.0
    for _ in range(2):
        books.run(books.operations.charge_round(ann.id, "later", DOLLAR))
    assert books.costs().total.usd == 2.0
    books.run(books.operations.charge_round("nobody", "latest", DOLLAR))
    assert books.costs().total.usd == 2.0


def test_a_round_that_never_came_to_be_costs_nothing(books: Books) -> None:
    books.settle("ann", "")
    assert books.costs("agent").rows == ()


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "20260131", "2026-01-31T00:00", "🦆"])
def test_what_is_no_day_is_refused(books: Books, day: str) -> None:
    with pytest.raises(UsageError, match="expected a day such as"):
        ledger.costs(books.operations.keys, since=day)


@pytest.mark.parametrize(
    ("budget", "limit", "shown"),
    [
        ("town_usd", 2.0, "$2.00"),
        ("day_usd", 2.0, "$2.00"),
        ("agent_usd", 2.0, "$2.00"),
        ("town_tokens", 240, "240 tokens"),
    ],
)
def test_a_spent_budget_lets_no_round_begin_and_a_higher_one_does(
    books: Books, budget: str, limit: Any, shown: str
) -> None:
    books.allow(**{budget: limit})
    books.mail("ann")
    books.settle("ann")
    assert len(books.claim("ann").deliveries) == 1
    books.mail("ann")
    books.settle("ann")
    held = books.claim("ann")
    assert held.held == f"budget {budget} is spent: {shown} of {shown}"
    assert held.deliveries == ()
    if budget == "day_usd":
        assert held.next_due_ms is not None
        assert held.next_due_ms % (DAY_S * 1000) == 0
        assert 0 < held.next_due_ms - held.now_ms <= DAY_S * 1000
    else:
        assert held.next_due_ms is None
    assert (books.claim("bob").held is None) == (budget == "agent_usd")
    books.allow(**{budget: limit * 2})
    assert books.claim("ann").held is None
    assert books.reported("budgets_changed")[-1]["changed"] == budget


def test_tokens_from_a_cache_do_not_count_against_a_budget(books: Books) -> None:
    books.allow(town_tokens=200, reserve_tokens=0)
    books.settle("ann", "1000000 50 999900 -1")
    assert books.claim("ann").held is None
    books.settle("ann", "100 0 50 -1")
    assert books.claim("ann").held == "budget town_tokens is spent: 200 tokens of 200 tokens"
    assert books.budget("town_tokens").left == 0


def test_an_agent_may_have_a_budget_of_its_own(books: Books) -> None:
    books.allow(agent_usd=1.0, agents={"Bob": AgentBudget(usd=5.0)})
    for name in ("ann", "bob"):
        books.settle(name)
    assert books.claim("ann").held
    assert books.claim("bob").held is None
    assert books.budget("agent_usd", "bob") == Budget(
        budget="agent_usd", agent="bob", limit=5.0, spent=1.0, reserved=0.0, left=4.0
    )


def test_a_budget_of_nothing_lets_nothing_begin(books: Books) -> None:
    books.allow(day_usd=0)
    assert books.claim("ann").held == "budget day_usd is spent: $0.00 of $0.00"


def test_a_task_whose_budget_is_spent_waits_and_says_so_and_others_go_on(books: Books) -> None:
    books.allow(task_usd=1.0)
    books.run(books.operations.add_task("dear", agent="ann", task_id="dear"))
    books.run(books.operations.add_task("cheap", agent="ann", task_id="cheap"))
    books.settle("ann", task="dear")
    ann = books.agents["ann"]
    started = books.run(books.operations.start_task(ann.id, ann.token or "", "dear", "run"))
    assert started.held
    assert not started.stale
    assert started.task
    assert (started.task.state, started.task.reason) == ("assigned", "budget task_usd is spent: $1.00 of $1.00")
    assert not books.run(books.operations.start_task(ann.id, ann.token or "", "cheap", "run")).held
    (event,) = books.reported("budget_spent")
    assert (event["budget"], event["task"], event["spent"], event["limit"]) == ("task_usd", "dear", "1", "1")


def test_twenty_rounds_that_begin_at_once_cannot_overshoot_by_twenty(bare_town: BareTown) -> None:
    run, operations = bare_town.run, bare_town.operations
    run(operations.set_budgets(BudgetsConfig(day_usd=3.0, reserve_usd=0.5).server_numbers))
    run(operations.register_host("h", lease_ms=HOUR_MS, details={}))
    for number in range(20):
        run(operations.create_agent(f"a{number}", cli="shell"))
        run(operations.send(f"a{number}", Query(question="?")))
    agents = run(operations.place_agents("h", ["shell"], count=20)).agents
    claimed = [
        (agent, run(operations.claim(agent.id, token=f"t{agent.name}", fence=agent.token or "", lease_ms=HOUR_MS)))
        for agent in agents
    ]
    begun = [(agent, batch) for agent, batch in claimed if batch.deliveries]
    assert len(begun) == 6
    held = next(batch for _, batch in claimed if not batch.deliveries)
    assert held.held == (
        "what is left of budget day_usd is reserved for rounds in progress: $0.00 of $3.00 is spent, $3.00 reserved"
    )
    assert held.next_due_ms is None
    agent, batch = begun[0]
    settle = operations.settle_round(
        agent.id, agent.token or "", "run", batch.deliveries, outcome="finished", mail="ack", charge="1 1 0 100000"
    )
    run(settle)
    other = next(agent for agent, batch in claimed if not batch.deliveries)
    again = operations.claim(other.id, token="again", fence=other.token or "")
    assert not run(again).deliveries  # 0.10 spent, 2.50 reserved: 0.50 more do not fit
    for agent, batch in begun[1:]:
        run(
            operations.settle_round(
                agent.id,
                agent.token or "",
                "run",
                batch.deliveries,
                outcome="finished",
                mail="ack",
                charge="1 1 0 100000",
            )
        )
    assert len(run(operations.claim(other.id, token="later", fence=other.token or "")).deliveries) == 1


def test_the_last_of_a_budget_is_for_one_round_at_a_time(books: Books) -> None:
    books.allow(town_usd=1.0, reserve_usd=5.0)
    books.mail("ann", "bob")
    batch = books.claim("ann")
    assert batch.deliveries
    assert books.claim("bob").held
    books.settle("ann", "1 1 0 400000", batch=batch)
    assert books.claim("bob").deliveries


def test_what_was_reserved_is_free_when_nothing_comes_of_it(books: Books) -> None:
    def reserved() -> float | None:
        return books.budget("day_usd").reserved

    books.allow(day_usd=10.0)
    books.mail("ann", "bob", "eve")
    batch = books.claim("ann")
    assert reserved() == 0.5
    books.claim("bob")
    assert reserved() == 1.0
    assert (books.budget("day_usd").spent, books.budget("day_usd").left) == (0.0, 9.0)
    ann = books.agents["ann"]
    books.run(books.operations.ack(ann.id, batch.deliveries))
    books.claim("ann")  # there is nothing more
    assert reserved() == 0.5
    books.claim("eve")
    books.run(books.operations.release_agent(books.agents["eve"].id, books.agents["eve"].token or "", "suspended"))
    assert reserved() == 0.5
    books.run(books.operations.deregister_host("h", reason="its kernel was killed"))
    assert reserved() == 0.0


def test_an_agent_that_is_paused_keeps_nothing_from_the_others(books: Books) -> None:
    books.allow(town_usd=2.0, reserve_usd=2.0)
    books.mail("ann", "bob")
    books.claim("ann")  # and the answer was lost
    assert books.claim("bob").held
    books.run(books.operations.report_agent_state(books.agents["ann"].id, books.agents["ann"].token or "", "idle"))
    assert books.claim("bob").held
    books.run(books.operations.report_agent_state(books.agents["ann"].id, books.agents["ann"].token or "", "paused"))
    assert books.claim("bob").deliveries


def test_a_budget_that_is_used_up_is_told_once_and_to_the_human_side(books: Books) -> None:
    books.allow(day_usd=2.0, agent_tokens=100)
    for _ in range(4):
        books.settle("ann", DOLLAR)
    reported = {event["budget"]: event for event in books.reported("budget_spent")}
    assert len(books.reported("budget_spent")) == 2
    assert (reported["day_usd"]["spent"], reported["day_usd"]["limit"], reported["day_usd"]["agent"]) == ("2", "2", "")
    assert (reported["agent_tokens"]["spent"], reported["agent_tokens"]["agent"]) == ("120", "ann")
    mail = books.run(books.operations.peek("supervisor")).messages
    texts = [lying.message.text for lying in mail if lying.message]
    assert len(texts) == 2
    assert any(
        text.startswith("budget day_usd is spent: $2.00 of $2.00. No round begins before tomorrow") for text in texts
    )


def test_budgets_that_stay_the_same_are_not_told(books: Books) -> None:
    books.allow(day_usd=2.0)
    books.allow(day_usd=2.0)
    assert len(books.reported("budgets_changed")) == 1
    books.allow()
    assert books.costs().budgets == ()
    assert books.reported("budgets_changed")[-1]["changed"] == "day_usd, reserve_tokens, reserve_usd"


def test_the_human_side_is_never_held_and_reserves_nothing(books: Books) -> None:
    books.allow(town_usd=0)
    books.mail("supervisor")
    batch = books.run(books.operations.claim("00000000-0000-0000-0000-000000000001", token="c"))
    assert (batch.held, len(batch.deliveries)) == (None, 1)
    assert books.town.command("EXISTS", books.town.key("reserved")) == 0


def test_old_days_go_and_the_sums_stay(books: Books) -> None:
    books.run(books.operations.add_task("old", agent="ann", task_id="old"))
    books.settle("ann", task="old")
    books.settle("bob")
    books.settle("eve")
    books.run(books.operations.deregister_host("h", reason="stopped"))
    books.run(administration.remove_agent(books.operations.keys, "bob", force=True))
    books.age(100)
    assert len(books.rows("day")) == 1
    assert books.run(apply_cost_retention(books.operations.keys, days=101)) == 0
    assert books.run(apply_cost_retention(books.operations.keys, days=100)) == 1
    assert books.run(apply_cost_retention(books.operations.keys, days=100)) == 0
    assert books.rows("day") == {}
    rows = books.rows("agent")
    assert {name: row.usd for name, row in rows.items()} == {"ann": 1.0, "eve": 1.0, "": 1.0}
    assert set(books.rows("task")) == {"old", ""}
    assert books.costs().total.usd == 3.0


def test_the_line_of_a_task_or_an_agent_that_outlives_its_days_goes_with_it(books: Books) -> None:
    books.run(books.operations.add_task("long", task_id="long"))
    books.run(books.operations.add_task("short", task_id="short"))
    books.settle("ann", task="long")
    books.age(100)
    assert books.run(apply_cost_retention(books.operations.keys, days=90)) == 1
    books.settle("bob", task="short")
    books.run(books.operations.deregister_host("h", reason="stopped"))
    assert set(books.rows("task")) == {"long", "short"}
    for task in ("long", "short"):
        books.run(administration.delete_task(books.operations.keys, task))
    for agent in ("ann", "bob"):
        books.run(administration.remove_agent(books.operations.keys, agent, force=True))
    assert books.run(apply_cost_retention(books.operations.keys, days=90)) == 0
    assert set(books.rows("task")) == {"", "short"}
    assert {name: row.usd for name, row in books.rows("agent").items()} == {"": 1.0, "bob": 1.0}


@hypothesis.settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    rounds=st.lists(
        st.tuples(
            st.sampled_from(["ann", "bob", "eve"]),
            st.one_of(
                st.builds(
                    lambda i, o, c, m: f"{i} {o} {min(c, i)} {m}",
                    st.integers(0, 10**9),
                    st.integers(0, 10**9),
                    st.integers(0, 10**9),
                    st.integers(-1, 10**9),
                ),
                st.just("-"),
                st.just(""),
            ),
            st.integers(1, 3),
        ),
        max_size=8,
    )
)
def test_a_settlement_counts_once_however_often_it_is_repeated(
    server_client: BlockingClient, rounds: list[Any]
) -> None:
    books = Books(fresh_town(server_client))
    for name, charge, times in rounds:
        books.settle(name, charge, times=times)
    reported = [(name, charge.split()) for name, charge, _ in rounds if charge]
    kinds = {"ann": "shell", "bob": "shell", "eve": "other"}
    for by, of in (("agent", {name: name for name in kinds}), ("kind", kinds), ("town", dict.fromkeys(kinds, ""))):
        expected: dict[str, list[int]] = {}
        for name, words in reported:
            row = expected.setdefault(of[name], [0] * 5)
            numbers = [int(word) for word in words] if len(words) == 4 else [0, 0, 0, 0]
            for column, number in enumerate([1, *numbers]):
                row[column] += max(0, number)
        found = books.rows(by)
        assert set(found) == set(expected)
        for name, (count, input_, output, cached, money) in expected.items():
            row = found[name]
            assert (row.rounds, row.input_tokens, row.output_tokens, row.cached_tokens) == (
                count,
                input_,
                output,
                cached,
            )
            known = row.rounds - row.unpriced_rounds - row.unmeasured_rounds
            assert row.usd == (pytest.approx(money / 1_000_000) if known else None)
