"""Many tasks in one step: all or none is valid, each line once, in the order of their needs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tinytown.errors import UsageError
from tinytown_cli.bulk import in_order_of_needs
from tinytown_testing.shell import Shell


@pytest.fixture
def town(tt: Shell) -> Shell:
    tt("init", "--name", "many")
    for name in ("ada", "bob"):
        tt("spawn", name, "--cli", "shell", "--no-start")
    return tt


def titles(town: Shell) -> list[str]:
    """The first lines of all tasks, oldest first."""
    return [task["description"].splitlines()[0] for task in town.json("task", "list", "--limit", "10000")["tasks"]][
        ::-1
    ]


def lines(*tasks: dict[str, Any] | str) -> bytes:
    return "".join(f"{task if isinstance(task, str) else json.dumps(task)}\n" for task in tasks).encode()


def test_each_line_of_a_file_is_a_task(town: Shell) -> None:
    (town.directory / "todo.txt").write_text("write it\n\n  test it  \n\x1b[31mship it\x1b[0m\n")
    answer = town("assign", "ada", "--file", "todo.txt", "--priority", "high", "--tags", "release")
    assert answer.out == "assigned 3 tasks, 0 already there\n"
    assert titles(town) == ["write it", "test it", "ship it"]
    tasks = town.json("task", "list", "--tag", "release")["tasks"]
    assert {(task["assigned_to"], task["priority"], task["state"]) for task in tasks} == {("ada", "high", "assigned")}


def test_a_line_of_json_says_more(town: Shell) -> None:
    given = lines(
        {"agent": "bob", "text": "review it", "needs": ["write"], "key": "review", "title": "Review"},
        {"agent": "ada", "text": "write it", "key": "write", "priority": "urgent"},
    )
    answer = town.json("assign", "-", given=given)
    assert (answer["created"], answer["known"], answer["problems"]) == (2, 0, [])
    assert [(task["line"], task["task_id"], task["state"]) for task in answer["tasks"]] == [
        (2, "write", "assigned"),
        (1, "review", "blocked"),
    ]
    assert town.json("task", "show", "review")["needs"] == ["write"]
    again = town.json("assign", "-", given=given)
    assert (again["created"], again["known"]) == (0, 2)
    assert len(titles(town)) == 2


def test_with_a_key_a_line_is_added_once_and_equal_lines_are_several(town: Shell) -> None:
    words = ("assign", "ada", "--file", "-", "--key", "monday")
    assert town.json(*words, given=lines("sweep", "sweep", "cook"))["created"] == 3
    answer = town.json(*words, given=lines("cook", "sweep", "bake", "sweep"))
    assert (answer["created"], answer["known"]) == (1, 3)
    assert titles(town) == ["sweep", "sweep", "cook", "bake"]
    assert town.json("assign", "ada", "--file", "-", "--key", "tuesday", given=lines("cook"))["created"] == 1


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (lines("fine", {"text": "x", "priorty": "high"}), "line 2: Object contains unknown field `priorty`"),
        (lines("fine", {"agent": "ada"}), "line 2: Object missing required field `text`"),
        (lines("fine", "{broken"), "line 2: JSON is malformed"),
        (lines("fine", {"text": "x", "priority": "soon"}), "line 2: expected a priority, got 'soon'"),
        (lines("fine", {"text": " "}), "line 2: expected a task, got an empty text"),
        (lines("fine", {"text": "x", "tags": ["a/b"]}), "line 2: expected a tag"),
        (lines("fine", {"text": "x", "key": "no key"}), "line 2: expected a task id"),
        (lines({"text": "x", "key": "k"}, {"text": "y", "key": "k"}), "line 2: the key 'k' is that of line 1, too"),
        (lines("fine", {"text": "x", "needs": 5}), "line 2: Expected `array`, got `int`"),
        (b"fine\n\xff\xfe\n", "line 2: expected a task as UTF-8 text"),
        (b"fine\nbinary \x00\n", "line 2: expected a task as plain text"),
        (
            lines({"text": "x", "key": "a", "needs": ["b"]}, {"text": "y", "key": "b", "needs": ["a"]}),
            "dependency cycle",
        ),
        (b"\n  \n", "expected a task in each line, got none"),
        (lines({"agent": "nobody", "text": "x"}), "no agent called"),
        (b'{"text": ' + b"[" * 100_000 + b"\n", "line 1: "),
    ],
)
def test_one_line_that_is_not_valid_refuses_them_all(town: Shell, given: bytes, problem: str) -> None:
    answer = town("assign", "ada", "--file", "-", "--json", given=given, code=3 if "no agent" in problem else 2)
    assert problem in answer.error["message"]
    assert titles(town) == []


def test_what_the_town_refuses_is_named_and_the_rest_is_kept(town: Shell) -> None:
    given = lines(
        {"text": "one", "key": "one"},
        {"text": "two", "key": "two", "needs": ["gone"]},
        {"text": "three", "key": "three"},
    )
    answer = town("assign", "ada", "--file", "-", "--json", given=given, code=4)
    assert answer.json["problems"] == [{"line": 2, "error": 'no task "gone" in this town'}]
    assert titles(town) == ["one", "three"]
    assert "1 line of 3 could not be assigned" in answer.error["message"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("assign",), "expected an agent and a text, or --file"),
        (("assign", "ada"), "expected an agent and a text, or --file"),
        (("assign", "ada", "text", "--key", "k"), "or --file with --key"),
        (("assign", "ada", "text", "--file", "x"), "expected no text, --title or --hold with --file"),
        (("assign", "ada", "--file", "x", "--title", "t"), "expected no text, --title or --hold with --file"),
        (("assign", "ada", "--file", "absent.txt"), "no such file: absent.txt"),
        (("assign", "--file", "-"), "line 1: expected an agent, got none"),
    ],
)
def test_what_does_not_go_together_is_refused(in_town: Shell, words: tuple[str, ...], message: str) -> None:
    if not in_town.json("list")["agents"]:
        in_town("spawn", "ada", "--cli", "shell", "--no-start")
    assert message in in_town(*words, "--json", given=b"text\n", code=2).error["message"]


def test_thousands_go_in_one_process(town: Shell) -> None:
    answer = town.json("assign", "ada", "--file", "-", given=lines(*(f"task {number}" for number in range(2_000))))
    assert answer["created"] == 2_000
    assert titles(town)[:3] == ["task 0", "task 1", "task 2"]


def test_an_order_keeps_as_much_of_the_given_one_as_needs_allow() -> None:
    tasks = [
        {"task_id": "a", "needs": ["c"]},
        {"task_id": "b"},
        {"task_id": "c", "needs": ["elsewhere", "d"]},
        {"title": "no id"},
        {"task_id": "d"},
    ]
    ordered = [task.get("task_id") for task in in_order_of_needs(tasks)]
    assert ordered == ["d", "c", "a", "b", None]
    chain = [{"task_id": str(number), "needs": [str(number + 1)]} for number in range(20_000)]
    assert [task["task_id"] for task in in_order_of_needs(chain)][:2] == ["19999", "19998"]
    with pytest.raises(UsageError, match=r"a needs b needs a|b needs a needs b"):
        in_order_of_needs([{"task_id": "a", "needs": ["b"]}, {"task_id": "b", "needs": ["a"]}])
