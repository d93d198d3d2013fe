"""The tutorial on backends, followed word for word: its files are written, installed, loaded, run and tested."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from tinytown.config import Config
from tinytown.contracts import Failed, Finished, Outcome, RateLimited, Usage
from tinytown.plugin import Plugins, load_plugins
from tinytown_testing import ReportRecorder, open_sandbox
from tinytown_testing.installed import install_distribution

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text()
MODULE = "tinytown_parrot/__init__.py"
ADAPTER = "tinytown_quill/__init__.py"
#: Each file of the page, as often as it is shown: path, text.
FILES = re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
STAGES = [text for path, text in FILES if path == MODULE]
SETTINGS = [text for text in re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "[plugins." in text]
DEADLINE_S = 30.0


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """The package of the page, without its module, installed as `pip install -e` does."""
    installed = {each.name for each in importlib.metadata.entry_points(group="tinytown")}
    monkeypatch.setenv("TINYTOWN_BLOCK", ",".join(installed))
    directory = tmp_path / "parrot"
    for path, text in FILES:
        if path != MODULE:
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text)
    project = tomllib.loads((directory / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    install_distribution(site, project["name"], "\n".join(groups), version=project["version"])
    for path in (site, directory):
        monkeypatch.syspath_prepend(path)
    yield directory
    sys.modules.pop("tinytown_parrot", None)


def load(package: Path, source: str, **tables: object) -> Plugins:
    """The town's plugins, when `source` has been written into the module."""
    module = package / MODULE
    module.parent.mkdir(exist_ok=True)
    module.write_text(source)
    importlib.invalidate_caches()
    config = msgspec.convert({"name": "town", "strict_plugins": True, **tables}, Config)
    return load_plugins(config, package.parent)


async def outcome_of(plugins: Plugins, description: str, report: ReportRecorder) -> Outcome:
    with trio.fail_after(DEADLINE_S):
        async with open_sandbox() as sandbox:
            agent = sandbox.agent("polly", cli="parrot")
            work = replace(sandbox.round(agent, description), prompt=f"# Your task\n\n{description}\n")
            async with plugins.backends["parrot"].open(sandbox.context(agent)) as session:
                return await session.run_round(work, report)


def test_the_page_shows_the_module_four_times() -> None:
    assert len(STAGES) == 4
    assert [path for path, _ in FILES if path != MODULE] == ["pyproject.toml", "tests/test_parrot.py", ADAPTER]


def test_the_empty_plugin_is_active_and_contributes_nothing(package: Path) -> None:
    (report,) = [each for each in load(package, STAGES[0]).reports if each.name == "parrot"]
    assert (report.status, report.distribution, report.version) == ("active", "tinytown-parrot", "0.1.0")
    assert report.hooks == ()


def test_another_api_version_is_refused_as_the_page_says(package: Path) -> None:
    plugins = load(package, STAGES[0].replace("API = 2", "API = 1"), strict_plugins=False)
    (report,) = [each for each in plugins.reports if each.name == "parrot"]
    assert report.status == "refused"


async def test_the_first_backend_answers_as_the_page_says(package: Path) -> None:
    report = ReportRecorder()
    assert await outcome_of(load(package, STAGES[1]), "a cracker", report) == Finished(text="a cracker, a cracker!")
    assert "its result is `a cracker, a cracker!`" in PAGE
    assert report.lines == ["thinking about 'a cracker'"]


async def test_the_settings_of_the_page_take_effect(package: Path) -> None:
    (table,) = map(tomllib.loads, SETTINGS)
    assert table["plugins"]["parrot"]["times"] == 3
    table["plugins"]["parrot"]["thinking_s"] = 0
    plugins, report = load(package, STAGES[2], **table), ReportRecorder()
    assert await outcome_of(plugins, "hi", report) == Finished(text="hi, hi, hi!")
    assert report.lines == ["hi"] * 3
    assert isinstance(await outcome_of(plugins, "be an owl", report), Failed)


async def test_the_program_answers_with_the_prompt(package: Path) -> None:
    report = ReportRecorder()
    outcome = await outcome_of(load(package, STAGES[3]), "a cracker", report)
    assert outcome == Finished(text="# Your task\n\na cracker\n")
    assert report.lines[-1] == "a cracker"


def test_the_test_of_the_page_passes(package: Path) -> None:
    load(package, STAGES[2])
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey"],
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE_S,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 passed" in ran.stdout


#: A CLI such as the page speaks of: it prints one record a line, and says what it was called with.
QUILL = """#!/bin/sh
prompt=$(cat)
echo '{"type": "session", "id": "q1"}'
echo '{"type": "tool", "name": "shell", "input": {"command": "ls"}}'
echo '{"type": "tool_end"}'
echo '{"type": "usage", "in": 3, "out": 2}'
case "$prompt" in *owl*) error='rate limit, try again in 7s' ;; esac
echo '{"type": "text", "text": "'"$*"'"}'
echo '{"type": "end", "error": "'"$error"'"}'
"""


async def test_the_adapter_of_the_page_drives_its_cli(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "quill"
    program.write_text(QUILL)
    program.chmod(0o755)
    module: dict[str, Any] = {"__name__": "tinytown_quill"}
    exec(compile(next(text for path, text in FILES if path == ADAPTER), ADAPTER, "exec"), module)
    settings = msgspec.convert({"model": "grey", "town_tools": False}, module["tinytown_settings_type"]())
    (backend,) = module["tinytown_agent_backends"](settings, tmp_path)
    with trio.fail_after(DEADLINE_S):
        async with open_sandbox() as sandbox:
            agent, report = sandbox.agent(cli="quill"), ReportRecorder()
            environment = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
            async with backend.open(sandbox.context(agent)) as session:
                first = await session.run_round(sandbox.round(agent, "hi", environment=environment), report)
                second = await session.run_round(sandbox.round(agent, "an owl", environment=environment), report)
    called = "run --json --effort medium --yes --model grey"
    assert first == Finished(text=called, usage=Usage(input_tokens=3, output_tokens=2), session_id="q1")
    assert second == RateLimited(reason="rate limit, try again in 7s", retry_after_s=7.0)
    assert report.lines == ["shell: ls", called, "shell: ls", f"{called} --resume q1"]
