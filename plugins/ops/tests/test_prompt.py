"""``tt prompt`` in a town without a kernel: what lies there stays as it is."""

from __future__ import annotations

from tinytown_testing.shell import Shell


def test_the_prompt_of_the_next_round_is_shown_and_nothing_is_claimed(in_town: Shell) -> None:
    in_town("spawn", "ada", "--role", "reviewer")
    in_town("send", "ada", "is it good?", "--query")
    first = in_town("assign", "ada", "review the importer", "--title", "importer", "--json").json["task_id"]
    second = in_town("assign", "ada", "and the exporter", "--json").json["task_id"]
    in_town("send", "ada", "behind the second order", "--info")
    before = in_town("inbox", "ada", "--json").json
    answer = in_town("prompt", "ada", "--json").json
    assert (answer["agent"], answer["task_id"], len(answer["messages"])) == ("ada", first, 2)
    for part in ("## Your role: reviewer", "review the importer", "is it good?"):
        assert part in answer["prompt"]
    assert "behind the second order" not in answer["prompt"]
    assert in_town("prompt", "ada").out == answer["prompt"]
    assert second in in_town("prompt", "ada", "--task", second[:13]).out
    assert "and the exporter" in in_town("prompt", "ada", "--task", second).out
    assert in_town("inbox", "ada", "--json").json == before
    assert in_town("task", "show", first, "--json").json["attempts"] == 0


def test_an_idle_agent_is_shown_the_backlog_task_it_would_claim_or_none(
    in_town: Shell,
) -> None:
    in_town("spawn", "bob", "--role", "baker")
    idle = in_town("prompt", "bob", "--json")
    assert (idle.json["task_id"], idle.json["messages"]) == (None, [])
    assert "bob has nothing to do" in idle.err
    need = in_town("backlog", "add", "grind the flour", "--json").json["task_id"]
    in_town("assign", "bob", "bake cakes", "--needs", need)
    assert "(tt task list --agent bob lists its waiting tasks)" in in_town("prompt", "bob").err
    in_town("backlog", "add", "make a candle", "--role", "chandler")
    bread = in_town("backlog", "add", "bake bread", "--tags", "baker", "--json").json["task_id"]
    assert in_town("prompt", "bob", "--json").json["task_id"] == bread
    assert in_town("task", "show", bread, "--json").json["state"] == "pending"


def test_an_unknown_agent_is_not_found(in_town: Shell) -> None:
    in_town("spawn", "cleo")
    assert in_town("prompt", "nobody", "--json", code=3).error["code"] == "not_found"
    assert in_town("prompt", "cleo", "--task", "nothing", "--json", code=3).error["code"] == "not_found"
    assert in_town("prompt", "supervisor", "--json", code=4).error["code"] == "refused"
