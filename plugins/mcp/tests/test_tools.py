"""What an agent can do with each tool, in a real town, and what it may not."""

from __future__ import annotations

from plugins.mcp.tests.conftest import Round


def test_a_task_is_looked_at_and_completed_with_the_token_of_the_round(round_: Round) -> None:
    task = round_.tt("assign", "ada", "count the words", "--title", "words", "--json").json["task_id"]
    tools = round_.begin("ada", task)
    mine = tools.call("my_task")
    assert (mine["task"]["id"], mine["is_yours"], "token" in mine["task"]) == (task, True, False)
    assert "count the words" in tools.text("my_task")
    assert tools.call("task_show", task=task[:13])["task"]["title"] == "words"
    assert tools.call("task_complete", result="there are 7")["state"] == "completed"
    assert round_.tt("task", "show", task, "--json").json["result"] == "there are 7"
    assert tools.call("my_task")["is_yours"] is False


def test_a_task_that_cannot_be_done_fails_with_its_reason(round_: Round) -> None:
    task = round_.tt("assign", "ada", "square the circle", "--json").json["task_id"]
    tools = round_.begin("ada", task)
    assert tools.call("task_fail", reason="pi is transcendental", task=task)["state"] == "failed"
    assert round_.tt("task", "show", task, "--json").json["reason"] == "pi is transcendental"


def test_a_round_whose_task_was_taken_away_is_told_so_and_changes_nothing(round_: Round) -> None:
    task = round_.tt("assign", "ada", "count the words", "--json").json["task_id"]
    tools = round_.begin("ada", task)
    round_.tt("task", "requeue", task)
    round_.tt("backlog", "claim", task, "ada")
    assert tools.call("my_task")["is_yours"] is False
    assert "stop working on it" in tools.text("my_task")
    for tool, words in (("task_complete", {"result": "done"}), ("task_fail", {"reason": "no"})):
        error = tools.refused(tool, **words)
        assert error["code"] == "stale_lease"
        assert "stop working on it" in error["hint"]
    assert round_.tt("task", "show", task, "--json").json["state"] == "assigned"


def test_nobody_settles_the_task_of_somebody_else(round_: Round) -> None:
    task = round_.tt("assign", "bob", "bobs own", "--json").json["task_id"]
    tools = round_.tools("ada")
    assert tools.refused("task_complete", result="done", task=task)["code"] == "refused"
    assert tools.refused("task_complete", result="done")["message"] == "this round has no task to settle"
    assert "this round has no task" in tools.text("my_task")


def test_finished_work_is_sent_back_to_whoever_did_it(round_: Round) -> None:
    task = round_.tt("assign", "bob", "build it", "--json").json["task_id"]
    tools = round_.tools("ada")
    assert tools.refused("task_reject", task=task, reason="too early")["code"] == "refused"
    round_.tt("task", "complete", task, "--result", "built")
    told = tools.call("task_reject", task=task, reason="the door\nis missing")
    assert (told["state"], told["agent"]) == ("assigned", "bob")
    assert round_.tt("task", "show", task, "--json").json["rejection"] == "the door\nis missing"
    assert "sent back: the door\nis missing" in tools.text("task_show", task=task)


def test_mail_is_seen_read_and_answered(round_: Round) -> None:
    text = "is it good?\n" + "word " * 200
    sent = round_.tt("send", "ada", text, "--query", "--from", "bob", "--json").json["message_id"]
    tools = round_.tools("ada")
    (message,) = tools.call("inbox")["messages"]
    assert (message["id"], message["type"], message["from"], message["place"]) == (sent, "query", "bob", "queued")
    assert len(message["text"]) <= 300
    assert text in tools.text("read_message", message=sent[:8])
    tools.call("reply", message=sent, text="it is")
    tools.call("reply", message=sent, text="approved", kind="ack", urgent=True)
    answers = round_.tt("inbox", "bob", "--json").json["messages"]
    assert [(each["from"], each["correlation_id"], each["type"]) for each in answers] == [
        ("ada", sent, "confirmation"),
        ("ada", sent, "informational"),
    ]
    assert tools.refused("read_message", message="nonesuch")["code"] == "not_found"
    assert tools.refused("read_message", message="")["code"] == "not_found"


