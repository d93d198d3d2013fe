"""What beads become: tasks, things that are waited for, and what is only kept; what cannot be said is noted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st
from tinytown_beads.cycles import break_cycles, in_dependency_order
from tinytown_beads.lines import beads_of, read_lines
from tinytown_beads.mapping import Mapped, map_beads, task_arguments

from .conftest import MOMENT, bead, document, edge

NOW = datetime(2026, 2, 1, tzinfo=UTC)


def mapped(*records: dict[str, Any], **options: Any) -> Mapped:
    return map_beads(beads_of(read_lines(document(*records))), NOW, **options)


@pytest.mark.parametrize(
    ("fields", "state", "outcome"),
    [
        ({"status": "open"}, "open", ""),
        ({"status": "hooked"}, "open", ""),
        ({"status": "in_progress"}, "in_progress", ""),
        (
            {"status": "closed", "close_reason": "fixed the error that failed"},
            "completed",
            "fixed the error that failed",
        ),
        ({"status": "closed"}, "completed", ""),
        ({"status": "closed", "close_reason": "Failed: no disk"}, "failed", "no disk"),
        ({"status": "closed", "close_reason": "wontfix"}, "cancelled", "wontfix"),
        ({"status": "closed", "close_reason": "Cancelled - twice"}, "cancelled", "twice"),
    ],
)
def test_the_state_of_a_task(fields: dict[str, Any], state: str, outcome: str) -> None:
    view = mapped(bead("a", **fields)).views["a"]
    assert (view.state, view.outcome, view.held) == (state, outcome, "")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "deferred"}, "deferred"),
        ({"status": "deferred", "defer_until": "2100-01-01T00:00:00Z"}, "deferred until 2100-01-01T00:00:00Z"),
        ({"defer_until": "2100-01-01T00:00:00Z"}, "deferred until 2100-01-01T00:00:00Z"),
        ({"defer_until": "2020-01-01T00:00:00Z"}, ""),
        ({"status": "blocked"}, "status is blocked"),
        ({"status": "staged_ready"}, "status is staged_ready"),
        ({"issue_type": "gate", "await_type": "gh:pr", "await_id": "12"}, "gate: waits for gh:pr 12"),
        (
            {"issue_type": "gate", "await_type": "timer", "timeout": 1_800_000_000_000},
            "gate: waits until 2026-01-14T10:00:00Z",
        ),
        ({"issue_type": "molecule"}, "molecule: other tasks wait for it; nobody works on it"),
        ({"labels": ["gt:escalation"]}, "escalation: other tasks wait for it; nobody works on it"),
        ({"status": "closed", "issue_type": "gate"}, ""),
    ],
)
def test_who_is_held_and_why(fields: dict[str, Any], reason: str) -> None:
    assert mapped(bead("a", **fields)).views["a"].held == reason


@pytest.mark.parametrize(
    "fields",
    [
        {"issue_type": "agent"},
        {"issue_type": "convoy"},
        {"issue_type": "merge-request"},
        {"issue_type": "task", "labels": ["gt:message", "from:mayor/"]},
        {"issue_type": "event"},
        {"ephemeral": True},
        {"wisp": True},
        {"is_template": True},
        {"pinned": True},
        {"status": "pinned"},
    ],
)
def test_what_is_no_work_is_carried(fields: dict[str, Any]) -> None:
    result = mapped(bead("a", **fields))
    assert (list(result.views), list(result.unmapped)) == ([], ["a"])


def test_what_is_carried_becomes_a_task_when_work_waits_for_it() -> None:
    result = mapped(bead("mr", issue_type="merge-request"), bead("a", dependencies=[edge("a", "mr")]))
    assert result.views["a"].needs == ("mr",)
    assert result.views["mr"].held
    child = bead("m", issue_type="message", dependencies=[edge("m", "s", "parent-child")])
    result = mapped(bead("s"), child, bead("a", dependencies=[edge("a", "s", "waits-for")]))
    assert result.views["a"].needs == ("m",)


@pytest.mark.parametrize(("priority", "answer"), list(enumerate(["urgent", "high", "normal", "low", "lowest"])))
def test_priorities(priority: int, answer: str) -> None:
    assert mapped(bead("a", priority=priority)).views["a"].priority == answer


def test_labels_and_the_type_become_tags() -> None:
    record = bead("a", issue_type="bug", labels=["gt:x/y", "needs review", "\u00e9", "ui"])
    assert mapped(record).views["a"].tags == ("bug", "gt.x.y", "needs review", "ui")


def test_needs_are_open_or_done_and_those_of_parents() -> None:
    result = mapped(
        bead("done", status="closed", closed_at=MOMENT),
        bead("undone", status="closed", closed_at=MOMENT, close_reason="wontfix"),
        bead("x"),
        bead("p", dependencies=[edge("p", "x")]),
        bead("c", dependencies=[edge("c", "p", "parent-child"), edge("c", "done"), edge("c", "undone")]),
        bead("d", dependencies=[edge("d", "c", "parent-child")]),
    )
    assert result.views["c"].needs == ("done", "x")
    assert result.views["d"].needs == ("done", "x")
    assert result.views["c"].parent == "p"


def test_waiting_for_children_is_needing_each_of_them() -> None:
    result = mapped(
        bead("s"),
        bead("s.1", dependencies=[edge("s.1", "s", "parent-child")]),
        bead("s.2", dependencies=[edge("s.2", "s", "parent-child")]),
        bead("all", dependencies=[edge("all", "s", "waits-for")]),
        bead("any", dependencies=[edge("any", "s", "waits-for", metadata='{"gate":"any-children"}')]),
    )
    assert result.views["all"].needs == ("s.1", "s.2")
    assert result.views["any"].needs == ()
    assert result.views["any"].held == "waits for any child of s"
    assert result.notes["any"] == ("it waits for any child of s, which tasks do not support",)


def test_an_epic_that_waits_for_its_children_closes_no_circle() -> None:
    result = mapped(
        bead("p", issue_type="epic", dependencies=[edge("p", "p.1")]),
        bead("p.1", dependencies=[edge("p.1", "p", "parent-child")]),
    )
    assert (result.views["p"].needs, result.views["p.1"].needs, result.notes) == (("p.1",), (), {})


def test_circles_and_edges_to_nowhere_are_noted() -> None:
    result = mapped(
        bead("a", dependencies=[edge("a", "b"), edge("a", "external:shop:api")]),
        bead("b", dependencies=[edge("b", "a")]),
    )
    assert (result.views["a"].needs, result.views["b"].needs) == (("b",), ())
    assert result.notes["a"] == ("it refers to beads that are not in the file: external:shop:api",)
    assert result.notes["b"] == ("its need of a would create a cycle",)


def test_texts_are_such_as_a_town_takes() -> None:
    view = mapped(bead("a", title="bell \x07", description="\ud800 \x1b[2J"), bead("b", description=" ")).views
    assert (view["a"].title, view["a"].description) == ("bell \ufffd", "\ufffd \ufffd[2J")
    assert view["b"].description == "title of b"


def test_a_long_description_is_cut_between_two_characters_and_noted() -> None:
    result = mapped(bead("a", description="\u00e9" * 100), limit_bytes=50)
    assert result.views["a"].description == "\u00e9" * 23 + "\u2026"
    assert result.notes["a"] == ("its description is truncated to 50 bytes in the task",)


def test_ids_that_a_town_does_not_take_become_such_that_it_does() -> None:
    records = [bead("a/b"), bead("a:b"), bead("\u00e9"), bead("x" * 200), bead("tt-1.2")]
    ids = mapped(*records).task_ids
    assert ids["tt-1.2"] == "tt-1.2"
    assert len(set(ids.values())) == 5
    assert ids["a/b"].startswith("a.b-")


def test_a_parent_without_a_task_is_no_parent() -> None:
    records = document(bead("a", dependencies=[edge("a", "gone", "parent-child")]))
    beads = beads_of(read_lines(records))
    assert not task_arguments(beads["a"], map_beads(beads, NOW))["parent"]


NODES = st.sampled_from("abcdef")


@given(edges=st.lists(st.tuples(NODES, NODES), max_size=20))
def test_needs_without_circles_can_be_put_in_order(edges: list[tuple[str, str]]) -> None:
    needs, cut = break_cycles(edges)
    kept = {(who, need) for who, each in needs.items() for need in each}
    assert kept | set(cut) == set(edges)
    order = in_dependency_order("fedcba", needs)
    assert sorted(order) == list("abcdef")
    assert all(order.index(need) < order.index(who) for who, need in kept)


@given(edges=st.lists(st.tuples(NODES, NODES).filter(lambda edge: edge[0] < edge[1]), max_size=20))
def test_where_there_is_no_circle_nothing_is_cut(edges: list[tuple[str, str]]) -> None:
    assert break_cycles(edges)[1] == []


def test_a_long_chain_and_a_large_tangle_take_no_time() -> None:
    chain = [(f"n{number}", f"n{number + 1}") for number in range(20_000)]
    needs, cut = break_cycles(chain)
    assert (len(needs), cut) == (20_000, [])
    assert in_dependency_order([f"n{number}" for number in range(20_001)], needs)[0] == "n20000"
