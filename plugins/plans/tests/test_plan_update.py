"""A pull writes the changed values into a plan and leaves every other character as it is."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings, strategies as st
from tinytown.model.text import check_text
from tinytown_plans.plan_file import PlanTask, read_plan
from tinytown_plans.plan_update import write_back
from tinytown_plans.template import TEMPLATE

#: The same examples every day, on a machine that may be busy.
QUICK = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))

PLAN = """\
# Our plan, with care.

[meta]
description = "x"     # short

[[tasks]]   # the first
id = 'a'
status = 'pending'  # how far it is
description = '''
[[tasks]]
id = "not me"
'''

# Comes after the first, because of the API.
[[tasks]]
description = "y"
id = "b"
tags = [
  "one",   # not two
]


# The end.
"""


def test_only_lines_with_changes_differ() -> None:
    changes = {"a": {"status": "completed"}, "b": {"status": "running", "agent": "ann"}}
    written = write_back(PLAN, read_plan(PLAN, "x"), changes)
    assert written == PLAN.replace("'pending'  #", '"completed"  #').replace(
        '  "one",   # not two\n]\n', '  "one",   # not two\n]\nstatus = "running"\nagent = "ann"\n'
    )


def test_no_changes_leave_the_text_as_it_is() -> None:
    odd = "tasks=[{id='a',description='x'}]"  # no newline at its end
    assert write_back(odd, read_plan(odd, "x"), {}) == odd
    assert write_back(PLAN, read_plan(PLAN, "x"), {"a": {}}) == PLAN


def test_tasks_of_the_town_are_appended() -> None:
    new = [
        PlanTask(id="c", description='two\nlines "of" \\ it\n', tags=("a", "b"), needs=("a",), status="running"),
        PlanTask(id="d", description="\nodd\r\n'''", agent=""),
    ]
    plan = read_plan(PLAN, "x")
    written = write_back(PLAN, plan, {}, new)
    assert written.startswith(PLAN)
    assert read_plan(written, "x").tasks == (*plan.tasks, *new)


def test_inline_tables_and_windows_line_ends_are_kept() -> None:
    inline = 'tasks = [\r\n  {id = "a", description = "x"},  # one\r\n]\r\n'
    written = write_back(
        inline, read_plan(inline, "x"), {"a": {"status": "failed"}}, [PlanTask(id="b", description="y")]
    )
    assert "\n" not in written.replace("\r\n", "")
    assert "# one\r\n" in written
    assert [(item.id, item.status) for item in read_plan(written, "x").tasks] == [("a", "failed"), ("b", "pending")]


#: Texts that a town takes, of the characters that TOML treats in some way of its own.
texts = st.text(st.sampled_from("ab \"'\\\n\t#[]{}=,é🦆."), min_size=1, max_size=30).filter(str.strip)


def is_text(text: str) -> bool:
    return bool(check_text("x", text, 1000))


@QUICK
@given(
    tasks=st.lists(st.tuples(texts, st.lists(st.sampled_from(["a", "b c"]), max_size=2)), min_size=1, max_size=4),
    status=st.sampled_from(["completed", "running"]),
    pick=st.integers(0, 99),
    line=st.sampled_from(["# a comment\n", "\n", ""]),
)
def test_any_text_in_a_plan_survives(tasks: list[tuple[str, list[str]]], status: str, pick: int, line: str) -> None:
    expected = tuple(
        PlanTask(id=f"t{number}", description=text, title="x", tags=tuple(tags))
        for number, (text, tags) in enumerate(tasks)
        if is_text(text)
    )
    text = line.join(write_back("", read_plan("", "x"), {}, [task]) for task in expected)
    plan = read_plan(text, "x")
    assert plan.tasks == expected
    chosen = expected[pick % len(expected)].id
    written = write_back(text, plan, {chosen: {"status": status}})
    assert [task.status for task in read_plan(written, "x").tasks] == [
        status if task.id == chosen else "pending" for task in expected
    ]
    assert written.replace(f'status = "{status}"\n', "", 1) == text


def test_the_example_accepts_every_change() -> None:
    plan = read_plan(TEMPLATE, "x")
    written = write_back(TEMPLATE, plan, {"first": {"status": "completed"}, "second": {"status": "assigned"}})
    assert set(TEMPLATE.splitlines()) <= set(written.splitlines())
