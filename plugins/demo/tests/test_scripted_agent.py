"""The scripted agents read the prompts of the kernel, and fail with one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tinytown.config import Config
from tinytown.contracts import PromptParts
from tinytown.model.agents import Agent
from tinytown.model.messages import Informational, Message, Query, TaskAssign
from tinytown.model.tasks import Task
from tinytown_demo.scripted_agent import Mail, read_prompt
from tinytown_prompts.prompt import build_prompt

BACKEND = Agent(id="a1", name="backend", cli="backend", role="programmer")
TOWN = Config(name="t")


def test_the_task_is_read_from_its_heading_whatever_is_in_it() -> None:
    task = Task(id="core", description="Count.\n\n## Your task other\n", rejection="rejected: 1.5—2.5 are two")
    order = Message(id="m1", sender="supervisor", recipient="backend", body=TaskAssign(task_id="core"))
    prompt = read_prompt(build_prompt(PromptParts(BACKEND, task, [order]), TOWN))
    assert (prompt.task, prompt.mail) == ("core", ())


def test_mail_is_read_with_kind_sender_and_id() -> None:
    messages = [
        Message(id="m-1", sender="frontend", recipient="backend", body=Query(question="Which?\n\nOr what?")),
        Message(id="m-2", sender="designer", recipient="backend", priority="urgent", body=Informational(summary="So.")),
    ]
    prompt = read_prompt(build_prompt(PromptParts(BACKEND, None, messages, colleagues=[BACKEND]), TOWN))
    assert prompt.task is None
    assert prompt.mail == (
        Mail("query", "frontend", "m-1", "Which?\n\nOr what?"),
        Mail("info", "designer", "m-2", "So."),
    )


def test_an_unknown_role_is_answered_with_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tinytown_demo.scripted_agent", "plumber"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "expected one of designer, backend, frontend, reviewer, got plumber\n")


def test_an_agent_outside_of_a_repository_fails_with_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tinytown_demo.scripted_agent", "designer"],
        input="## Your task design\n", cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: git ")
    assert done.stderr.count("\n") == 1
