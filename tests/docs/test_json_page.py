"""The manual's page of JSON beside what the commands really print: nothing promised is missing, nothing is unwritten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from tinytown.model.events import EVENT_TYPES, KnownEvent
from tinytown.redis.blocking_client import BlockingClient
from tinytown.redis.url import Address
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
    tt, told = in_town, dict[str, Any]()

    def ask(command: str, *words: str) -> Any:
        told[f"tt {command}"] = tt(*command.split(), *words, "--json").json
        return told[f"tt {command}"]

    elsewhere = tt.directory / "elsewhere"
    elsewhere.mkdir()
    told["tt init"] = tt("init", "--inside", "--json", cwd=elsewhere).json
    told["tt start"] = tt("start", "--background", "--json", cwd=elsewhere).json
    told["tt stop"] = tt("stop", "--json", cwd=elsewhere).json
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
    ask("task list")
    ask("task export", "tasks.jsonl", "--format", "beads")
    ask("task import", "tasks.jsonl", "--format", "beads", "--dry-run")
    ask("backlog remove", ask("backlog add", "later")["task_id"])
    tt("backlog", "add", "later")
    ask("backlog assign-all", "worker")
    letters = [ask("send", "doomed", text, "--info")["message_id"] for text in ("one", "two")]
    tt("send", "worker", "thanks", "--ack")
    tt("send", "worker", "good to merge?", "--query")
    ask("inbox", "worker")
    ask("trace", letters[0])
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
    told["tt reset"] = json.loads(tt("reset", "--json", code=4).out)
    ask("migrate", "--from", old_server(tt), "--output", "old.jsonl")
    ask("doctor")
    ask("recover")
    ask("plugins")
    ask("roles")
    ask("agent-tools", "--list")
    ask("plugin new", "my-tool", "--kind", "gate")
    ask("plugin test", "echo")
    ask("completion", "bash")
    ask("version")
    told["tt events"] = tt("events", "-c", "1000", "--json").lines
    ask("history", "worker")
    ask("top")
    ask("conductor", "--print")
    tt("start", "--background")
    tt("spawn", "echoer", "--cli", "echo")
    tt("assign", "echoer", "say something")
    tt("wait", "echoer")
    ask("history", "echoer", "--round", "1")
    told["tt logs"] = tt("logs", "echoer", "--json").lines
    tt("stop", "--keep-server")
    return told


def old_server(tt: Shell) -> str:
    """The URL of a server with a town of Tinytown 0.10 on it: the town's own will do."""
    socket = tt.directory / ".tt" / "redis.sock"
    with BlockingClient(Address("unix", path=str(socket))) as client:
        write_old_town(client, "hash")
    return f"unix://{socket}"


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
    assert answers["tt plugins"]["plugins"]
    assert answers["tt history"]["rounds"]
    assert answers["tt history"]["transcript"]
    assert answers["tt logs"]
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
    told = in_town("send", "zed", "hello", "--json", code=3)
    assert json.loads(told.err) == json.loads(shown[1])
