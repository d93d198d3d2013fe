"""The manual's page of JSON beside what the commands really print: nothing promised is missing, nothing is unwritten."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from tinytown.model.events import EVENT_TYPES, KnownEvent
from tinytown.protocol import TownOperations
from tinytown.redis.url import parse_url
from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.framework import make_root
from tinytown_testing.shell import Shell

from plugins.migrate.tests.old_towns import write_old_town

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "json.md"

#: What has no single object to compare: described in words.
IN_WORDS = {"tt demo"}


def sections() -> dict[str, str]:
    """Heading -> text below it, for the headings of the third rank."""
    parts = re.split(r"^### (.+)\n", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def example(text: str) -> Any:
    found = re.search(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return json.loads(found[1]) if found else None


EXAMPLES = {heading: example(text) for heading, text in sections().items()}


def commands(command: click.Command, words: str = "tt", parent: click.Context | None = None) -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command, parent=parent, info_name=words.split()[-1])
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, f"{words} {name}", context)
    else:
        yield words


def differences(promised: Any, real: Any, place: str) -> Iterator[str]:
    """Where `real` is not as `promised`: members that lack or are not written down, and values of another type."""
    if isinstance(promised, str) and (record := re.fullmatch(r"<(\w+)>", promised)):
        promised = EXAMPLES[record[1]]
    if isinstance(promised, dict) and isinstance(real, dict):
        free = [value for name, value in promised.items() if name.startswith("<")]
        known = {name for name in promised if not name.startswith("<")}
        for name in sorted(known - real.keys()):
            yield f"{place} lacks {name}"
        for name, value in real.items():
            if name in known:
                yield from differences(promised[name], value, f"{place}.{name}")
            elif free:
                yield from differences(free[0], value, f"{place}.{name}") if free[0] != "..." else ()
            else:
                yield f"{place}.{name} is not on the page"
    elif isinstance(promised, list) and isinstance(real, list):
        for number, item in enumerate(real if promised else ()):
            yield from differences(promised[0], item, f"{place}[{number}]")
    elif promised is not None and real is not None and type(promised) is not type(real):
        yield f"{place} should be like {promised!r}, is {real!r}"


@pytest.fixture
def answers(in_town: Shell) -> dict[str, Any]:
    """What every command prints in a town where there is something of everything."""
    tt, printed = in_town, dict[str, Any]()

    def ask(command: str, *words: str) -> Any:
        printed[f"tt {command}"] = tt(*command.split(), *words, "--json").json
        return printed[f"tt {command}"]

    elsewhere = tt.directory / "elsewhere"
    elsewhere.mkdir()
    printed["tt init"] = tt("init", "--inside", "--json", cwd=elsewhere).json
    printed["tt start"] = tt("start", "--background", "--json", cwd=elsewhere).json
    printed["tt reload"] = tt("reload", "--json", cwd=elsewhere).json
    printed["tt stop"] = tt("stop", "--json", cwd=elsewhere).json
    ask("bootstrap")
    ask("towns")
    for command in ("config set", "config get", "config unset"):
        ask(command, "default_cli", *(["shell"] if command == "config set" else []))
    ask("config list")
    ask("plan", "--init")
    ask("sync")
    for name in ("worker", "doomed"):
        ask("spawn", name, "--tags", "a,b")
    ask("task current", "worker")
    task = ask("assign", "worker", "work", "--title", "a title", "--tags", "a")["task_id"]
    tt("assign", "worker", "more", "--needs", task)
    for verb in ("complete", "reopen", "fail", "reopen", "cancel", "reopen", "requeue"):
        ask(f"task {verb}", task)
    ask("task hold", task, "--reason", "wait", "--until", "2h")
    ask("task release", task)
    ask("backlog list")
    ask("backlog claim", task, "worker")
    ask("task show", task)
    ask("task tree")
    ask("task why", task)
    ask("why")
    ask("help", "mail")
    ask("task list")
    ask("task export", "tasks.jsonl", "--format", "beads")
    ask("task import", "tasks.jsonl", "--format", "beads", "--dry-run")
    ask("backlog remove", ask("backlog add", "later")["task_id"])
    ask("task result", a_checked_result(tt))
    tt("backlog", "add", "later")
    ask("backlog assign-all", "worker")
    letters = [ask("send", "doomed", text, "--info")["message_id"] for text in ("one", "two")]
    tt("send", "worker", "thanks", "--ack")
    tt("send", "worker", "good to merge?", "--query")
    ask("inbox", "worker")
    ask("trace", letters[0])
    ask_a_question(tt)
    ask("answer", ask("questions")["questions"][0]["id"], "yes")
    ask_a_question(tt, ["allow", "deny"])
    ask("deny", "q1")
    ask("prompt", "worker")
    ask("interrupt", "doomed")
    ask("resume", "doomed")
    ask("close", "doomed")
    ask("kill", "doomed")
    ask("restart", "doomed")
    tt("spawn", "pruned")
    tt("assign", "pruned", "work")
    tt("kill", "pruned")
    ask("reclaim", "--to-backlog")
    ask("prune")
    tt("kill", "doomed")
    ask("remove", "doomed", "--force")
    ask("dead list")
    ask("dead show", letters[0])
    ask("dead drop", letters[0])
    tt("dead", "drop", "all")
    ask("dead redrive", "all")
    tt("task", "complete", task)
    ask("wait", "--task", task)
    ask("list")
    ask("estop", "--reason", "the bill")
    ask("status", "--deep", "--tasks")
    ask("thaw")
    ask("hosts")
    ask("accounts list")
    tt("config", "set", "budgets.day_usd", "20")
    ask("costs")
    ask("budget", "--apply")
    ask("accounts unpark", "shell")
    ask("save")
    ask("restore", "tinytown.jsonl", "--merge", "--dry-run")
    printed["tt reset"] = json.loads(tt("reset", "--json", code=4).out)
    ask("migrate", "--from", old_server(tt), "--output", "old.jsonl")
    ask("doctor")
    ask("recover")
    with_systemd = a_systemd_that_obeys(tt)
    for verb, *words in (["install", "--no-start"], ["status"], ["uninstall"]):
        printed[f"tt service {verb}"] = tt("service", verb, *words, "--json", env=with_systemd).json
    ask("where")
    printed["tt uninstall"] = json.loads(tt("uninstall", "--json", code=4).out)
    ask("plugins list")
    ask("plugins install", "git", "--dry-run")
    ask("roles")
    ask("agent-tools", "--list")
    ask("plugin new", "my-tool", "--kind", "gate")
    ask("plugin test", "echo")
    nothing = tt("plugin", "record", "shell", "--program", "true", "--situation", "answer", "--json", code=1)
    printed["tt plugin record"] = json.loads(nothing.out)
    ask("completion", "bash")
    ask("version")
    printed["tt events"] = tt("events", "-c", "1000", "--json").lines
    ask("history", "worker")
    ask("top")
    ask("conductor", "--print")
    printed.update(git_answers(tt))
    tt("start", "--background")
    tt("spawn", "echoer", "--cli", "echo")
    tt("assign", "echoer", "say something")
    tt("wait", "echoer")
    ask("history", "echoer", "--round", "1")
    printed["tt logs"] = tt("logs", "echoer", "--json").lines
    tt("stop", "--keep-server")
    return printed


def ask_a_question(tt: Shell, options: Sequence[str] = ("Yes", "No")) -> None:
    """What a session of `worker` would have left in the town."""
    operations = TownOperations(tt.json("config", "get", "name")["value"])
    question = {"id": "q1", "agent": "worker", "question": "May I?", "options": options}
    with BlockingClient(parse_url(tt.server().url)) as client:
        client.run(operations.set_plugin_field("ops", "question.q1", question))


def a_checked_result(tt: Shell) -> str:
    """The id of a completed task as the gate of the plugin would have left it."""
    operations = TownOperations(tt.json("config", "get", "name")["value"])
    table = {"schema": {}, "value": {"modules": ["a.py"]}}
    with BlockingClient(parse_url(tt.server().url)) as client:
        added = client.run(operations.add_task("list them", finished="completed", meta={"results": table}))
    return added.task.id


def a_systemd_that_obeys(tt: Shell) -> dict[str, str]:
    """Variables with which a script is the user's service manager."""
    for name in ("systemctl", "loginctl", "launchctl"):
        program = tt.directory / "manager" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\nprintf 'ActiveState=active\\nMainPID=4711\\nUnitFileState=enabled\\n'\n")
        program.chmod(0o755)
    path = f"{tt.directory / 'manager'}:{tt.variables['PATH']}"
    return {"PATH": path, "HOME": str(tt.directory / "manager"), "XDG_CONFIG_HOME": ""}