def test_an_agent_sends_as_itself_to_agents_and_to_people(round_: Round) -> None:
    tools = round_.tools("ada")
    for kind in ("order", "query", "info"):
        assert tools.call("send", to="BOB", text=f"an {kind}", kind=kind)["to"] == "bob"
    tools.call("ask_supervisor", question="which of the two?", urgent=True)
    assert [(each["from"], each["type"]) for each in round_.tt("inbox", "bob", "--json").json["messages"]] == [
        ("ada", "task"), ("ada", "query"), ("ada", "informational"),
    ]  # fmt: skip
    (asked,) = round_.tt("inbox", "--json").json["messages"]
    assert (asked["from"], asked["question"], asked["priority"]) == ("ada", "which of the two?", "urgent")
    assert tools.refused("send", to="zed", text="hello", kind="info")["code"] == "not_found"
    assert tools.refused("send", to="bob", text=" ", kind="info")["code"] == "usage"
    assert tools.refused("send", to="bob", text="bell\a", kind="info")["code"] == "usage"
    assert tools.refused("send", to="bob", text="x" * (2 << 20), kind="info")["code"] == "limit_reached"


def test_work_is_handed_over_with_needs(round_: Round) -> None:
    tools = round_.tools("ada")
    first = tools.call("task_assign", agent="bob", text="design it", title="design")
    second = tools.call("task_assign", agent="bob", text="build it", needs=[first["task_id"]], priority="high")
    assert (first["state"], second["state"]) == ("assigned", "blocked")
    assert round_.tt("task", "show", second["task_id"], "--json").json["needs"] == [first["task_id"]]
    assert tools.refused("task_assign", agent=" ", text="for nobody")["code"] == "usage"


def test_the_backlog_is_filled_looked_at_and_claimed_from(round_: Round) -> None:
    tools = round_.tools("ada")
    added = tools.call("backlog_add", text="write the manual\nall of it", role="docs", tags=["german"], priority="high")
    assert added["state"] == "pending"
    (task,) = tools.call("backlog_list")["tasks"]
    assert task == {
        "id": added["task_id"], "title": "write the manual", "priority": "high", "role": "docs", "tags": ["german"],
    }  # fmt: skip
    assert tools.call("backlog_list", tag="french")["tasks"] == []
    told = tools.call("backlog_claim", task=added["task_id"])
    assert (told["state"], told["agent"]) == ("assigned", "ada")
    assert tools.text("backlog_list") == "the backlog is empty"
    assert tools.refused("backlog_claim", task=added["task_id"])["code"] == "refused"


def test_the_town_and_its_people_are_shown(round_: Round) -> None:
    tools = round_.tools("ada")
    round_.tt("assign", "bob", "build it")
    seen = tools.call("status")
    assert (seen["town"], seen["tasks"]["assigned"], [each["name"] for each in seen["agents"]]) == (
        "tools", 1, ["ada", "bob"],
    )  # fmt: skip
    people = tools.call("who_is_who")["agents"]
    assert [(each["name"], each["role"], each["is_you"]) for each in people] == [
        ("ada", "reviewer", True), ("bob", None, False),
    ]  # fmt: skip
    assert "judges finished work" in people[0]["purpose"]
    assert tools.text("who_is_who").endswith("supervisor: the person in charge")


def test_arguments_that_do_not_fit_are_an_answer_that_names_them(round_: Round) -> None:
    tools = round_.tools("ada")
    for wrong, named in (
        ({"to": "bob", "kind": "info"}, "`text`"),
        ({"to": "bob", "text": "x", "kind": "shout"}, "$.kind"),
        ({"to": "bob", "text": "x", "kind": "info", "colour": "red"}, "`colour`"),
        ({"to": 3, "text": "x", "kind": "info"}, "$.to"),
    ):
        error = tools.refused("send", **wrong)
        assert error["code"] == "usage"
        assert named in error["message"]
    assert tools.refused("inbox", limit=0)["code"] == "usage"
    assert tools.call("send", to="bob", text="x", kind="info", reply_to=None)["to"] == "bob"


def test_a_server_that_is_away_is_an_answer_and_found_again_when_somebody_has_started_it(round_: Round) -> None:
    tools = round_.tools("ada")
    assert tools.call("who_is_who")["agents"]
    round_.tt("stop")
    assert "a round must not start one" in tools.refused("status")["message"].replace("an agent's", "a")
    round_.tt("list")
    assert [each["name"] for each in tools.call("who_is_who")["agents"]] == ["ada", "bob"]


def test_a_town_that_is_out_of_order_is_an_answer_too(round_: Round) -> None:
    tools = round_.tools("ada")
    settings = round_.tt.directory / "tinytown.toml"
    before = settings.read_text()
    settings.write_text("name = [")
    assert tools.refused("status")["code"] == "config"
    settings.write_text(before)
    assert tools.call("status")["town"] == "tools"
