"""A town of several coding CLIs at once: first the design, then two tasks together, and everybody speaks with the town.

With the real CLIs where there are any, and always with stand-ins for them.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomlkit
import trio
from tinytown_ops.explain.round_files import read_transcript, transcripts_directory
from tinytown_testing import TownDirectory
from tinytown_testing.models import ModelServer

from tests.real_clis.clis import AUGGIE, CLAUDE, CODEX, RealCli, git

DEADLINE_S = 180.0

#: Each of the two waits until the other has begun: done one after the other they would never end.
MEET = (
    "touch {me}.begun; for i in $(seq 900); do test -e {other}.begun && break; sleep 0.1; done; test -e {other}.begun"
)


def say(text: str, *replies: dict[str, Any]) -> str:
    """A task whose model answers with `replies`, one a turn."""
    return f"{text}\n\n<stub>{msgspec.json.encode(replies).decode()}</stub>"


def town_tool(tool: str, **given: Any) -> dict[str, Any]:
    return {"mcp": {"server": "town", "tool": tool, "input": given}}


def half(me: str, other: str) -> str:
    return say(
        f"Build the {me} half of the word counter, as DESIGN.md says.",
        {"shell": MEET.format(me=me, other=other)},
        {"shell": f"cat DESIGN.md > {me}.txt"},
        town_tool("send", to=other, text=f"{me}.txt is there", kind="info"),
        town_tool("task_complete", result=f"{me}.txt has it"),
        {"text": "done"},
    )


@pytest.fixture
def town_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[TownDirectory]:
    for name in [name for name in os.environ if name.startswith("TINYTOWN_") and name != "TINYTOWN_REAL_CLIS"]:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="tt-state-", dir="/tmp", ignore_cleanup_errors=True) as state_home:
        monkeypatch.setenv("XDG_STATE_HOME", state_home)
        made = TownDirectory.make()
        try:
            yield made
        finally:
            made.close()


def stand_ins(directory: Path, kinds: Iterable[str]) -> str:
    """A PATH that begins with programs of these names."""
    directory.mkdir()
    words = [sys.executable, "-I", "-S", str(Path(__file__).with_name("stand_in.py"))]
    for kind in kinds:
        (directory / kind).write_text(f'#!/bin/sh\nexec {shlex.join([*words, kind])} "$@"\n')
        (directory / kind).chmod(0o755)
    return os.pathsep.join((str(directory), os.environ["PATH"]))


@pytest.fixture(params=[pytest.param("real", marks=pytest.mark.real_clis), "stand-ins"])
def clis(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, RealCli]:
    """Name of an agent -> its CLI, which is found on the PATH and asks a model server of ours."""
    kinds = {"designer": CLAUDE, "backend": CODEX, "frontend": AUGGIE}
    if request.param == "real":
        paths = [cli.path() for cli in kinds.values()]
        monkeypatch.setenv("PATH", paths[0])
    else:
        monkeypatch.setenv("PATH", stand_ins(tmp_path / "bin", {cli.kind for cli in kinds.values()}))
    return kinds


async def test_design_first_then_both_halves_at_once(
    town_dir: TownDirectory, clis: dict[str, RealCli], monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.fail_after(DEADLINE_S), ModelServer() as server:
        plugins: dict[str, Any] = {}
        for cli in clis.values():
            plugins |= cli.tables(cli.settings(server.url))
            for name, value in cli.environment(server.url).items():
                monkeypatch.setenv(name, value)
        # Boxes have tests of their own; in one, a tree below /tmp would be out of sight.
        for name in {"claude", "codex"} & plugins.keys():
            plugins[name] |= {"permissions": "full"}
        town_dir.configure("lease_s = 10.0\n" + tomlkit.dumps({"plugins": plugins}), timeout_s=90.0)
        git(town_dir.root, "init", "-q")
        async with town_dir.open() as town:
            agents = {name: await town.spawn(name, cli=cli.kind) for name, cli in clis.items()}
            design = await agents["designer"].assign(
                say(
                    "Design a word counter.",
                    {"shell": "echo words are runs of letters > DESIGN.md"},
                    town_tool("send", to="backend", text="the interface is in DESIGN.md", kind="info"),
                    town_tool("task_complete", result="DESIGN.md says what a word is"),
                    {"text": "done"},
                ),
                title="the design",
            )
            halves = [
                await agents[me].assign(half(me, other), title=f"the {me}", needs=[design.id])
                for me, other in (("backend", "frontend"), ("frontend", "backend"))
            ]
            done = [await town.wait_for_task(task.id) for task in (design, *halves)]
            assert [(task.state, task.result, task.attempts) for task in done] == [
                ("completed", "DESIGN.md says what a word is", 1),
                ("completed", "backend.txt has it", 1),
                ("completed", "frontend.txt has it", 1),
            ]
            for name in ("backend", "frontend"):  # the next round takes along what starts none
                read = await agents[name].assign(say("Read your mail.", {"text": "done"}))
                ended = await town.wait_for_task(read.id)
                assert ended.state == "completed", ended.reason
            await town.wait_for_idle()
        reported = {name: prompts(town_dir, name) for name in clis}
        for name in ("backend", "frontend"):
            assert (town_dir.root / f"{name}.txt").read_text() == "words are runs of letters\n"
            assert "completed by designer: the design\n\n```text\nDESIGN.md says what a word is\n```" in reported[name]
        assert "task_complete` when the task is done" in reported["designer"]
        assert "### info from designer" in reported["backend"]
        assert "the interface is in DESIGN.md" in reported["backend"]
        assert "frontend.txt is there" in reported["backend"]
        assert "backend.txt is there" in reported["frontend"]


def prompts(town_dir: TownDirectory, agent: str) -> str:
    """All prompts of an agent, in all of its rounds."""
    runs = [path.stem for path in transcripts_directory(town_dir.root, agent).iterdir()]
    read = [read_transcript(town_dir.root, agent, run) for run in runs]
    return "\n".join(transcript.prompt for transcript in read if transcript is not None)
