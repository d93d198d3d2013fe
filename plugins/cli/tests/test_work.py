from __future__ import annotations

import os
import signal

from tinytown.config import load_config
from tinytown.redis import parse_url
from tinytown_cli.blocking_client import BlockingClient
from tinytown_server.server import EmbeddedServer
from tinytown_testing.shell import Shell


def identity(tt: Shell, agent: str, **more: str) -> dict[str, str]:
    """The environment of an agent's round, as the kernel sets it."""
    agent_id = next(row["id"] for row in tt("list", "--json").json["agents"] if row["name"] == agent)
    return {
        "TINYTOWN_TOWN": str(tt.directory),
        "TINYTOWN_AGENT_ID": agent_id,
        "TINYTOWN_AGENT_NAME": agent,
        "TINYTOWN_ROUND_ID": "a-run",
        **{f"TINYTOWN_{name.upper()}": value for name, value in more.items()},
    }


def test_spawn_applies_its_options(in_town: Shell) -> None:
    words = ("--cli", "shell", "--role", "reviewer", "--nickname", "Rita Rook", "--tags", "docs,python", "--tags", "go")
    answer = in_town("spawn", "rita", *words, "--max-rounds", "3", "--json").json
    wanted = {"name": "rita", "cli": "shell", "role": "reviewer", "nickname": "Rita Rook", "max_rounds": 3}
    assert {name: answer[name] for name in wanted} == wanted
    assert answer["tags"] == ["docs", "python", "go"]
    assert answer["kernel"] == {"running": False, "pid": None, "started": False}
    in_town("spawn", "rita-helper", "--parent", "rita rook")
    listed = {agent["name"]: agent for agent in in_town("list", "--json").json["agents"]}
    assert listed["rita-helper"]["parent"] == "rita"
    assert "Rita Rook" in in_town("list").out
    assert in_town("spawn", "RITA", "--json", code=4).error["code"] == "exists"


def test_in_a_round_with_several_tasks_a_report_names_its_task(in_town: Shell) -> None:
    in_town("spawn", "batcher")
    inside = identity(in_town, "batcher", task_id="", task_token="7")
    for verb, option in (("complete", "--result"), ("fail", "--reason")):
        error = in_town("task", verb, option, "done", "--json", code=2, env=inside).error
        assert error["message"] == "expected a task: this round has several"


def test_spawn_prints_the_warnings_of_the_kind(in_town: Shell) -> None:
    empty = {"PATH": "/nonexistent", "IS_SANDBOX": "1"}
    result = in_town("spawn", "ada", "--cli", "claude", "--json", env=empty)
    (missing,) = result.json["warnings"]  # what it may do does not matter while it cannot start
    assert "npm install -g" in missing
    assert result.err.splitlines()[0] == f"warning: {missing}"
    assert in_town("plugins", "--json", env=empty).json["warnings"]["claude"] == [missing]
    assert in_town("spawn", "sam", "--cli", "shell", "--json").json["warnings"] == []


def test_an_unknown_kind_is_refused_with_the_available_ones(in_town: Shell) -> None:
    error = in_town("spawn", "odd", "--cli", "nonesuch", "--json", code=3).error
    assert error["code"] == "unknown_kind"
    assert "shell" in error["message"]
    assert "install its plugin" in error["hint"]
    assert "odd" not in in_town("list").out


def test_agents_are_found_by_name_nickname_id_and_prefix(in_town: Shell) -> None:
    answer = in_town("spawn", "prefix-one", "--nickname", "Very Unusual", "--json").json
    in_town("spawn", "prefix-two")
    for word in ("prefix-one", "PREFIX-ONE", "prefix-o", answer["id"], answer["id"][:10], "very unusual", "very un"):
        assert in_town("send", word, "hi", "--info", "--json").json["to"] == "prefix-one"
    refused = in_town("send", "prefix-", "hi", "--json", code=2).error
    assert refused["code"] == "ambiguous"
    assert "prefix-one, prefix-two" in refused["message"]


