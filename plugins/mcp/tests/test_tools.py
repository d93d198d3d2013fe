"""What an agent can and cannot do with each tool, in a real town."""

from __future__ import annotations

from typing import Any

from .conftest import RoundTown


def test_a_task_is_shown_and_completed_with_the_token_of_the_round(round_town: RoundTown) -> None:
    task = round_town.tt("assign", "ada", "count the words", "--title", "words", "--json").json["task_id"]
    tools = round_town.start_round("ada", task)
    mine = tools.call("my_task")
    assert (mine["task"]["id"], mine["is_yours"], "token" in mine["task"]) == (task, True, False)
    assert "count the words" in tools.text("my_task")
    assert tools.call("task_show", task=task[:13])["task"]["title"] == "words"
    assert tools.call("task_complete", result="there are 7")["state"] == "completed"
    assert round_town.tt("task", "show", task, "--json").json["result"] == "there are 7"
    assert tools.call("my_task")["is_yours"] is False


def test_a_task_that_cannot_be_done_fails_with_its_reason(round_town: RoundTown) -> None:
    task = round_town.tt("assign", "ada", "square the circle", "--json").json["task_id"]
    tools = round_town.start_round("ada", task)
    assert tools.call("task_fail", reason="pi is transcendental", task=task)["state"] == "failed"
    assert round_town.tt("task", "show", task, "--json").json["reason"] == "pi is transcendental"


def test_each_of_several_tasks_is_settled_by_its_id_and_those_that_are_left_are_shown(round_town: RoundTown) -> None:
    words = ("count the words", "count the lines")
    first, second = (round_town.tt("assign", "ada", word, "--json").json["task_id"] for word in words)
    other = round_town.tt("assign", "ada", "count the pages", "--json").json["task_id"]
    tools = round_town.start_round("ada", first, second)
    assert tools.error("task_complete", result="7")["message"] == "this round has several tasks"
    assert tools.error("task_complete", result="7", task=other)["code"] == "stale_lease"
    assert all(word in tools.text("my_task") for word in words)
    assert tools.call("task_complete", result="7", task=first)["state"] == "completed"
    mine = tools.call("my_task")
    assert (mine["task"]["id"], mine["is_yours"]) == (second, True)
    assert words[0] not in tools.text("my_task")
    assert tools.call("task_fail", reason="no lines", task=second)["state"] == "failed"
    assert tools.call("my_task") == {"task": None, "is_yours": False}


def test_a_round_that_lost_its_task_is_refused_and_changes_nothing(round_town: RoundTown) -> None:
    task = round_town.tt("assign", "ada", "count the words", "--json").json["task_id"]
    tools = round_town.start_round("ada", task)
    round_town.tt("task", "requeue", task)
    round_town.tt("backlog", "claim", task, "ada")
    assert tools.call("my_task")["is_yours"] is False
    assert "stop working on it" in tools.text("my_task")
    for tool, words in (("task_complete", {"result": "done"}), ("task_fail", {"reason": "no"})):
        error = tools.error(tool, **words)
        assert error["code"] == "stale_lease"
        assert "stop working on it" in error["hint"]
    assert round_town.tt("task", "show", task, "--json").json["state"] == "assigned"


def test_an_agent_cannot_settle_the_task_of_another_agent(round_town: RoundTown) -> None:
    task = round_town.tt("assign", "bob", "bobs own", "--json").json["task_id"]
    tools = round_town.tools("ada")
    assert tools.error("task_complete", result="done", task=task)["code"] == "refused"
    assert tools.error("task_complete", result="done")["message"] == "this round has no task to settle"
    assert "this round has no task" in tools.text("my_task")


def test_rejected_work_returns_to_the_agent_that_did_it(round_town: RoundTown) -> None:
    task = round_town.tt("assign", "bob", "build it", "--json").json["task_id"]
    tools = round_town.tools("ada")
    assert tools.error("task_reject", task=task, reason="too early")["code"] == "refused"
    round_town.tt("task", "complete", task, "--result", "built")
    rejected = tools.call("task_reject", task=task, reason="the door\nis missing")
    assert (rejected["state"], rejected["agent"]) == ("assigned", "bob")
    assert round_town.tt("task", "show", task, "--json").json["rejection"] == "the door\nis missing"
    assert "rejected: the door\nis missing" in tools.text("task_show", task=task)


def test_mail_is_listed_read_and_answered(round_town: RoundTown) -> None:
    text = "is it good?\n" + "word " * 200
    sent = round_town.tt("send", "ada", text, "--query", "--from", "bob", "--json").json["message_id"]
    tools = round_town.tools("ada")
    (message,) = tools.call("inbox")["messages"]
    assert (message["id"], message["type"], message["from"], message["place"]) == (sent, "query", "bob", "queued")
    assert len(message["text"]) <= 300
    assert text in tools.text("read_message", message=sent[:8])
    tools.call("reply", message=sent, text="it is")
    tools.call("reply", message=sent, text="approved", kind="ack", urgent=True)
    answers = round_town.tt("inbox", "bob", "--json").json["messages"]
    assert [(mail["from"], mail["correlation_id"], mail["type"]) for mail in answers] == [
        ("ada", sent, "confirmation"),
        ("ada", sent, "informational"),
    ]
    assert tools.error("read_message", message="nonesuch")["code"] == "not_found"
    assert tools.error("read_message", message="")["code"] == "not_found"


