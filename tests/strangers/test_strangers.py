"""Eleven plugins as strangers would write them: each from public modules alone, each keeping its promises, all in one town."""

from __future__ import annotations

import ast
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
from tinytown.config import load_config
from tinytown.plugin import load_plugins
from tinytown_testing import Receiver, TownDirectory, check_plugin
from tinytown_testing.fake_acp import AGENT
from tinytown_testing.installed import install_distribution

from tests.repository.test_floors import is_public

PLUGINS = sorted((Path(__file__).parent / "plugins").glob("*.py"))
NAMES = [path.stem for path in PLUGINS]
DEADLINE_S = 200.0

#: What a plugin may depend on beside the core, and of each distribution the modules that are public.
DISTRIBUTIONS = {
    "tinytown_adapters": {"tinytown_adapters"},
    "tinytown_acp": {"tinytown_acp"},
    "tinytown_sinks": {"tinytown_sinks"},
    "tinytown_cli": {"tinytown_cli.client", "tinytown_cli.contracts", "tinytown_cli.public"},
    "tinytown_testing": {"tinytown_testing", "tinytown_testing.fake_acp", "tinytown_testing.recordings"},
}
LIBRARIES = {"click", "msgspec", "trio"}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """The modules that a file imports, each with a name that it takes from it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            yield from ((node.module, alias.name) for alias in node.names)


def test_they_are_the_eleven_that_a_town_has_to_make_possible() -> None:
    assert NAMES == [
        "branches",  # a workspace of worktrees, with a gate
        "cards",  # three formats
        "checklist",
        "envoy",  # an agent of the Agent Client Protocol
        "herald",  # a webhook
        "ledger",  # SQLite
        "pipe",  # two CLIs
        "quill",
        "sheet",
        "tally",  # a command and sections
        "window",  # HTTP
    ]


@pytest.mark.parametrize("path", PLUGINS, ids=NAMES)
def test_it_imports_public_modules_alone(path: Path) -> None:
    for module, name in imports(path):
        top = module.partition(".")[0]
        if top == "tinytown":
            assert is_public(f"{module}.{name}"), f"{module}.{name}"
        elif top in DISTRIBUTIONS:
            assert module in DISTRIBUTIONS[top], module
        else:
            assert top in sys.stdlib_module_names or top in LIBRARIES, module
        assert not name.startswith("_"), name


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which the eleven are installed, as pip would leave them."""
    site = tmp_path / "site"
    site.mkdir()
    for path in PLUGINS:
        name, module = path.stem, f"tinytown_{path.stem}"
        (site / f"{module}.py").write_text(path.read_text())
        entries = f"[tinytown]\n{name} = {module}\n[tinytown.scenarios]\n{name} = {module}:scenarios\n"
        if "tinytown_commands" in path.read_text():
            entries += f"[tinytown.commands]\n{name} = {module}:{name}\n"
        install_distribution(site, f"tinytown-{name}", entries)
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(str(site))  # pyright: ignore[reportUnknownMemberType]
    return site


@pytest.fixture
def herald(site: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """Where the webhook goes."""
    import tinytown_herald  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

    monkeypatch.setenv("HERALD_URL", receiver.url)
    monkeypatch.setitem(tinytown_herald.RECEIVERS, receiver.url, receiver)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return receiver


@pytest.mark.parametrize("name", NAMES)
async def test_it_keeps_its_promises(site: Path, herald: Receiver, name: str) -> None:
    with trio.fail_after(DEADLINE_S):
        reports = await check_plugin(name)
    assert len(reports) > 1, "it offers nothing"
    for report in reports:
        report.raise_if_broken()
        missing = [result for result in report.not_applicable if "no scenario" in result.detail]
        assert not missing, f"{report.subject}: {missing}"


def git(directory: Path, *words: str) -> str:
    person = ("-c", "user.name=a", "-c", "user.email=a@b")
    return subprocess.run(["git", *person, *words], cwd=directory, check=True, capture_output=True, text=True).stdout


async def test_a_town_with_all_of_them(
    town_dir: TownDirectory, site: Path, herald: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = town_dir.root
    writer = "cat > answer.txt; echo written"
    quill = tmp_path / "quill"
    quill.write_text(
        '#!/bin/sh\ncat >/dev/null\necho \'{"session": "s1", "text": "by quill"}\'\necho \'{"end": true}\'\n'
    )
    quill.chmod(0o755)
    envoy = [sys.executable, str(AGENT), str(tmp_path / "sessions")]
    town_dir.configure(
        f"""lease_s = 10.0
blocked_plugins = ["git"]
[plugins.pipe]
command = ["sh", "-c", "{writer}"]
[plugins.quill]
command = ["{quill}"]
permissions = "full"
[plugins.envoy]
command = {json.dumps(envoy)}
permissions = "full"
""",
        timeout_s=60.0,
    )
    git(root, "init", "-q", "-b", "main")
    git(root, "commit", "-q", "--allow-empty", "-m", "first")
    port = tmp_path / "port"
    monkeypatch.setenv("WINDOW_FILE", str(port))
    sheet = load_plugins(load_config(root), root).contributed("converters")["sheet"]
    (imported,) = sheet.read(b'title,priority,description\nPoem,high,"write a poem"\n').tasks
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            agents = {
                name: await town.spawn(name, cli=kind)
                for name, kind in (("ada", "pipe"), ("ben", "quill"), ("cleo", "envoy"))
            }
            poem = await town.add_task(**imported, agent="ada")
            others = [await agents[name].assign("say hello") for name in ("ben", "cleo")]
            done = [await town.wait_for_task(task.id) for task in (poem, *others)]
            assert [(task.state, (task.result or "").strip()) for task in done[:2]] == [
                ("completed", "written"),
                ("completed", "by quill"),
            ]
            assert done[2].state == "completed", done[2].reason
            # the workspace has merged the work of the task, with what the section of prompts said in it
            await town.wait_until(trio.lowlevel.checkpoint, lambda _: (root / "answer.txt").exists())
            prompt = (root / "answer.txt").read_text()
            assert "write a poem" in prompt
            assert "ada has 1 task." in prompt
            assert "Poem" in git(root, "log", "--format=%s")
            # the service
            stream = await trio.open_tcp_stream("127.0.0.1", int(port.read_text()))
            async with stream:
                await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
                answer = b"".join([part async for part in stream])
            assert {task["state"] for task in json.loads(answer.partition(b"\r\n\r\n")[2])} == {"completed"}
            # the sinks
            finished = {
                event["id"] for event in await town_dir.wait_for_events(town, 3, "task_state_changed", new="completed")
            }
            await town.wait_until(trio.lowlevel.checkpoint, lambda _: finished <= ledger_ids(town_dir))
            await town.wait_until(trio.lowlevel.checkpoint, lambda _: finished <= herald_ids(herald))
    # the command, in a process of its own
    shell = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-m", "tinytown", "tally", "--json"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(shell.stdout) == {"tasks": 3}, shell.stderr


def ledger_ids(town_dir: TownDirectory) -> set[str]:
    path = town_dir.state / "ledger.db"
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as database:
        return {id_ for (id_,) in database.execute("SELECT id FROM events")}


def herald_ids(receiver: Receiver) -> set[str]:
    return {event["id"] for request in list(receiver.taken) for event in request.json}