def test_a_task_is_assigned_shown_updated_and_settled(in_town: Shell) -> None:
    in_town("spawn", "smith")
    first = in_town(
        "assign", "smith", "forge a nail", "--title", "nail", "--priority", "high", "--tags", "iron", "--json"
    ).json
    assert first["agent"] == "smith"
    assert first["message_id"]
    second = in_town("assign", "smith", "-", "--needs", first["task_id"][:13], "--json", given=b"hang a door\nwith it")
    blocked = in_town("task", "show", second.json["task_id"], "--json").json
    assert blocked["description"] == "hang a door\nwith it"
    assert (blocked["state"], blocked["needs"]) == ("blocked", [first["task_id"]])
    assert "token" not in blocked
    listed = in_town("task", "list", "--agent", "smith", "--json").json["tasks"]
    assert [row["id"] for row in listed] == [second.json["task_id"], first["task_id"]]
    assert [task["title"] for task in in_town("task", "list", "--tag", "iron", "--json").json["tasks"]] == ["nail"]
    assert in_town("task", "complete", first["task_id"], "--result", "a nail", "--json").json["result"] == "a nail"
    assert in_town("task", "complete", first["task_id"], code=4).err.startswith("error: task")
    assert in_town("task", "show", second.json["task_id"], "--json").json["state"] == "assigned"
    assert in_town("task", "current", "smith", "--json").json["task"]["id"] == second.json["task_id"]
    assert in_town("task", "fail", second.json["task_id"], "--reason", "no door", "--json").json["reason"] == "no door"
    assert in_town("wait", "--task", second.json["task_id"], "--json", code=1).error["code"] == "task_not_completed"
    reopened = in_town("task", "reopen", second.json["task_id"], "--reason", "found one", "--json").json
    assert (reopened["state"], reopened["reason"]) == ("assigned", "found one")
    assert in_town("task", "requeue", second.json["task_id"], "--json").json["assigned_to"] is None
    assert in_town("task", "cancel", second.json["task_id"], "--json").json["state"] == "cancelled"
    assert in_town("task", "current", "smith", "--json").json == {"task": None}


def test_backlog_tasks_are_added_claimed_and_assigned(in_town: Shell) -> None:
    in_town("spawn", "porter")
    low = in_town("backlog", "add", "sweep", "--priority", "low", "--json").json["task_id"]
    high = in_town("backlog", "add", "carry", "--priority", "high", "--role", "porter", "--json").json["task_id"]
    ours = [task["id"] for task in in_town("backlog", "list", "--json").json["tasks"] if task["id"] in (low, high)]
    assert ours == [high, low]
    claimed = in_town("backlog", "claim", high, "porter", "--json").json
    assert (claimed["task_id"], claimed["agent"]) == (high, "porter")
    assert in_town("backlog", "claim", high, "porter", code=4).err
    assert in_town("backlog", "remove", high, code=4).err
    assert in_town("backlog", "remove", low, "--json").json == {"task_id": low, "state": "cancelled"}
    third = in_town("backlog", "add", "lift", "--json").json["task_id"]
    answer = in_town("backlog", "assign-all", "port", "--json").json
    assert answer == {"agent": "porter", "task_ids": [third]}
    assert in_town("backlog", "assign-all", "nobody", code=3).err
    mine = identity(in_town, "porter")
    fourth = in_town("backlog", "add", "push", "--json").json["task_id"]
    assert in_town("backlog", "claim", fourth, "--json", env=mine).json["agent"] == "porter"
    assert in_town("backlog", "claim", fourth, code=2).err


def test_an_ambiguous_message_prefix_is_refused_with_the_ids(in_town: Shell) -> None:
    config = load_config(in_town.directory)
    with BlockingClient(parse_url(in_town.server().url)) as client:
        for id_ in ("zz.1", "zz.2", "zz.2.1"):
            client.command("SET", f"tt:{{{config.name}}}:trace:{id_}", "1 queued for nobody\n", "EX", "100")
    error = in_town("trace", "zz", "--json", code=2).error
    assert (error["code"], error["message"]) == (
        "ambiguous",
        "more than one message begins with 'zz': zz.1, zz.2, zz.2.1",
    )
    assert in_town("trace", "zz.2", "--json").json["message"] == "zz.2"
    assert in_town("send", "supervisor", "yes", "--info", "--reply-to", "zz", code=2).err