def git_answers(tt: Shell) -> dict[str, Any]:
    """What the commands about git print in a repository where work was submitted, rejected, approved, merged and kept."""
    shop, printed = tt.directory / "shop", dict[str, Any]()
    shop.mkdir()
    for words in (
        "init -q",
        "config user.name Ann",
        "config user.email ann@example.org",
        "commit -q --allow-empty -m first",
    ):
        subprocess.run(["git", *words.split()], cwd=shop, check=True, timeout=30)

    def ask(command: str, *words: str) -> Any:
        printed[f"tt {command}"] = tt(*command.split(), *words, "--json", cwd=shop).json
        return printed[f"tt {command}"]

    def wait_for(task: str, stage: str) -> None:
        deadline = time.monotonic() + 60
        while [work["stage"] for work in ask("merge list")["work"] if work["task"] == task] != [stage]:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    tt("init", "--name", "git-shop", "--inside", cwd=shop)
    with (shop / "tinytown.toml").open("a") as file:
        file.write(
            '\n[plugins.git]\nreview = "person"\nchecks = { test = "true" }\nledger = true\nledger_every_s = 0.1\n'
        )
    tt("start", "--background", cwd=shop)
    tt("spawn", "ada", "--cli", "shell", cwd=shop)
    task = tt("assign", "ada", "date +%N > new", "--json", cwd=shop).json["task_id"]
    wait_for(task, "review")
    ask("diff", task)
    ask("review", task)
    tt("interrupt", "ada", cwd=shop)
    ask("reject", task, "--reason", "no")
    ask("merge show", task)
    ask("merge retry", task)
    tt("resume", "ada", cwd=shop)
    wait_for(task, "review")
    ask("merge pause")
    ask("approve", task)
    ask("merge reject", task, "--reason", "not yet")
    wait_for(task, "review")
    tt("approve", task, cwd=shop)
    ask("merge resume")
    tt("wait", "--task", task, cwd=shop)
    ask("merge list")
    name = ask("rescue list")["rescues"][0]["name"]
    ask("rescue show", name, "--diff")
    ask("rescue restore", name, "--branch", "saved")
    ask("rescue prune", "--task", task, "--dry-run")
    ask("gc", "--dry-run")
    tt("reserve", "src", "--agent", "ada", cwd=shop)
    ask("reserve", "src/api", "docs", "--note", "new", "--anyway")
    ask("reservations")
    ask("release", "docs")
    deadline = time.monotonic() + 60
    while not {"round", "merge"} <= {
        entry.get("kind", "round") for entry in ask("ledger history", "-n", "100")["entries"]
    }:
        assert time.monotonic() < deadline
    ask("ledger show")
    ask("ledger restore", "--merge", "--dry-run")
    ask("ledger history", "-n", "1")
    tt("stop", cwd=shop)
    return printed