def test_an_agent_sends_as_itself_to_agents_and_to_people(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
    for kind in ("order", "query", "info"):
        assert tools.call("send", to="BOB", text=f"an {kind}", kind=kind)["to"] == "bob"
    tools.call("ask_supervisor", question="which of the two?", urgent=True)
    assert [(mail["from"], mail["type"]) for mail in round_town.tt("inbox", "bob", "--json").json["messages"]] == [
        ("ada", "task"), ("ada", "query"), ("ada", "informational"),
    ]  # fmt: skip
    (asked,) = round_town.tt("inbox", "--json").json["messages"]
    assert (asked["from"], asked["question"], asked["priority"]) == ("ada", "which of the two?", "urgent")
    assert tools.error("send", to="zed", text="hello", kind="info")["code"] == "not_found"
    assert tools.error("send", to="bob", text=" ", kind="info")["code"] == "usage"
    assert tools.error("send", to="bob", text="bell\a", kind="info")["code"] == "usage"
    assert tools.error("send", to="bob", text="x" * (2 << 20), kind="info")["code"] == "limit_reached"


def test_work_is_assigned_with_needs(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
    first = tools.call("task_assign", agent="bob", text="design it", title="design")
    second = tools.call("task_assign", agent="bob", text="build it", needs=[first["task_id"]], priority="high")
    assert (first["state"], second["state"]) == ("assigned", "blocked")
    assert round_town.tt("task", "show", second["task_id"], "--json").json["needs"] == [first["task_id"]]
    assert tools.error("task_assign", agent=" ", text="for nobody")["code"] == "usage"


def test_tasks_are_added_to_the_backlog_listed_and_claimed(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
    added = tools.call("backlog_add", text="write the manual\nall of it", role="docs", tags=["german"], priority="high")
    assert added["state"] == "pending"
    (task,) = tools.call("backlog_list")["tasks"]
    assert task == {
        "id": added["task_id"], "title": "write the manual", "priority": "high", "role": "docs", "tags": ["german"],
    }  # fmt: skip
    assert tools.call("backlog_list", tag="french")["tasks"] == []
    claimed = tools.call("backlog_claim", task=added["task_id"])
    assert (claimed["state"], claimed["agent"]) == ("assigned", "ada")
    assert tools.text("backlog_list") == "the backlog is empty"
    assert tools.error("backlog_claim", task=added["task_id"])["code"] == "refused"


def test_the_town_and_its_agents_are_shown(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
    round_town.tt("assign", "bob", "build it")
    shown = tools.call("status")
    assert (shown["town"], shown["tasks"]["assigned"], [agent["name"] for agent in shown["agents"]]) == (
        "tools", 1, ["ada", "bob"],
    )  # fmt: skip
    agents = tools.call("who_is_who")["agents"]
    assert [(agent["name"], agent["role"], agent["is_you"]) for agent in agents] == [
        ("ada", "reviewer", True), ("bob", None, False),
    ]  # fmt: skip
    assert "reviews finished work" in agents[0]["purpose"]
    assert tools.text("who_is_who").endswith("supervisor: the human in charge")


def test_invalid_arguments_are_answered_with_their_names(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
    for wrong, named in (
        ({"to": "bob", "kind": "info"}, "`text`"),
        ({"to": "bob", "text": "x", "kind": "shout"}, "$.kind"),
        ({"to": "bob", "text": "x", "kind": "info", "colour": "red"}, "`colour`"),
        ({"to": 3, "text": "x", "kind": "info"}, "$.to"),
    ):
        error = tools.error("send", **wrong)
        assert error["code"] == "usage"
        assert named in error["message"]
    assert tools.error("inbox", limit=0)["code"] == "usage"
    assert tools.call("send", to="bob", text="x", kind="info", reply_to=None)["to"] == "bob"


NESTED: Any = []
for _ in range(500):
    NESTED = [NESTED]
#: Text that hides what it says (bidirectional controls, tags, nothing of any width), that a terminal obeys, or that is a path.
TRICKS = ["\u202etxt.exe\u2066", "a\U000e0041\U000e007fb\u200b", "\x1b[2J\x07\x00", "../../etc/passwd", "x" * 3_000_000]
ODD: list[Any] = [*TRICKS, NESTED, {"a": NESTED}, [], True, -1, 2**70, 1e308, ["x"] * 50_000]


def test_no_arguments_of_any_tool_end_the_server_or_are_a_fault_of_ours(round_town: RoundTown) -> None:
    tools = round_town.start_round("ada", round_town.tt("assign", "ada", "a task", "--json").json["task_id"])
    for listed in tools.request("tools/list")["result"]["tools"]:
        schema = listed["inputSchema"]
        plain = dict.fromkeys(schema.get("required", ()), "x")
        for name in [*schema.get("properties", {}), "nonesuch"]:
            for odd in ODD:
                result = tools.request("tools/call", name=listed["name"], arguments={**plain, name: odd})["result"]
                error = result["structuredContent"].get("error") if result["isError"] else None
                assert error is None or error["code"] != "internal", (listed["name"], name, repr(odd)[:50], error)
    assert tools.request("ping")["result"] == {}
    assert tools.close() == (0, "")


def test_a_stopped_server_is_an_error_of_the_call_and_found_again_once_restarted(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
    assert tools.call("who_is_who")["agents"]
    round_town.tt("stop")
    assert "a round must not start one" in tools.error("status")["message"].replace("an agent's", "a")
    round_town.tt("list")
    assert [agent["name"] for agent in tools.call("who_is_who")["agents"]] == ["ada", "bob"]


def test_an_invalid_configuration_is_an_error_of_the_call(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
    settings = round_town.tt.directory / "tinytown.toml"
    before = settings.read_text()
    settings.write_text("name = [")
    assert tools.error("status")["code"] == "config"
    settings.write_text(before)
    assert tools.call("status")["town"] == "tools"