def test_mail_arrives_in_order_and_can_be_traced_and_removed(in_town: Shell) -> None:
    in_town("spawn", "reader")
    sent = [
        in_town("send", "reader", *words, "--json").json["message_id"]
        for words in (
            ("do it",),
            ("done?", "--query"),
            ("fyi", "--info", "--priority", "low"),
            ("rejected: no tests", "--ack"),
            ("now", "--urgent"),
            ("later", "--info", "--delay", "3600"),
        )
    ]
    box = in_town("inbox", "reader", "--json").json
    assert box["agent"] == "reader"
    messages = [(message["type"], message["priority"], message["place"]) for message in box["messages"]]
    assert messages == [
        ("task", "urgent", "queued"),
        ("task", "normal", "queued"),
        ("query", "normal", "queued"),
        ("informational", "normal", "delayed"),
        ("confirmation", "normal", "delayed"),
        ("informational", "low", "delayed"),
    ]
    confirmation = next(message for message in box["messages"] if message["type"] == "confirmation")
    assert confirmation["ack_type"] == {"type": "rejected", "reason": "no tests"}
    counts = next(agent for agent in in_town("list", "--json").json["agents"] if agent["name"] == "reader")["inbox"]
    assert (counts["queued"], counts["delayed"], counts["urgent"], counts["queries"]) == (3, 3, 1, 1)
    reply = in_town(
        "send", "supervisor", "yes", "--info", "--reply-to", sent[1][:13], "--from", "reader", "--json"
    ).json
    mine = next(
        message for message in in_town("inbox", "--json").json["messages"] if message["id"] == reply["message_id"]
    )
    assert (mine["from"], mine["to"], mine["correlation_id"]) == ("reader", "supervisor", sent[1])
    assert [line["what"] for line in in_town("trace", sent[0], "--json").json["trace"]] == [
        "queued for reader from supervisor"
    ]
    assert in_town("trace", sent[0][:13], "--json").json["message"] == sent[0]
    for unknown in ("unheard-of", "*", "../" + sent[0], "", "x" * 5000):
        assert "traces are kept for 3600 s" in in_town("trace", unknown, code=3).err
    assert in_town("inbox", "reader", "--remove", sent[0][:12], "--json").json == {
        "agent": "reader",
        "removed": [sent[0]],
    }
    assert in_town("inbox", "reader", "--remove", sent[0], code=3).err
    assert in_town("inbox", "reader", "--remove", "", code=2).err
    assert len(in_town("inbox", "reader", "--remove", "all", "--json").json["removed"]) == 5
    everybody = in_town("inbox", "--all", "--json").json["inboxes"]
    assert everybody[0]["agent"] == "supervisor"
    assert {"agent": "reader", "messages": []} in everybody


def test_a_sender_cannot_be_forged(in_town: Shell) -> None:
    in_town("spawn", "honest")
    in_town("spawn", "other")
    mine = identity(in_town, "honest")
    in_town("send", "other", "from me", "--info", env=mine)
    in_town("send", "other", "still me", "--info", "--from", "HONEST", env=mine)
    in_town("send", "other", "by my prefix", "--info", "--from", "hon", env=mine)
    for pretended in ("other", "supervisor", "conductor"):
        assert "cannot send as" in in_town("send", "other", "not me", "--from", pretended, env=mine, code=4).err
    assert in_town("send", "other", "nobody", "--from", "nobody", code=3).err
    senders = [message["from"] for message in in_town("inbox", "other", "--json").json["messages"]]
    assert senders == ["honest"] * 3
    assert in_town("inbox", "--json", env=mine).json["agent"] == "honest"
    elsewhere = {**mine, "TINYTOWN_TOWN": str(in_town.directory.parent)}
    words = ("-t", str(in_town.directory), "inbox", "--json")
    assert in_town(*words, env=elsewhere).json["agent"] == "supervisor"


