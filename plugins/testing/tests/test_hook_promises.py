"""Prompt sections, choosers and announcing hooks that keep every promise, and for each promise one that breaks it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown_testing import PROMISES, check_chooser, check_plugin, check_prompt_sections, trial
from tinytown_testing.installed import install_plugin

DEADLINE_S = 60.0
SLOW_S = 0.15
DATA = {"colours": ["blue"]}
NUMBERS = count()
FDS: list[int] = []


def leak_fd() -> None:
    FDS.append(os.open(os.devnull, os.O_RDONLY))


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setattr(trial, "LONGEST_GAP_S", 0.1)  # so that the mistake need not take long
    yield
    while FDS:
        os.close(FDS.pop())


# -- prompt sections -------------------------------------------------------------------------------------


def good_sections(agent: Agent, task: Task | None, data: Mapping[str, Any]) -> Sequence[str]:
    about = f"\n\nThis is about: {task.description[:20]}" if task else ""
    return [f"## House rules\n\nColours: {', '.join(data.get('colours', ()))}, dear {agent.name}.{about}"]


def no_opinion() -> None:
    return None


def one_text(agent: Agent) -> Any:
    return "## House rules"


def blank() -> list[str]:
    return ["## House rules", " \n"]


def numbers() -> Any:
    return [1, 2]


def wants_a_task(task: Task | None) -> list[str]:
    assert task is not None
    return [task.description]


def wants_data(data: Mapping[str, Any]) -> list[str]:
    return [str(data["colours"])]


def says_when() -> list[str]:
    return [f"It is {next(NUMBERS)} o'clock."]


def takes_data_away(data: dict[str, Any]) -> list[str]:
    data["colours"] = []
    return ["## House rules"]


def slow_sections(task: Task | None) -> list[str]:
    time.sleep(SLOW_S if task and task.description == "do it" else 0)
    return ["## House rules"]


def leaky_sections() -> list[str]:
    leak_fd()
    return ["## House rules"]


PROMPT_BREAKERS: list[tuple[str, Callable[..., Any]]] = [
    ("P1", one_text),
    ("P1", blank),
    ("P1", numbers),
    ("P2", wants_a_task),
    ("P2", wants_data),
    ("P3", says_when),
    ("P3", takes_data_away),
    ("P4", slow_sections),
    ("P4", leaky_sections),
]


@pytest.mark.parametrize("good", [good_sections, no_opinion])
async def test_good_prompt_sections_keep_every_promise(good: Callable[..., Any]) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_prompt_sections(lambda: good, data=DATA)
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["prompt"]), str(report)


@pytest.mark.parametrize(("promise", "breaker"), PROMPT_BREAKERS)
async def test_broken_prompt_sections_break_exactly_this_promise(promise: str, breaker: Callable[..., Any]) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_prompt_sections(lambda: breaker, data=DATA)
    assert [result.promise.id for result in report.broken] == [promise], str(report)


# -- choosers --------------------------------------------------------------------------------------------


def good_choice(task: Task, agents: Sequence[Agent]) -> str | None:
    return next((agent.name for agent in agents if agent.name not in task.tags), None)


def a_stranger(task: Task) -> str:
    return "zoe"


def the_agent_itself(agents: Sequence[Agent]) -> Any:
    return agents[0] if agents else None


def needs_agents(agents: Sequence[Agent]) -> str:
    return agents[0].name


def needs_a_title(task: Task, agents: Sequence[Agent]) -> str | None:
    return agents[len(task.title.split()[0]) % len(agents)].name if agents else None


def slow_choice(agents: Sequence[Agent]) -> str | None:
    time.sleep(SLOW_S if len(agents) > 3 else 0)
    return None


CHOOSER_BREAKERS: list[tuple[str, Callable[..., Any]]] = [
    ("A1", a_stranger),
    ("A1", the_agent_itself),
    ("A2", needs_agents),
    ("A2", needs_a_title),
    ("A3", slow_choice),
]


@pytest.mark.parametrize("good", [good_choice, no_opinion])
async def test_a_good_chooser_keeps_every_promise(good: Callable[..., Any]) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_chooser(lambda: good)
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["chooser"]), str(report)


@pytest.mark.parametrize(("promise", "breaker"), CHOOSER_BREAKERS)
async def test_a_broken_chooser_breaks_exactly_this_promise(promise: str, breaker: Callable[..., Any]) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_chooser(lambda: breaker)
    assert [result.promise.id for result in report.broken] == [promise], str(report)


# -- hooks that announce ---------------------------------------------------------------------------------

PLUGIN = """
import itertools, os, time
from tinytown import contracts
from tinytown.contracts import Verdict
from tinytown.hookspecs import hookimpl
TINYTOWN_HOOK_API = 2
numbers = itertools.count()
fds = []

class Gate(contracts.Gate):
    name = "strict"
    async def check(self, work, directory):
        return Verdict(passed=False, evidence="no")

@hookimpl
def tinytown_gates():
    {body}
    return [gate]
"""

PLUGIN_BREAKERS = {
    "L1": f"time.sleep({SLOW_S}); return []",
    "L2": "gate = Gate(); fds.append(os.open(os.devnull, os.O_RDONLY))",
    "L3": "gate = Gate(); gate.name = f'strict-{next(numbers) % 2}'",
}


async def test_good_hooks_keep_every_promise_of_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(tmp_path, "calm", PLUGIN.format(body="gate = Gate()"))
    monkeypatch.syspath_prepend(tmp_path)
    with trio.fail_after(DEADLINE_S):
        of_hooks, of_gate = await check_plugin("calm")
    assert [result.status for result in of_hooks.results] == ["ok"] * len(PROMISES["plugin"]), str(of_hooks)
    assert of_gate.subject == "gate strict"


@pytest.mark.parametrize("promise", PLUGIN_BREAKERS)
async def test_broken_hooks_break_exactly_this_promise_of_a_plugin(
    promise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"breaks_{promise.lower()}"
    install_plugin(tmp_path, name, PLUGIN.format(body=PLUGIN_BREAKERS[promise]))
    monkeypatch.syspath_prepend(tmp_path)
    with trio.fail_after(DEADLINE_S):
        of_hooks, *_ = await check_plugin(name)
    assert [result.promise.id for result in of_hooks.broken] == [promise], str(of_hooks)


async def test_a_neighbour_that_already_offers_the_same_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alpha", "beta"):
        install_plugin(tmp_path, name, PLUGIN.format(body="gate = Gate()"))
    monkeypatch.syspath_prepend(tmp_path)
    with trio.fail_after(DEADLINE_S):
        reports = await check_plugin("beta")
    assert [report.subject for report in reports] == ["plugin beta", "gate strict"]


@pytest.mark.parametrize(
    ("contract", "breakers"), [("prompt", PROMPT_BREAKERS), ("chooser", CHOOSER_BREAKERS), ("plugin", PLUGIN_BREAKERS)]
)
def test_every_promise_of_a_hook_has_something_that_breaks_it(contract: str, breakers: Any) -> None:
    broken = list(breakers) if contract == "plugin" else list(dict.fromkeys(id for id, _ in breakers))
    assert [promise.id for promise in PROMISES[contract]] == broken
