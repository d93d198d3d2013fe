"""tt costs, tt budget and tt accounts as a person types them."""

from __future__ import annotations

import time

import pytest
from tinytown.protocol import TownOperations
from tinytown.redis import parse_url
from tinytown_cli.blocking_client import BlockingClient
from tinytown_testing.shell import Shell

HOUR_MS = 3_600_000


@pytest.fixture
def own_town(tt: Shell) -> Shell:
    """A shell in a town of this test's own."""
    tt("init", "--name", "own")
    return tt


@pytest.fixture
def spent(own_town: Shell) -> Shell:
    """A town in which two agents have spent something, and their account is throttled."""
    tt = own_town
    for name in ("ann", "bob"):
        tt("spawn", name)
    task = tt("assign", "ann", "port the parser", "--title", "The parser", "--json").json["task_id"]
    calls = TownOperations(tt("status", "--json").json["town"])
    with BlockingClient(parse_url(tt.server().url)) as client:
        client.run(calls.register_host("h", lease_ms=HOUR_MS, details={"name": "here"}))
        placed = client.run(calls.place_agents("h", ["shell"], count=2)).agents
        ann, bob = sorted(placed, key=lambda agent: agent.name)
        rounds = [(ann, task, "12000 450 9000 21300"), (ann, "", "-"), (bob, "", "100 10 0 -1")]
        for number, (agent, about, charge) in enumerate(rounds):
            settle = calls.settle_round(
                agent.id,
                agent.token or "",
                f"run{number}",
                (),
                outcome="finished",
                mail="ack",
                task_ids=[about] if about else [],
                charge=charge,
            )
            client.run(settle)
        client.run(
            calls.settle_round(
                bob.id, bob.token or "", "last", (), outcome="rate_limited", mail="return", throttled_ms=HOUR_MS
            )
        )
    return tt


def test_costs_are_shown_by_agent_task_day_and_kind_and_an_unknown_price_is_not_zero(spent: Shell) -> None:
    text = spent("costs").out
    assert "ann" in text.splitlines()[1]
    assert "0.0213+" in text.splitlines()[1]
    assert "unknown" in text.splitlines()[2]
    assert "1 of 3 rounds reported no price; set [rates.KIND]" in text
    assert "1 of 3 rounds reported no usage" in text
    answer = spent("costs", "--by", "task", "--json").json
    assert [(row["title"], row["usd"]) for row in answer["rows"]] == [("The parser", 0.0213), (None, None)]
    assert answer["total"]["rounds"] == 3
    assert "The parser" in spent("costs", "--by", "task").out
    assert spent("costs", "--by", "day", "--json").json["rows"][0]["name"] == answer["today"]
    assert [
        row["name"] for row in spent("costs", "--by", "kind", "--since", answer["today"], "--json").json["rows"]
    ] == ["shell"]
    assert spent("costs", "--since", "2999-01-01", "--json").json["rows"] == []
    assert len(spent("costs", "--limit", "1", "--json").json["rows"]) == 1


def test_an_invalid_day_or_dimension_is_a_usage_error(own_town: Shell) -> None:
    assert own_town("costs", "--since", "yesterday", "--json", code=2).error["message"] == (
        "expected a day such as 2026-01-31, got 'yesterday'"
    )
    own_town("costs", "--by", "weather", code=2)
    assert "no costs yet" in own_town("costs").out


def test_budgets_are_shown_and_applied_from_the_file(spent: Shell) -> None:
    assert "no budgets; for example: tt config set budgets.day_usd 20" in spent("budget").out
    spent("config", "set", "budgets.day_usd", "0.02")
    spent("config", "set", "budgets.agents.ann.tokens", "5000")
    assert "tinytown.toml differs" in spent("budget").out
    answer = spent("budget", "--apply", "--json").json
    assert (answer["as_in_file"], answer["changed"]) == (
        True,
        ["agent_tokens ann", "day_usd", "reserve_tokens", "reserve_usd"],
    )
    day = next(budget for budget in answer["budgets"] if budget["budget"] == "day_usd")
    assert (day["limit"], day["spent"], day["left"]) == (0.02, 0.0213, 0.0)
    own = next(budget for budget in answer["budgets"] if budget["agent"] == "ann")
    assert (own["limit"], own["spent"], own["left"]) == (5000.0, 3450.0, 1550.0)
    assert "differs" not in spent("budget").out
    assert "budgets in dollars do not include them" in spent("budget").out
    assert "day_usd" in spent("costs").out


def test_agents_cannot_change_budgets(spent: Shell) -> None:
    agent = {"TINYTOWN_AGENT_NAME": "ann", "TINYTOWN_TOWN": str(spent.directory)}
    assert "ann" in spent("budget", "--apply", "--json", env=agent, code=4).error["message"]
    spent("config", "set", "budgets.day_usd", "9999", env=agent, code=4)
    assert "9999" not in (spent.directory / "tinytown.toml").read_text()


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e30", "lots"])
def test_an_invalid_budget_is_refused(own_town: Shell, value: str) -> None:
    own_town("config", "set", "budgets.day_usd", value, code=2)
    own_town("config", "set", "rates.shell", "{input_usd_per_mtok = 1, output_usd_per_mtok = 1}")
    own_town("config", "set", "rates.shell.input_usd_per_mtok", value, code=2)


def test_a_throttled_account_is_shown_and_unparked(spent: Shell) -> None:
    assert "parked until 20" in spent("accounts").out
    (account,) = spent("accounts", "--json").json["accounts"]
    assert (account["name"], account["agents"], account["kinds"]) == ("shell", 2, ["shell"])
    assert account["parked_until"]
    assert spent("accounts", "unpark", "shell").out == "shell is available\n"
    assert spent("accounts", "unpark", "shell").out == "shell is available (it was not parked)\n"
    assert spent("accounts", "list", "--json").json["accounts"][0]["parked_until"] is None
    assert "known accounts: shell" in spent("accounts", "unpark", "claude", "--json", code=3).error["message"]
    spent("accounts", "nonsense", code=2)


def test_a_new_budget_applies_to_a_running_kernel_at_once(own_town: Shell) -> None:
    own_town("start", "--background")
    own_town("config", "set", "budgets.town_usd", "0")
    own_town("spawn", "ann")
    own_town("assign", "ann", "echo no")
    deadline = time.monotonic() + 20
    while "budget town_usd is spent: $0.00 of $0.00" not in own_town("list").out:
        assert time.monotonic() < deadline
    assert "budget town_usd is spent" in own_town("status").out
    own_town("config", "unset", "budgets.town_usd")
    own_town("wait", "ann", "--timeout", "30")
    own_town("stop")
