"""Everything that the command line can do is there over HTTP, or has a reason why it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tinytown.errors import NotFound, UsageError
from tinytown_cli.command_index import contributions
from tinytown_cli.command_table import COMMANDS, load
from tinytown_cli.public import call_command
from tinytown_testing.towns import TownDirectory
from tinytown_townhall.application import all_endpoints
from tinytown_townhall.extensions import Extensions, load_extensions

from plugins.townhall.tests.conftest import Client

#: Command -> the routes that do the same.
SERVED = {
    "accounts list": "GET /v1/accounts",
    "accounts unpark": "POST /v1/accounts/{account}/release",
    "answer": "POST /v1/inbox/{message}/answer",
    "approve": "POST /v1/reviews/{task}/approve",
    "assign": "POST /v1/tasks, POST /v1/tasks/{task}/assign",
    "backlog add": "POST /v1/backlog",
    "backlog assign-all": "POST /v1/backlog/assign-all",
    "backlog claim": "POST /v1/backlog/{task}/claim",
    "backlog list": "GET /v1/backlog",
    "backlog remove": "DELETE /v1/backlog/{task}",
    "budget": "GET /v1/budgets, POST /v1/budgets/apply",
    "close": "POST /v1/agents/{agent}/close",
    "config get": "GET /v1/settings",
    "config list": "GET /v1/settings",
    "costs": "GET /v1/costs",
    "dead drop": "DELETE /v1/dead-letters/{message}",
    "dead list": "GET /v1/dead-letters",
    "dead redrive": "POST /v1/dead-letters/{message}/redrive",
    "dead show": "GET /v1/dead-letters/{message}",
    "deny": "POST /v1/inbox/{message}/answer",
    "diff": "GET /v1/reviews/{task}",
    "doctor": "POST /v1/doctor",
    "estop": "POST /v1/town/freeze",
    "events": "GET /v1/events, GET /v1/events/stream",
    "group add": "POST /v1/groups/{group}/add",
    "group close": "POST /v1/groups/{group}/close",
    "group create": "POST /v1/groups",
    "group list": "GET /v1/groups",
    "group remove": "POST /v1/groups/{group}/remove",
    "group status": "GET /v1/groups/{group}",
    "group watch": "GET /v1/groups/{group}, GET /v1/events/stream",
    "history": "GET /v1/rounds, GET /v1/rounds/{round_id}",
    "hosts": "GET /v1/hosts",
    "inbox": "GET /v1/inbox, GET /v1/agents/{agent}/inbox, DELETE /v1/agents/{agent}/inbox/{message}",
    "interrupt": "POST /v1/agents/{agent}/interrupt",
    "kill": "POST /v1/agents/{agent}/kill",
    "list": "GET /v1/agents",
    "logs": "GET /v1/agents/{agent}/log, GET /v1/agents/{agent}/log/stream",
    "mcp": "GET /mcp, POST /mcp",
    "merge list": "GET /v1/reviews",
    "merge pause": "POST /v1/merges/pause",
    "merge reject": "POST /v1/reviews/{task}/reject",
    "merge resume": "POST /v1/merges/resume",
    "merge retry": "POST /v1/reviews/{task}/retry",
    "merge show": "GET /v1/reviews/{task}",
    "plan": "GET /v1/plan",
    "plugins list": "GET /v1/plugins",
    "prompt": "GET /v1/agents/{agent}/prompt",
    "prune": "POST /v1/agents/prune",
    "questions": "GET /v1/questions",
    "reclaim": "POST /v1/reclaim",
    "recover": "GET /v1/recover, POST /v1/recover",
    "reject": "POST /v1/reviews/{task}/reject",
    "remove": "DELETE /v1/agents/{agent}",
    "restart": "POST /v1/agents/{agent}/restart",
    "restore": "GET /v1/snapshots, POST /v1/snapshots/{snapshot}/restore",
    "resume": "POST /v1/agents/{agent}/resume",
    "review": "GET /v1/reviews/{task}",
    "roles": "GET /v1/roles",
    "save": "POST /v1/snapshots",
    "send": "POST /v1/messages",
    "spawn": "POST /v1/agents, GET /v1/agents/{agent}",
    "start": "POST /v1/town/start",
    "status": "GET /v1/status, GET /v1/attention",
    "sync": "POST /v1/plan/sync",
    "task cancel": "POST /v1/tasks/{task}/cancel",
    "task complete": "POST /v1/tasks/{task}/complete",
    "task current": "GET /v1/agents/{agent}/task",
    "task fail": "POST /v1/tasks/{task}/fail",
    "task hold": "POST /v1/tasks/{task}/hold",
    "task list": "GET /v1/tasks, GET /v1/task-rows, GET /v1/tasks/pending",
    "task release": "POST /v1/tasks/{task}/release",
    "task reopen": "POST /v1/tasks/{task}/reopen",
    "task requeue": "POST /v1/tasks/{task}/requeue",
    "task result": "GET /v1/tasks/{task}",
    "task show": "GET /v1/tasks/{task}",
    "task tree": "GET /v1/task-tree",
    "task why": "GET /v1/tasks/{task}/why",
    "thaw": "POST /v1/town/thaw",
    "top": "GET /v1/live, GET /v1/status",
    "trace": "GET /v1/messages/{message}/trace",
    "version": "GET /v1/town",
    "wait": "GET /v1/agents/{agent}/wait, GET /v1/tasks/{task}/wait",
    "why": "GET /v1/why, GET /v1/tasks/{task}/why, GET /v1/agents/{agent}/why",
}

_MACHINE = "it sets up the machine that it runs on"
_FILES = "it reads or writes files of whoever calls it"
_ROUND = "it is for an agent in its round, which reaches the town in another way"
_TERMINAL = "it is a program for a terminal"
_RIGHTS = (
    "settings and plugins decide what runs on the town's machine, and keys who comes in: a person changes them there"
)
_END = "it ends what serves this request, or empties the town: a person does that at the machine"
_GASTOWN = "it is another name for a command that is served"

#: Command -> why it is not served.
NOT_SERVED = {
    **dict.fromkeys(("init", "uninstall", "where", "service install", "service status", "service uninstall"), _MACHINE),
    **dict.fromkeys(
        ("bootstrap", "towns", "demo", "metrics", "migrate", "plugin new", "plugin test", "plugin record"), _MACHINE
    ),
    **dict.fromkeys(("task import", "task export", "gc", "beads from-gastown"), _FILES),
    **dict.fromkeys(("ledger history", "ledger restore", "ledger show"), _FILES),
    **dict.fromkeys(("beads export", "beads import", "beads ready", "beads sync"), _FILES),
    **dict.fromkeys(("rescue list", "rescue prune", "rescue restore", "rescue show"), _FILES),
    **dict.fromkeys(("formula check", "formula list", "formula run", "formula show"), _FILES),
    **dict.fromkeys(("agent-tools", "prime", "done", "handoff", "escalate", "hook"), _ROUND),
    **dict.fromkeys(("reserve", "reservations", "release", "remember", "recall", "forget"), _ROUND),
    **dict.fromkeys(("conductor", "completion", "help"), _TERMINAL),
    **dict.fromkeys(("config set", "config unset", "plugins install"), _RIGHTS),
    **dict.fromkeys(("auth link", "auth key create", "auth key list", "auth key revoke"), _RIGHTS),
    **dict.fromkeys(("notify dead", "notify drop", "notify list", "notify redeliver", "notify test"), _RIGHTS),
    **dict.fromkeys(("stop", "reload", "reset", "townhall"), _END),
    **dict.fromkeys(("sling", "nudge", "peek", "ready"), _GASTOWN),
    **dict.fromkeys((f"mail {word}" for word in "archive check inbox read reply send".split()), _GASTOWN),
    **dict.fromkeys((f"convoy {word}" for word in "add close create list remove status watch".split()), _GASTOWN),
    **dict.fromkeys((f"dep {word}" for word in "add cycles remove tree".split()), _GASTOWN),
}

#: Routes that no command has: probes, the page, and another form of what there is.
OWN = {
    "GET /health",
    "GET /ready",
    "GET /api/scaling",
    "GET /v1/panels",
    "GET /v1/session",
    "POST /v1/session",
    "DELETE /v1/session",
    "PATCH /v1/tasks/{task}",
    "DELETE /v1/tasks/{task}",
    "POST /v1/tasks/assign",
    "POST /v1/messages/send",
}


def commands() -> Iterator[str]:
    """Every command, with the groups that it is in."""

    def below(name: str, command: click.Command) -> Iterator[str]:
        if not isinstance(command, click.Group):
            yield name
            return
        for word in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), word)
            assert found is not None
            if not found.hidden:
                yield from below(f"{name} {word}", found)

    for name, entry in COMMANDS.items():
        yield from below(name, load(entry.target))
    for command in contributions(()).commands:
        yield from below(command.name, load(command.target))


def test_every_command_is_served_or_has_a_reason_not_to_be() -> None:
    found = set(commands())
    assert not SERVED.keys() & NOT_SERVED.keys()
    assert sorted(found - SERVED.keys() - NOT_SERVED.keys()) == [], "commands without a route and without a reason"
    assert sorted((SERVED.keys() | NOT_SERVED.keys()) - found) == [], "commands that do not exist"


def test_every_route_is_that_of_a_command(town_dir: TownDirectory) -> None:
    from tinytown.config import load_config

    extensions = load_extensions(load_config(town_dir.root), town_dir.root)
    routes = {f"{each.method} {each.path}" for each in all_endpoints(extensions)} | {"GET /mcp", "POST /mcp"}
    promised = {route for served in SERVED.values() for route in served.split(", ")}
    with_git = {route for route in promised if "/v1/reviews" in route or "/v1/merges" in route}
    assert sorted(promised - routes - with_git) == []
    assert sorted(routes - promised - OWN) == []


async def test_plans_snapshots_and_groups_are_served(client: Client) -> None:
    (client.town.root / "tasks.toml").write_text(
        '[[tasks]]\nid = "one"\ndescription = "count"\n[[tasks]]\nid = "two"\ndescription = "sum"\nneeds = ["one"]\n'
    )
    assert (await client.get("/v1/plan"))["stages"] == [["one"], ["two"]]
    assert (await client.post("/v1/plan/sync", {"dry_run": True}))["created"] == 2
    assert (await client.post("/v1/plan/sync"))["created"] == 2
    assert (await client.get("/v1/tasks/two"))["open_needs"] == ["one"]
    group = await client.post("/v1/groups", {"name": "release", "tasks": ["one"]})
    assert (group["name"], group["total"], group["owner"]) == ("release", 1, "supervisor")
    assert (await client.post("/v1/groups/release/add", {"tasks": ["two"]}))["total"] == 2
    assert (await client.ask("POST", "/v1/groups/release/close", {})).code == "needs_force"
    saved = await client.post("/v1/snapshots")
    assert (saved["changed"], saved["tasks"]) == (True, 2)
    (found,) = (await client.get("/v1/snapshots"))["snapshots"]
    assert found["name"] == "tinytown.jsonl"
    await client.ask("DELETE", "/v1/tasks/two")
    restored = await client.post("/v1/snapshots/tinytown.jsonl/restore", {"merge": True, "dry_run": True})
    assert restored["added"]["tasks"] == 1
    assert (await client.ask("GET", "/v1/tasks/two")).status == 404
    for name in ("..%2Ftinytown.toml", "tinytown.toml", "%2Fetc%2Fpasswd"):
        assert (await client.ask("POST", f"/v1/snapshots/{name}/restore", {"merge": True})).status == 404


async def test_reasons_and_setup_are_served(client: Client) -> None:
    await client.town.spawn("ada", cli="scripted")
    one = await client.town.add_task("count", agent="ada")
    two = await client.town.add_task("sum", needs=[one.id])
    why = await client.get(f"/v1/tasks/{two.id}/why")
    assert (why["task"]["id"], why["reasons"][0]["task"]) == (two.id, one.id)
    assert {each["task"]["id"] for each in (await client.get("/v1/why"))["tasks"]} == {one.id, two.id}
    (tree,) = (await client.get(f"/v1/task-tree?task={two.id}"))["tree"]
    assert tree["below"][0]["id"] == one.id
    assert (await client.get(f"/v1/agents/ada/prompt?task={one.id}"))["task_id"] == one.id
    assert (await client.get("/v1/agents/ada/task"))["task"]["id"] == one.id
    assert "townhall" in {each["name"] for each in (await client.get("/v1/plugins"))["plugins"]}
    assert "reviewer" in {each["name"] for each in (await client.get("/v1/roles"))["roles"]}
    assert {"key": "name", "value": "t", "source": "town"} in (await client.get("/v1/settings"))["settings"]
    assert (await client.get("/v1/budgets"))["budgets"] == []
    assert [each["agent"] for each in (await client.get("/v1/recover"))["agents"]] == ["ada"]
    await client.post("/v1/agents/ada/kill", {})
    moved = await client.post("/v1/reclaim", {"agent": "ada", "to_backlog": True})
    assert moved["agents"][0]["tasks"] == [one.id]
    assert (await client.ask("POST", "/v1/reclaim", {"to": "ada", "to_backlog": True})).code == "usage"
    assert (await client.get("/v1/questions"))["questions"] == []


async def test_waiting_ends_with_the_task_or_with_the_time(client: Client) -> None:
    import trio

    task = await client.town.add_task("count")
    assert (await client.get(f"/v1/tasks/{task.id}/wait?timeout_s=0"))["state"] == "pending"
    answers: list[str] = []

    async def wait() -> None:
        answers.append((await client.get(f"/v1/tasks/{task.id}/wait?timeout_s=60"))["state"])

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await client.town.complete_task(task.id, "3")
    assert answers == ["completed"]
    await client.town.spawn("ada", cli="scripted")
    assert (await client.get("/v1/agents/ada/wait?timeout_s=0&goal=paused"))["name"] == "ada"


def test_a_command_is_called_as_a_function(town_dir: TownDirectory) -> None:
    status = load(COMMANDS["status"].target)
    with pytest.raises(NotFound):
        call_command(status, Path("/nowhere"))
    with pytest.raises(UsageError):
        call_command(load(COMMANDS["wait"].target), town_dir.root)


def test_the_page_without_plugins_needs_none_of_their_routes() -> None:
    core = {f"{each.method} {each.path}" for each in all_endpoints(Extensions())}
    assert not {route for route in core if "/v1/plan" in route or "/v1/groups" in route or "/v1/snapshots" in route}
