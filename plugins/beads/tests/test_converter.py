"""The converter keeps every promise of its contract, and nothing of a bead file or of a task is lost on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from tinytown.model.messages import PRIORITIES
from tinytown.model.tasks import Task
from tinytown_beads.converter import BeadConverter
from tinytown_beads.json_text import decode
from tinytown_beads.lines import beads_of, read_lines
from tinytown_beads.view import tag_of
from tinytown_testing import ConverterScenarios, check_converter

from .conftest import DOCUMENTS, EVERY_FIELD, MOMENT, bead, document, edge


async def test_the_promises_of_a_converter() -> None:
    scenarios = ConverterScenarios(
        documents=tuple(each for name, each in DOCUMENTS.items() if name != "large"),
        bad_lines=((document(bead("tt-1"), "{"), 2), (b'{"id":"a","title":"b","priority":9}', 1)),
    )
    report = await check_converter(BeadConverter, scenarios=scenarios)
    report.raise_if_broken()
    assert report.not_applicable == ()


def as_task(arguments: dict[str, Any], **fields: Any) -> Task:
    """The task that a town makes of what was read."""
    answer = {name: value for name, value in arguments.items() if name not in ("task_id", "finished")}
    state = arguments.get("finished", "pending")
    return msgspec.convert({"id": arguments["task_id"], "state": state, **answer, **fields}, Task, strict=False)


def tasks_in(content: bytes, **changes: dict[str, Any]) -> list[Task]:
    """The tasks of a document, with other values for some fields of some of them."""
    return [as_task(dict(task), **changes.get(task["task_id"], {})) for task in BeadConverter().read(content).tasks]


def test_a_file_comes_back_byte_for_byte(each_document: bytes) -> None:
    tasks = tasks_in(each_document)
    assert BeadConverter().rewrite(each_document, tasks) == each_document


def test_a_file_of_tasks_alone_comes_back_from_the_tasks_alone() -> None:
    content = document(bead("tt-2", priority=1), bead("tt-1", notes="n", future=[1.0]))
    assert BeadConverter().write(tasks_in(content)) == content


def record_of(content: bytes, id_: str) -> dict[str, Any]:
    return dict(beads_of(read_lines(content))[id_].record)


def rewritten(content: bytes, **changes: dict[str, Any]) -> bytes:
    return BeadConverter().rewrite(content, tasks_in(content, **changes))


LATER = "2026-03-01T10:00:00.125Z"


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"title": "better"}, {"title": "better", "description": "title of tt-1"}),
        ({"description": "more <b>"}, {"description": "more <b>"}),
        ({"priority": "urgent"}, {"priority": 0}),
        ({"state": "running"}, {"status": "in_progress", "started_at": "2026-03-01T10:00:00Z"}),
        (
            {"state": "completed", "result": "all done", "completed_at": LATER},
            {"status": "closed", "closed_at": "2026-03-01T10:00:00Z", "close_reason": "all done"},
        ),
        (
            {"state": "failed", "reason": "no network"},
            {"status": "closed", "closed_at": "2026-03-01T10:00:00Z", "close_reason": "failed: no network"},
        ),
        (
            {"state": "cancelled"},
            {"status": "closed", "closed_at": "2026-03-01T10:00:00Z", "close_reason": "cancelled"},
        ),
        ({"assigned_to": "ada"}, {"assignee": "ada"}),
        ({"tags": ("gt.new", "fresh")}, {"labels": ["gt:new", "fresh"]}),
    ],
)
def test_a_change_of_a_task_is_laid_over_its_record_and_over_nothing_else(
    changes: dict[str, Any], fields: dict[str, Any]
) -> None:
    content = document(bead("tt-1", labels=["gt:new", "old label"], notes="n", future=1), bead("tt-2"))
    after = rewritten(content, **{"tt-1": {**changes, "updated_at": LATER}})
    assert record_of(after, "tt-1") == record_of(content, "tt-1") | fields | {"updated_at": "2026-03-01T10:00:00Z"}
    assert record_of(after, "tt-2") == record_of(content, "tt-2")


def test_opening_a_closed_bead_again_takes_its_end_away() -> None:
    content = document(bead("tt-1", status="closed", closed_at=MOMENT, close_reason="done", notes="n"))
    after = record_of(rewritten(content, **{"tt-1": {"state": "pending", "updated_at": LATER}}), "tt-1")
    assert after == bead("tt-1", notes="n", updated_at="2026-03-01T10:00:00Z")


def test_a_stamp_is_always_newer_than_the_one_before() -> None:
    content = document(bead("tt-1", updated_at="2030-01-01T00:00:00.9Z"))
    after = record_of(rewritten(content, **{"tt-1": {"title": "x", "updated_at": LATER}}), "tt-1")
    assert after["updated_at"] == "2030-01-01T00:00:01Z"


def test_edges_that_block_follow_the_needs_and_all_others_stay() -> None:
    edges = [
        edge("tt-3", "tt-1"),
        edge("tt-3", "tt-2", "related"),
        edge("tt-3", "gone"),
        edge("tt-3", "tt-9", "parent-child"),
    ]
    content = document(bead("tt-1"), bead("tt-2"), bead("tt-4"), bead("tt-9"), bead("tt-3", dependencies=edges))
    after = rewritten(content, **{"tt-3": {"needs": ("tt-4",), "parent": "tt-1", "updated_at": LATER}})
    answer = [(each["depends_on_id"], each["type"]) for each in record_of(after, "tt-3")["dependencies"]]
    assert answer == [("tt-2", "related"), ("gone", "blocks"), ("tt-4", "blocks"), ("tt-1", "parent-child")]


def test_a_task_of_ours_becomes_a_bead_that_bd_accepts() -> None:
    first = Task(id="7f0c2d9e-4b1a-4c3d-8e5f-0123456789ab", description="first line\nsecond", created_at=LATER)
    second = Task(
        id="ship-it", description="d", title="t" * 600, needs=(first.id,), parent=first.id, priority="high",
        state="failed", reason="no", completed_at=LATER, tags=("a b",), role="backend", meta={"x": {"y": []}},
    )  # fmt: skip
    records = [decode(line) for line in BeadConverter("shop").write([second, first]).decode().splitlines()]
    by_title = {record["title"]: record for record in records}
    one = by_title["first line"]
    assert list(one) == [
        "_type", "id", "title", "description", "status", "priority", "issue_type", "created_at", "created_by", "updated_at",
        "external_ref", "source_system", "metadata",
    ]  # fmt: skip
    assert one["id"].startswith("shop-")
    assert one["external_ref"] == f"tinytown:{first.id}"
    other = next(record for record in records if record is not one)
    assert other["id"] == "ship-it"
    assert len(other["title"].encode()) <= 500
    assert (other["status"], other["close_reason"], other["closed_at"]) == (
        "closed",
        "failed: no",
        "2026-03-01T10:00:00Z",
    )
    assert [(each["depends_on_id"], each["type"]) for each in other["dependencies"]] == [(one["id"], "parent-child")]
    assert other["metadata"]["tinytown"]["needs"] == [first.id]


IDS = st.uuids(version=4).map(str) | st.sampled_from(["ship-it", "tt-1", "tt-1.1", "A_b"])
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=BIDI), min_size=1)
WORDS = st.sampled_from(["a", "B 2", "x.y", "0-_", "task", "bug"])
VALUES = st.integers() | PLAIN | st.lists(st.booleans(), max_size=2)
TABLES = st.dictionaries(WORDS, st.dictionaries(WORDS, VALUES, max_size=2), max_size=2)


@st.composite
def plans(draw: st.DrawFn) -> list[Task]:
    """Tasks with all that is ours to keep, each needing only earlier ones."""
    tasks: list[Task] = []
    for id_ in draw(st.lists(IDS, unique=True, max_size=5)):
        earlier = [task.id for task in tasks]
        state = draw(st.sampled_from(["pending", "completed", "failed", "cancelled"]))
        tasks.append(
            Task(
                id=id_,
                description=draw(PLAIN.filter(str.strip)),
                title=draw(st.just("") | PLAIN.filter(str.strip).map(lambda text: text[:200])),
                priority=draw(st.sampled_from(PRIORITIES)),
                state=state,
                result=draw(PLAIN) if state == "completed" else None,
                reason=draw(PLAIN) if state in ("failed", "cancelled") else None,
                tags=tuple(draw(st.lists(WORDS, unique=True, max_size=3))),
                role=draw(st.none() | WORDS),
                needs=tuple(draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3))) if earlier else (),
                parent=draw(st.sampled_from(earlier)) if earlier and draw(st.booleans()) else None,
                created_at=LATER,
                updated_at=LATER,
                meta=draw(TABLES),
            )
        )  # fmt: skip
    return tasks


def reported(task: Task) -> dict[str, Any]:
    """What of a task has to come back."""
    kept = ("id", "description", "title", "priority", "tags", "role", "parent", "meta", "state")
    open_needs = set(task.needs)
    return {name: getattr(task, name) for name in kept} | {"needs": open_needs}


def needs_of_open_parents(task: Task, tasks: Mapping[str, Task]) -> set[str]:
    """What a bead waits for because its parents do; of a need of the parent itself a bead has no edge to hand down."""
    needs: set[str] = set()
    parent = tasks.get(task.parent or "")
    while parent and not parent.finished:
        needs |= {need for need in parent.needs if need != parent.parent}
        parent = tasks.get(parent.parent or "")
    return needs


@given(tasks=plans())
def test_our_own_tasks_come_back_with_all_they_have(tasks: Sequence[Task]) -> None:
    content = BeadConverter().write(tasks)
    read = BeadConverter().read(content)
    assert read.problems == ()
    undone = {task.id for task in tasks if task.state in ("failed", "cancelled")}
    back = {each["task_id"]: reported(as_task(dict(each))) for each in read.tasks}
    wanted = {task.id: reported(task) for task in tasks}
    for each in wanted.values():
        each["needs"] -= undone  # in beads what was closed holds nobody up
    for task in tasks:
        if not task.finished:
            wanted[task.id]["needs"] |= needs_of_open_parents(task, {each.id: each for each in tasks}) - undone
    assert back == wanted
    assert BeadConverter().rewrite(content, [as_task(dict(each)) for each in read.tasks]) == content


TEXTS = st.dictionaries(
    st.sampled_from(["design", "acceptance_criteria", "notes", "external_ref", "issue_type"]), PLAIN
)
COMMENTS = st.lists(
    st.fixed_dictionaries({"id": WORDS, "author": WORDS, "text": PLAIN, "created_at": st.just(MOMENT)}),
    unique_by=lambda each: each["id"], max_size=3,
)  # fmt: skip


@given(texts=TEXTS, comments=COMMENTS, labels=st.lists(PLAIN, unique=True, max_size=3), table=TABLES)
def test_what_only_beads_can_say_goes_out_as_their_fields_and_comes_back(
    texts: dict[str, str], comments: list[dict[str, Any]], labels: list[str], table: dict[str, Any]
) -> None:
    kept: dict[str, Any] = {**texts, "comments": comments, "labels": labels, "metadata": table, "priority": 4}
    tags = tuple(dict.fromkeys(tag for tag in map(tag_of, labels) if tag))
    task = Task(id="ship-it", description="d", priority="low", tags=tags, meta={"bd": kept}, created_at=LATER)
    content = BeadConverter().write([task])
    record = record_of(content, "ship-it")
    assert {key: record[key] for key in texts} == texts
    assert {each["id"]: each for each in record.get("comments", [])} == {comment["id"]: comment for comment in comments}
    assert set(labels) <= set(record.get("labels", [])) | {texts.get("issue_type")}
    assert record["priority"] == 4
    assert {key: value for key, value in record["metadata"].items() if key != "tinytown"} == table
    (again,) = BeadConverter().read(content).tasks
    assert BeadConverter().write([as_task(dict(again), created_at=LATER)]) == content


def test_every_field_survives_a_change_elsewhere() -> None:
    record = {**EVERY_FIELD, "ephemeral": False, "is_template": False, "pinned": False}
    content = document(record, bead("tt-b2c"))
    after = record_of(rewritten(content, **{"tt-a1b": {"title": "new", "updated_at": LATER}}), "tt-a1b")
    assert after == record | {"title": "new", "updated_at": "2026-03-01T10:00:00Z"}
