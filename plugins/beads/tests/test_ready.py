"""Which beads are ready, on a table of small graphs; by the real `bd` too, where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from tinytown_beads.lines import beads_of, read_lines
from tinytown_beads.ready import blocked, blockers, ready

from .conftest import MOMENT, bead, document, edge
from .random_graphs import random_graph

NOW = datetime(2026, 2, 1, tzinfo=UTC)
FUTURE, PAST = "2100-01-01T00:00:00Z", "2020-01-01T00:00:00Z"
CLOSED: dict[str, Any] = {"status": "closed", "closed_at": MOMENT}
ANY = {"metadata": '{"gate":"any-children"}'}


def child(id_: str, parent: str, **fields: Any) -> dict[str, Any]:
    return bead(id_, dependencies=[edge(id_, parent, "parent-child")], **fields)


#: Name of the graph, its beads, and those that are ready, in the order in which `bd ready` shows them.
GRAPHS: dict[str, tuple[Sequence[dict[str, Any]], str]] = {
    "alone": ([bead("a")], "a"),
    "chain": (
        [bead("a"), bead("b", dependencies=[edge("b", "a")]), bead("c", dependencies=[edge("c", "b")])],
        "a",
    ),
    "chain with a closed beginning": (
        [bead("a", **CLOSED), bead("b", dependencies=[edge("b", "a")]), bead("c", dependencies=[edge("c", "b")])],
        "b",
    ),
    "diamond": (
        [
            bead("a", **CLOSED),
            bead("b", dependencies=[edge("b", "a")]),
            bead("c", dependencies=[edge("c", "a")]),
            bead("d", dependencies=[edge("d", "b"), edge("d", "c")]),
        ],
        "b c",
    ),
    "an open parent holds nobody up": ([bead("p", issue_type="epic"), child("p.1", "p")], "p p.1"),
    "a blocked parent does": (
        [
            bead("x"),
            bead("p", issue_type="epic", dependencies=[edge("p", "x")]),
            child("p.1", "p"),
            child("p.1.1", "p.1"),
        ],
        "x",
    ),
    "a closed parent that would be blocked does not": (
        [bead("x"), bead("p", dependencies=[edge("p", "x")], **CLOSED), child("p.1", "p")],
        "p.1 x",
    ),
    "deferred until later": ([bead("a", defer_until=FUTURE), bead("b", defer_until=PAST)], "b"),
    "the status deferred": ([bead("a", status="deferred"), bead("b")], "b"),
    "a deferred parent holds up its children, not theirs": (
        [bead("p", defer_until=FUTURE), child("c", "p"), child("d", "c")],
        "d",
    ),
    "what was closed as failed frees all the same": (
        [
            bead("a", close_reason="failed: no", **CLOSED),
            bead("b", dependencies=[edge("b", "a", "conditional-blocks")]),
        ],
        "b",
    ),
    "conditional-blocks blocks": ([bead("a"), bead("b", dependencies=[edge("b", "a", "conditional-blocks")])], "a"),
    "other edges do not": (
        [
            bead("a"),
            *(
                bead(f"b{number}", dependencies=[edge(f"b{number}", "a", type_)])
                for number, type_ in enumerate(["related", "discovered-from", "tracks", "duplicates", "whatever"])
            ),
        ],
        "a b0 b1 b2 b3 b4",
    ),
    "all children are closed": (
        [bead("s"), child("s.1", "s", **CLOSED), bead("w", dependencies=[edge("w", "s", "waits-for")])],
        "s w",
    ),
    "no children": ([bead("s"), bead("w", dependencies=[edge("w", "s", "waits-for")])], "s w"),
    "an open gate": (
        [bead("g", issue_type="gate", await_type="human"), bead("a", dependencies=[edge("a", "g")])],
        "",
    ),
    "a closed gate": (
        [bead("g", issue_type="gate", await_type="human", **CLOSED), bead("a", dependencies=[edge("a", "g")])],
        "a",
    ),
    "pinned holds nobody up and is not ready": (
        [bead("a", status="pinned"), bead("b", dependencies=[edge("b", "a")]), bead("c", pinned=True)],
        "b",
    ),
    "types that nobody works on": (
        [
            *(
                bead(type_, issue_type=type_)
                for type_ in ["merge-request", "gate", "molecule", "message", "agent", "role", "rig"]
            ),
            bead("e", issue_type="epic"),
        ],
        "e",
    ),
    "statuses": (
        [bead(status, status=status) for status in ["open", "in_progress", "blocked", "hooked"]],
        "open",
    ),
    "ephemeral": ([bead("a", ephemeral=True), bead("b", no_history=True)], "b"),
    "edges to elsewhere": (
        [bead("a", dependencies=[edge("a", "gone")]), bead("b", dependencies=[edge("b", "external:shop:api")])],
        "a b",
    ),
    "by priority, then the newest first, then by id": (
        [
            bead("old", created_at="2026-01-01T00:00:00Z"),
            bead("new", created_at="2026-01-02T00:00:00Z"),
            bead("b", priority=1),
            bead("a", priority=1),
            bead("p4", priority=4),
            bead("p0", priority=0),
        ],
        "p0 a b new old p4",
    ),
}
#: Graphs that files of `bd export` cannot bring back, because an edge's metadata is not imported. Without it `bd` 1.0.5 takes
#: all children, its default, for any child as soon as one is closed; 1.0.2 does not.
OURS_ALONE: dict[str, tuple[Sequence[dict[str, Any]], str]] = {
    "waiting for all children": (
        [
            bead("s"),
            child("s.1", "s", **CLOSED),
            child("s.2", "s"),
            bead("w", dependencies=[edge("w", "s", "waits-for")]),
        ],
        "s s.2",
    ),
    "waiting for any child": (
        [bead("s"), child("s.1", "s", **CLOSED), child("s.2", "s"), bead("w", dependencies=[edge("w", "s", "waits-for", **ANY)])],
        "s s.2 w",
    ),
    "none of any children is closed": (
        [bead("s"), child("s.2", "s"), bead("w", dependencies=[edge("w", "s", "waits-for", **ANY)])],
        "s s.2",
    ),
    "an edge belongs to the bead that it names": (
        [bead("a"), bead("b"), bead("c", dependencies=[edge("b", "a")])],
        "a c",
    ),
}  # fmt: skip


#: Graphs of some dozen beads with every kind of edge, status and type.
RANDOM = {f"random {number}": random_graph(number) for number in range(30)}


def ready_in(records: Sequence[dict[str, Any]], **options: Any) -> list[str]:
    return [each.id for each in ready(beads_of(read_lines(document(*records))), NOW, **options)]


@pytest.mark.parametrize("name", [*GRAPHS, *OURS_ALONE])
def test_the_ready_beads_of_a_graph(name: str) -> None:
    records, expected = {**GRAPHS, **OURS_ALONE}[name]
    assert ready_in(records) == expected.split()


def test_every_bead_is_ready_or_has_a_reason_why_not() -> None:
    for records, _ in [*GRAPHS.values(), *OURS_ALONE.values()]:
        beads = beads_of(read_lines(document(*records)))
        reasons = blockers(beads, NOW)
        assert set(reasons) | set(ready_in(records)) == set(beads)
        assert all(reasons.values())


def test_what_is_left_out_is_there_when_it_is_asked_for() -> None:
    records = [bead("g", issue_type="gate"), bead("a"), bead("d", defer_until=FUTURE), bead("e", ephemeral=True)]
    assert ready_in(records, types=["gate"]) == ["g"]
    assert ready_in(records, deferred=True) == ["a", "d"]
    assert ready_in(records, ephemeral=True) == ["a", "e"]


def test_parents_in_a_circle_do_not_hang() -> None:
    records = [child("a", "b"), child("b", "a"), bead("x"), bead("c", dependencies=[edge("c", "c")])]
    assert ready_in(records) == ["a", "b", "c", "x"]
    assert blocked(beads_of(read_lines(document(*records)))) == {}


BD = shutil.which("bd")
BOTH: dict[str, Sequence[dict[str, Any]]] = {**{name: records for name, (records, _) in GRAPHS.items()}, **RANDOM}
#: The types that Gastown adds to those of `bd`.
GASTOWN_TYPES = "agent,role,rig,convoy,slot,queue,event,message,molecule,gate,merge-request"


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """The beads that the real program calls ready, of all graphs in one database, where ids begin with their graph's number."""
    if BD is None:
        pytest.skip("no bd is on PATH: what the real program says cannot be compared")
    directory = tmp_path_factory.mktemp("real")
    every = [renamed(records, f"g{number}-") for number, records in enumerate(BOTH.values())]
    (directory / "in.jsonl").write_bytes(document(*chain.from_iterable(every)))
    bd(directory, "init", "--prefix", "tt", "--non-interactive", "--skip-hooks", "--skip-agents", "--quiet")
    bd(directory, "config", "set", "types.custom", GASTOWN_TYPES)
    bd(directory, "import", "in.jsonl")
    answer = json.loads(bd(directory, "ready", "--json", "--limit", "0"))
    return [each["id"] for each in (answer["data"] if isinstance(answer, dict) else answer)]


@pytest.mark.parametrize("name", BOTH)
def test_the_real_program_says_the_same(name: str, answered: Sequence[str]) -> None:
    prefix = f"g{list(BOTH).index(name)}-"
    assert [id_.removeprefix(prefix) for id_ in answered if id_.startswith(prefix)] == ready_in(BOTH[name])


def renamed(records: Sequence[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    """The beads of a graph with a prefix to each id, in edges too; edges to elsewhere lead there still."""
    ids = {record["id"]: f"{prefix}{record['id']}" for record in records}
    ends = ("issue_id", "depends_on_id")
    return [
        {
            **record,
            "id": ids[record["id"]],
            "dependencies": [
                {**each, **{end: ids.get(each[end], each[end]) for end in ends}}
                for each in record.get("dependencies", ())
            ],
        }
        for record in records
    ]


def bd(directory: Path, *words: str) -> str:
    """What the real program answers, in an environment that knows no other database."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BEADS_", "BD_"))}
    done = subprocess.run(
        [BD or "bd", *words], cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
