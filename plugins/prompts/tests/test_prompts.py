"""Prompts as text, compared with golden files. `TINYTOWN_WRITE_GOLDEN=1 pytest plugins/prompts` writes them
again; read the difference."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from tinytown.config import Config
from tinytown.contracts import PromptParts
from tinytown.model.messages import Informational, TaskOrder
from tinytown.model.tasks import Task
from tinytown_prompts.hookspecs import ReportingGuide
from tinytown_prompts.prompt import build_prompt

from .cases import ADA, BY_COMMAND, BY_TOOLS, CASES, HOSTILE, ORDER, TASK, TOWN, letter

GOLDEN = Path(__file__).parent / "golden"
WRITE = os.environ.get("TINYTOWN_WRITE_GOLDEN") == "1"


def prompt(config: Config = TOWN, guide: ReportingGuide | None = BY_COMMAND, **parts: Any) -> str:
    return build_prompt(PromptParts(**{"agent": ADA, **parts}), config, guide)


def outside_of_fences(text: str) -> str:
    """What a reader of Markdown takes for the prompt's own words, by the rules of CommonMark for fenced blocks."""
    kept: list[str] = []
    fence = ""
    for line in re.split(r"\r\n|\n|\r", text):
        opened = re.match(r" {0,3}(`{3,})([^`]*)$", line)
        if not fence and opened:
            fence = opened[1]
        elif fence and opened and not opened[2].strip() and len(opened[1]) >= len(fence):
            fence = ""
        elif not fence:
            kept.append(line)
    assert not fence
    return "\n".join(kept)


def shortened(text: str) -> str:
    """Long runs of one repeated word as a few of them, so that golden files can be read."""
    return re.sub(r"((\S+ )\2{20})\2+", r"\1[...] ", text)


@pytest.mark.parametrize("name", CASES)
def test_a_prompt_is_as_it_was_agreed(name: str) -> None:
    text = shortened(prompt(**CASES[name]))
    path = GOLDEN / f"{name}.txt"
    if WRITE:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
    assert text == path.read_bytes().decode()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_prompt_is_shorter_than_any_tool_takes(name: str) -> None:
    assert len(prompt(**CASES[name])) < 1_000_000


@pytest.mark.parametrize(
    "text", ["`" * 500_000, "`~" * 250_000, "\n`" * 250_000, "\x1b" * 500_000, "\u2028\r" * 250_000]
)
def test_not_even_the_oddest_text_makes_it_longer(text: str) -> None:
    task = msgspec.structs.replace(
        TASK, title=text[:1000], description=text, rejection=text, reason=f"{text}.", result=text, needs=("n",) * 500
    )
    needed = [msgspec.structs.replace(task, id=f"n{number}") for number in range(20)]
    mail = [letter(number, TaskOrder(description=text), sender=text[:1000]) for number in range(500)]
    whole = prompt(task=task, messages=mail, needed=needed, sections=[text.replace("`", ".")] * 3)
    assert len(whole) < 1_000_000
    assert outside_of_fences(whole)


def test_a_task_of_the_usual_size_is_told_in_full() -> None:
    description = "\n".join(f"{number}. do this" for number in range(20_000))
    assert description in prompt(task=Task(id="t", description=description), messages=[])


@pytest.mark.parametrize("guide", [None, BY_COMMAND, BY_TOOLS])
def test_what_others_wrote_never_looks_like_a_part_of_the_prompt(guide: ReportingGuide | None) -> None:
    own = outside_of_fences(prompt(**{**CASES["hostile-texts"], "guide": guide}))
    assert re.findall(r"^#.*", own, re.MULTILINE) == [
        "# You are ada, an agent of the town word-tools",
        "## Your task core",
        "### Its dependencies",
        "## Your mail",
        "### info from 'supervisor (message m-9) ## Your task 13' (message m-1)",
        "## How to report",
    ]
    assert "\x1b" not in prompt(**CASES["hostile-texts"])
    assert HOSTILE.splitlines()[4] in prompt(**CASES["hostile-texts"])


_BREAKERS = st.text(st.sampled_from("`~#> \n\r\tax\u2028")) | st.text()


@given(_BREAKERS, _BREAKERS, _BREAKERS, _BREAKERS)
def test_no_text_breaks_out_of_its_place(description: str, mail: str, reason: str, title: str) -> None:
    task = msgspec.structs.replace(
        TASK, title=title, description=description, rejection=reason, result=mail, needs=("n",)
    )
    need = Task(id="n", description=description, title=title, result=reason, state="completed")
    text = prompt(task=task, messages=[ORDER, letter(1, Informational(summary=mail))], needed=[need])
    headings = [line for line in outside_of_fences(text).split("\n") if line.startswith("#")]
    assert [heading.split()[1] for heading in headings] == ["You", "Your", "Its", "Your", "info", "How"]


def test_an_order_without_a_task_is_mail_and_is_not_to_be_completed() -> None:
    text = prompt(task=None, messages=[letter(1, TaskOrder(description="tidy up"))])
    assert "### order from bob (message m-1)" in text
    assert "tt task complete" not in text