def test_an_agent_settles_only_what_it_holds(in_town: Shell) -> None:
    in_town("spawn", "worker")
    in_town("spawn", "thief")
    task = in_town("assign", "worker", "mine", "--json").json["task_id"]
    thief = identity(in_town, "thief", task_id=task, task_token="42")
    assert in_town("task", "complete", "--json", env=thief, code=4).error["code"] == "refused"
    late = identity(in_town, "worker", task_id=task, task_token="41")
    assert in_town("task", "complete", task, "--json", env=late, code=4).error["code"] == "stale_lease"
    assert in_town("task", "fail", "--json", env=late, code=4).error["code"] == "stale_lease"
    assert in_town("task", "current", "--json", env=late).json["task"]["id"] == task
    assert in_town("task", "complete", code=2).err
    assert in_town("task", "current", code=2).err
    for command in (("stop",), ("start",), ("spawn", "x", "--foreground")):
        assert in_town(*command, "--json", env=late, code=4).error["code"] == "refused"


def test_agents_are_paused_resumed_and_stopped(in_town: Shell) -> None:
    for name in ("red", "blue"):
        in_town("spawn", name)

    def wanted() -> list[str]:
        return [
            agent["desired_state"]
            for agent in in_town("list", "--json").json["agents"]
            if agent["name"] in ("red", "blue")
        ]

    in_town("interrupt", "red", "blue", "--now")
    assert wanted() == ["paused", "paused"]
    in_town("resume", "red", "blue")
    assert wanted() == ["running", "running"]
    in_town("close", "red")
    assert wanted() == ["drained", "running"]
    agents = in_town("kill", "red", "blue", "--wait", "--timeout", "10", "--json").json["agents"]
    assert [agent["state"] for agent in agents] == ["stopped", "stopped"]
    assert "tt resume red brings it back" in in_town("send", "red", "hi", code=4).err
    assert in_town("wait", "red", "blue", "--for", "stopped", "--json").json["agents"]
    in_town("restart", "red")
    assert wanted() == ["running", "stopped"]
    assert in_town("remove", "blue", "--json").json == {"removed": ["blue"]}
    in_town("assign", "red", "something")
    assert in_town("kill", "red").out == "stop requested for red\n"
    assert in_town("remove", "red", code=4).err
    in_town("remove", "red", "--force")
    assert wanted() == []
    assert in_town("interrupt", "supervisor", code=4).err
    assert in_town("kill", "nobody", code=3).err


def test_wait_ends_at_its_timeout(in_town: Shell) -> None:
    in_town("spawn", "never")
    result = in_town("wait", "never", "--timeout", "0.05", "--json", code=1)
    assert result.error["code"] == "timeout"
    assert "never is starting" in result.error["message"]
    assert "no kernel is running" in result.err
    task = in_town("assign", "never", "wait for it", "--json").json["task_id"]
    assert in_town("wait", "--task", task, "--timeout", "0.05", "--json", code=1).error["code"] == "timeout"
    in_town("kill", "never")
    assert in_town("wait", "never", "--json", code=1).error["code"] == "will_not_be_idle"


def test_wait_reacts_to_events(in_town: Shell) -> None:
    in_town("spawn", "awaited")
    task = in_town("assign", "awaited", "wait for it", "--json").json["task_id"]
    with in_town.start("wait", "--task", task, "--verbose", "--timeout", "30") as waiting:
        assert waiting.stderr is not None
        waiting.stderr.readline()  # it is connected
        in_town("task", "complete", task)
        out, _ = waiting.communicate(timeout=4)  # sooner than it would look again by itself
    assert out == f"task {task} is completed: wait for it\n"