def old_server(tt: Shell) -> str:
    """The URL of a server with a town of Tinytown 0.10 on it: the town's own will do."""
    url = tt.server().url
    with BlockingClient(parse_url(url)) as client:
        write_old_town(client, "hash")
    return url


def test_every_command_has_a_section() -> None:
    on_the_page_of_commands = set(re.findall(r"^### (tt .+)$", PAGE.with_name("commands.md").read_text(), re.MULTILINE))
    assert (set(commands(make_root())) & on_the_page_of_commands) - EXAMPLES.keys() == set()
    assert {name for name in EXAMPLES if name.startswith("tt ")} - set(commands(make_root())) == set()
    assert {name for name, found in EXAMPLES.items() if found is None} == IN_WORDS


def test_commands_print_what_the_page_promises(answers: dict[str, Any]) -> None:
    wrong: list[str] = []
    for command in sorted({name for name in EXAMPLES if name.startswith("tt ")} - IN_WORDS):
        promised: Any = EXAMPLES[command]
        found = answers[command] if command in ("tt events", "tt logs") else [answers[command]]
        if "<mailbox_entry>" in json.dumps(promised):
            # Messages differ by type; the page shows a question.
            found = [{**each, "messages": [m for m in each["messages"] if m["type"] == "query"]} for each in found]
            assert found[0]["messages"]
        if "<dead_letter>" in json.dumps(promised):
            found = json.loads(json.dumps(found).replace('"summary"', '"question"'))
        wrong += [line for each in found for line in differences(promised, each, command)]
    assert wrong == []
    # None of the lists that were compared was empty.
    assert answers["tt status"]["agents"]
    assert answers["tt status"]["open_tasks"]
    assert answers["tt status"]["events"]["worker"]
    assert answers["tt dead list"]["dead"]
    assert answers["tt towns"]["towns"]
    assert answers["tt plan"]["tasks"]
    assert answers["tt sync"]["tasks"]
    assert answers["tt trace"]["trace"]
    assert answers["tt prompt"]["messages"]
    assert answers["tt plugins list"]["plugins"]
    assert answers["tt history"]["rounds"]
    assert answers["tt history"]["transcript"]
    assert answers["tt logs"]
    assert answers["tt merge list"]["work"]
    assert answers["tt rescue list"]["rescues"]
    assert answers["tt gc"]["worktrees"]
    assert answers["tt ledger history"]["entries"]
    assert answers["tt diff"]["files"]
    assert answers["tt approve"]["checks"]
    assert answers["tt approve"]["reviews"]
    assert len(answers["tt events"]) > 20


def test_every_type_of_event_is_on_the_page_with_its_members() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", sections()["event"], re.MULTILINE))
    assert list(rows) == list(EVENT_TYPES)
    for kind in KnownEvent.__args__:
        required, _, optional = rows[str(kind.__struct_config__.tag)].partition("[")
        members = [name for name in kind.__struct_fields__ if name not in ("id", "at")]
        number = len(kind.__struct_defaults__)
        assert re.findall(r"\w+", required) == members[: len(members) - number]
        assert re.findall(r"\w+", optional) == members[len(members) - number :]


def test_the_report_of_the_demo_is_on_the_page_with_its_members() -> None:
    from tinytown_demo.report import Report

    assert re.findall(r"`(\w+)`", sections()["tt demo"])[1:] == ["type", *Report.__struct_fields__]


def test_an_error_is_as_the_page_shows_it(in_town: Shell) -> None:
    shown = re.search(r"## Errors.*?```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert shown
    printed = in_town("send", "zed", "hello", "--json", code=3)
    assert json.loads(printed.err) == json.loads(shown[1])
