"""The format of a plan, and its errors: with the file, the line and the task."""

from __future__ import annotations

import time

import pytest
from tinytown.errors import UsageError
from tinytown_plans.plan_file import Plan, PlanMeta, PlanTask, read_plan
from tinytown_plans.template import TEMPLATE

#: As Tinytown 0.10 for Rust writes it.
RUST = """\
[meta]
description = "a word counter"
default_agent = "backend"

[[tasks]]
id = "count"
description = "count words"
agent = "backend"
status = "completed"
tags = ["python", "core"]

[[tasks]]
id = "docs"
description = "describe it"
status = "pending"
tags = []
parent = "count"
"""


def error_of(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_plan(text, "tasks.toml")
    error = caught.value
    assert error.code == "bad_plan"
    assert error.message.startswith("tasks.toml")
    assert "\n" not in error.message
    return error


def task(number: int = 0, **keys: str) -> str:
    fields = {"id": f'"t{number}"', "description": '"do it"', **keys}
    return "[[tasks]]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items() if value) + "\n"


def test_a_plan_of_the_rust_tinytown_is_read() -> None:
    plan = read_plan(RUST, "tasks.toml")
    assert plan.meta == PlanMeta(description="a word counter", default_agent="backend")
    assert plan.tasks == (
        PlanTask(id="count", description="count words", agent="backend", status="completed", tags=("python", "core")),
        PlanTask(id="docs", description="describe it", parent="count"),
    )
    assert [plan.agent_of(item) for item in plan.tasks] == ["backend", "backend"]


def test_keys_that_tinytown_0_10_does_not_have_are_read() -> None:
    text = task(title='"T"', priority='"urgent"', role='"dev"', agent='""') + task(1, needs='["t0"]')
    plan = read_plan('meta = {default_agent = "ann"}\n' + text, "x")
    first, second = plan.tasks
    assert (first.title, first.priority, first.role, second.needs) == ("T", "urgent", "dev", ("t0",))
    assert (plan.agent_of(first), plan.agent_of(second)) == ("", "ann"), "an empty agent is the backlog"


@pytest.mark.parametrize("text", ["", "# nothing\n", "tasks = []\n", '[meta]\ndescription = ""\n'])
def test_a_plan_may_be_empty(text: str) -> None:
    assert read_plan(text, "x") == Plan()


def test_the_example_is_a_plan() -> None:
    assert [item.id for item in read_plan(TEMPLATE, "x").tasks] == ["first", "second"]


def test_tasks_may_be_an_array_of_inline_tables() -> None:
    assert read_plan('tasks = [{id = "a", description = "x"}]', "x").tasks[0].id == "a"
    assert "line" not in error_of('tasks = [{id = "a"}]').message


@pytest.mark.parametrize(
    ("text", "parts", "line"),
    [
        (task() + task(1, nonsense='"x"'), ["line 5", "'t1'", "unknown key 'nonsense'"], 5),
        (task() + task(1, description=""), ["line 5", "'t1'", "lacks description"], 5),
        (task() + task(1, id=""), ["line 5", "task number 2", "lacks id"], 5),
        (task() + task(1, needs='["t3"]'), ["line 5", "'t3'", "not a task of this plan"], 5),
        (task() + task(1, parent='"t3"'), ["line 5", "'t3'", "not a task of this plan"], 5),
        (task() + task(0), ["line 5", "'t0' is used twice (line 1)"], 5),
        (task(status='"done"'), ["line 1", "'t0'", "done"], 1),
        (task(priority='"soon"'), ["line 1", "'t0'", "soon"], 1),
        (task(tags='"a,b"'), ["line 1", "'t0'", "tags"], 1),
        (task(tags='["a", ""]'), ["line 1", "'t0'", "expected a tag"], 1),
        (task(needs="[1]"), ["line 1", "'t0'", "needs"], 1),
        (task(id="7"), ["line 1", "task number 1", "id"], 1),
        (task(id='"../etc"'), ["line 1", "'../etc'", "expected a task id"], 1),
        (task(id='"a:b"'), ["line 1", "'a:b'", "expected a task id"], 1),
        (task(id='"' + "x" * 200 + '"'), ["line 1", "expected a task id"], 1),
        (task(description='" "'), ["line 1", "'t0'", "got an empty text"], 1),
        (task(description='"\\u001b[31m"'), ["line 1", "control character U+001B"], 1),
        (task(title='"' + "x" * 1001 + '"'), ["line 1", "a title of at most 1,000 bytes"], 1),
        (task(agent='"a/b"'), ["line 1", "expected a name for an agent"], 1),
        (task(role='"a/b"'), ["line 1", "expected a role"], 1),
        (task(needs='["t1"]') + task(1, needs='["t0"]'), ["line 1", "need each other", "t0 -> t1 -> t0"], 1),
        (task(needs='["t0"]'), ["line 1", "t0 -> t0"], 1),
        (task() + task(1, parent='"t1"'), ["line 5", "are part of each other", "t1 -> t1"], 5),
        ("[meta]\nagent = 'x'\n", ["[meta]", "unknown key 'agent'"], None),
        ("[meta]\ndefault_agent = 'a/b'\n", ["[meta]", "default_agent"], None),
        ("[plan]\n", ["unknown key 'plan'"], None),
        ("tasks = 3\n", ["expected tasks as an array of tables"], None),
        ("[tasks]\nid = 'x'\n", ["expected tasks as an array of tables"], None),
        ("tasks = [3]\n", ["task number 1", "object"], None),
        ("meta = 3\n", ["[meta]", "object"], None),
        ("[[tasks]]\nid = 'a' b\n", ["expected TOML", "line 2"], None),
        ("x = " + "[" * 5000, ["tasks.toml"], None),
        ("\0", ["expected TOML"], None),
        ("\ufeff[meta]\n", ["expected TOML"], None),
    ],
)
def test_an_error_names_its_line_and_task(text: str, parts: list[str], line: int | None) -> None:
    error = error_of(text)
    for word in parts:
        assert word in error.message
    assert error.fields["line"] == line
    assert len(error.message) < 700


def test_a_header_inside_a_string_is_not_an_entry() -> None:
    text = task(description='"""\n[[tasks]]\nid = "no"\n"""') + "\n# [[tasks]]\n" + task(1, role='""')
    assert len(read_plan(text, "x").tasks) == 2
    line = error_of(text + task(2, nonsense="1")).fields["line"]
    assert (text + task(2)).splitlines()[line - 1 :][:2] == ["[[tasks]]", 'id = "t2"']


def test_a_long_cycle_is_shown_on_one_line_and_a_long_chain_is_no_cycle() -> None:
    chain = "".join(task(number, needs=f'["t{number + 1}"]') for number in range(3000)) + task(3000)
    assert len(read_plan(chain, "x").tasks) == 3001
    cycle = chain.replace(task(3000), task(3000, needs='["t0"]'))
    began = time.monotonic()
    assert len(error_of(cycle).message) < 700
    assert time.monotonic() - began < 20


def test_the_line_of_an_error_is_found_quickly_among_two_thousand_entries() -> None:
    text = "".join(task(number, description='"""\n[[tasks]]\n"""') for number in range(2000)) + task(0)
    began = time.monotonic()
    assert error_of(text).fields["line"] == text.count("\n") - 3
    assert time.monotonic() - began < 20