def test_events_are_filtered_before_the_limit_applies_and_followed_without_repeats(in_town: Shell) -> None:
    in_town("spawn", "seen")
    for number in range(3):
        in_town("send", "supervisor", f"noise {number}", "--info")
    assert [event["type"] for event in in_town("events", "-c", "1", "--json").lines] == ["message_sent"]
    own = in_town("events", "-c", "1", "--agent", "seen", "--json").lines
    assert [(event["type"], event["agent"]) for event in own] == [("agent_spawned", "seen")]
    assert in_town("events", "-c", "0").out == ""
    task = in_town("assign", "seen", "look", "--json").json["task_id"]
    events = in_town("events", "--task", task, "--type", "task_state_changed", "--json").lines
    assert [(event["old"], event["new"]) for event in events] == [("pending", "assigned")]
    assert list(events[0])[:2] == ["type", "at"]
    with in_town.start("events", "--follow", "--json", "-c", "2", "--agent", "seen") as following:
        assert following.stdout is not None
        lines = [following.stdout.readline() for _ in range(2)]
        in_town("task", "cancel", task)
        lines.append(following.stdout.readline())
        in_town("send", "seen", "last", "--info")
        lines.append(following.stdout.readline())
        following.terminate()
    assert len(set(lines)) == 4
    assert '"new":"cancelled"' in lines[2]
    assert '"message_sent"' in lines[3]


def test_status_shows_the_whole_town(in_town: Shell) -> None:
    in_town("spawn", "status-agent")
    task = in_town("assign", "status-agent", "be seen", "--json").json["task_id"]
    status = in_town("status", "--deep", "--tasks", "--json").json
    assert status["town"] == "shared"
    assert status["root"] == str(in_town.directory)
    assert status["redis"]["url"].startswith("unix://")
    assert status["kernel"] == {"running": False, "pid": None, "host": None, "outdated": None}
    assert task in [row["id"] for row in status["open_tasks"]]
    assert status["events"]["status-agent"][0]["type"] == "agent_spawned"
    shown = in_town("status", "--deep", "--tasks").out
    assert "kernel  not running" in shown
    assert "be seen" in shown
    assert "status-agent joined" in shown


def test_dead_letters_are_shown_redriven_and_dropped(in_town: Shell) -> None:
    in_town("spawn", "doomed")
    ids = [in_town("send", "doomed", f"letter {number}", "--info", "--json").json["message_id"] for number in range(2)]
    in_town("kill", "doomed")
    in_town("remove", "doomed", "--force")
    dead = in_town("dead", "list", "--json").json["dead"]
    assert {letter["id"] for letter in dead} == set(ids)
    assert in_town("dead", "show", ids[0][:13], "--json").json["message"]["summary"] == "letter 0"
    assert in_town("dead", "show", "unheard-of", code=3).err
    assert in_town("dead", "redrive", ids[0], code=4).err
    assert "2 messages; see: tt dead list" in in_town("status").out
    assert in_town("dead", "drop", ids[0], "--json").json == {"dropped": [ids[0]]}
    assert in_town("dead", "drop", "all", "--json").json == {"dropped": [ids[1]]}
    assert in_town("dead", "redrive", "all", "--json").json == {"redriven": []}
    assert in_town("dead", "list").out == "no dead letters\n"


def test_the_library_is_installed_where_the_server_lacks_it(in_town: Shell) -> None:
    with BlockingClient(parse_url(in_town.server().url)) as client:
        client.command("FUNCTION", "FLUSH")
        in_town("spawn", "resilient")
        client.command("HSET", "tt:{shared}:meta", "schema", "999")
        try:
            assert in_town("list", "--json", code=4).error["code"] == "other_schema"
        finally:
            client.command("HSET", "tt:{shared}:meta", "schema", "1")


def test_following_continues_after_the_server_was_killed(tt: Shell) -> None:
    tt("init")
    tt("send", "supervisor", "before", "--info")
    with tt.start("events", "--follow", "--json", "-c", "1") as following:
        assert following.stdout is not None
        first = following.stdout.readline()
        server = EmbeddedServer(tt.state())
        pid = server.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        message = tt("send", "supervisor", "after", "--info", "--json").json["message_id"]
        second = following.stdout.readline()
        following.terminate()
    assert '"message_sent"' in first
    assert message in second
