"""The view Review, which the git plugin adds: a person looks at what an agent did, sends it back, and approves it."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tinytown_testing.shell import Shell, open_shell

from plugins.townhall.tests.browsing import DEADLINE_S, TownServer, find_browser, open_browser

CONFIG = """
[plugins.git]
review = "person"

[plugins.git.checks]
words = "grep -q . words.txt"

[agent_clis.writer]
command = ["sh", "-c", '''
echo "one more <b>word</b>" >> words.txt
git add -A && git commit -qm "Add a word" && echo Added a word.
''']
"""


def git(directory: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=directory, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def shell() -> Generator[Shell]:
    with open_shell() as shell:
        git(shell.directory, "init", "-q", "-b", "main")
        git(shell.directory, "config", "user.name", "Ada")
        git(shell.directory, "config", "user.email", "ada@example.org")
        git(shell.directory, "commit", "-q", "--allow-empty", "-m", "Begin")
        shell("init", "--name", "reviewed")
        settings = shell.directory / "tinytown.toml"
        settings.write_text(settings.read_text() + CONFIG)
        yield shell


@pytest.fixture(scope="module")
def server(shell: Shell) -> Generator[TownServer]:
    server = TownServer(shell)
    try:
        server.start()
        shell("start", "--background")
        yield server
    finally:
        shell("stop", "--keep-server")
        server.stop()


@pytest.fixture
def work(server: TownServer) -> dict[str, Any]:
    """Work of an agent that waits for a review."""
    if "ada" not in {agent["name"] for agent in server.ask("GET", "/v1/agents")["agents"]}:
        server.ask("POST", "/v1/agents", {"name": "ada", "cli": "writer"})
    task = server.ask("POST", "/v1/tasks", {"agent": "ada", "description": "Add a word\n\nOne is enough."})["id"]
    return waiting(server, task)


def waiting(server: TownServer, task: str, commit: str = "") -> dict[str, Any]:
    """The work on a task once it waits for a review, with another commit than `commit`."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for work in server.ask("GET", "/v1/reviews")["waiting"]:
            if work["task"] == task and work["stage"] == "review" and work["commit"] != commit:
                return dict(work)
        time.sleep(0.1)
    raise AssertionError(server.shell.json("task", "why", task))


def refused(server: TownServer, path: str, body: Any) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.ask("POST", path, body)
    return caught.value.code, json.loads(caught.value.read())["code"]


def test_programs_review_over_rest(server: TownServer, shell: Shell, work: dict[str, Any]) -> None:
    shown = server.ask("GET", f"/v1/reviews/{work['task']}")
    assert "+one more <b>word</b>" in shown["diff"]
    assert [(each["path"], each["removed"]) for each in shown["files"]] == [("words.txt", 0)]
    assert [each["subject"] for each in shown["commits"]] == ["Add a word"]
    assert shown["result"] is None or "Added a word" in shown["result"]
    assert [(each["name"], each["passed"]) for each in shown["work"]["checks"]] == [("words", True)]
    assert not shown["is_cut"]
    path = f"/v1/reviews/{work['task']}"
    assert refused(server, f"{path}/reject", {}) == (400, "usage")
    assert refused(server, f"{path}/approve", {"commit": "0" * 40}) == (409, "review_outdated")
    assert refused(server, f"{path}/approve", {"words": "fine"})[0] == 400
    assert (
        server.ask("POST", f"{path}/approve", {"commit": work["commit"], "reason": "reads well"})["stage"] == "queued"
    )
    assert refused(server, f"{path}/approve", {}) == (409, "refused")
    shell("wait", "--task", work["task"], "--timeout", str(DEADLINE_S))
    assert "one more <b>word</b>" in git(shell.directory, "show", "main:words.txt")


def test_the_routes_are_described_and_are_tools_of_models(server: TownServer) -> None:
    paths = server.ask("GET", "/openapi.json")["paths"]
    assert paths["/v1/reviews/{task}/approve"]["post"]["operationId"] == "approve_work"
    assert paths["/v1/reviews"]["get"]["tags"] == ["git"]
    assert paths["/v1/reviews/{task}/approve"]["post"]["x-scope"] == "town.write"


@pytest.mark.skipif(
    find_browser() is None, reason="no Chromium with its chromedriver: apt-get install chromium chromium-driver"
)
def test_a_person_sends_work_back_and_approves_it_on_the_page(
    server: TownServer, shell: Shell, work: dict[str, Any]
) -> None:
    with open_browser(server) as page:
        page.sign_in()
        page.see(".need-kind", "Review")
        page.click(".need-other a", "Open review")
        page.see("h1", "Add a word")
        assert "<b>word</b>" in page.see(".diff-line.added", "one more").text  # as text
        page.see(".check", "words: passed")
        assert page.violations() == []
        page.write("#review-reason", "say it twice")
        page.click("button.danger", "Reject")
        page.gone("#review-reason")
        waiting(server, work["task"], work["commit"])
        page.see(".callout", "say it twice")
        page.click("button.primary", "Approve")
        page.see(".state", "merged")
        page.click("nav a", "Review")
        page.see(".review-row", "Add a word")
        assert page.violations() == []
        page.size(390, 844)
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")
        assert page.log() == []
