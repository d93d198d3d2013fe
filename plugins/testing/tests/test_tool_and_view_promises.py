"""Health checks, status sections, agent tools and completers: one that keeps every promise, and one that breaks each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import msgspec
import pytest
import trio
from tinytown_cli.client import TownClient
from tinytown_cli.contracts import Completer, Finding, HealthCheck, SectionContent, StatusSection
from tinytown_mcp.contracts import AgentTool, ToolResult, ToolSession
from tinytown_testing import (
    PROMISES,
    CheckReport,
    check_agent_tool,
    check_completer,
    check_health_check,
    check_status_section,
)

DEADLINE_S = 60.0


class Disk(HealthCheck):
    name = "disk"

    def check(self, town: TownClient) -> Sequence[Finding]:
        agents = town.run(town.operations.agents())
        return [Finding("disk", "ok", f"room for {len(agents)} agents"), Finding("disk", "problem", "full", "buy one")]


class TwoWords(Disk):
    name = "the disk"


class FindsText(Disk):
    def check(self, town: TownClient) -> Sequence[Finding]:
        return ["all is well"]  # type: ignore[list-item]


class KnowsNoFix(Disk):
    def check(self, town: TownClient) -> Sequence[Finding]:
        return [Finding("disk", "problem", "full")]


class Repairs(Disk):
    def check(self, town: TownClient) -> Sequence[Finding]:
        town.run(town.operations.add_task("clean up"))
        return super().check(town)


class Queue(StatusSection):
    name = "queue"

    def read(self, town: TownClient) -> SectionContent | None:
        tasks = town.run(town.operations.tasks())
        return SectionContent("Queue", [f"{len(tasks)} tasks"], {"tasks": len(tasks)}) if tasks else None


class Untitled(Queue):
    def read(self, town: TownClient) -> SectionContent | None:
        return SectionContent("", [], {})


class HoldsACoroutine(Queue):
    def read(self, town: TownClient) -> SectionContent | None:
        return SectionContent("Queue", [], object())


class ReadsText(Queue):
    def read(self, town: TownClient) -> SectionContent | None:
        return "two tasks"  # type: ignore[return-value]


class CountArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: str = ""


class Count(AgentTool):
    name = "count_tasks"
    description = "How many tasks there are."
    arguments: type[msgspec.Struct] = CountArguments
    changes = False

    def call(self, session: ToolSession, arguments: Any) -> str | ToolResult:
        count = len(session.run(session.operations.tasks()))
        return ToolResult(f"{count} for {session.caller.agent_name} of {session.config.name}", {"count": count})


class Lax(Count):
    class Arguments(msgspec.Struct):
        state: str = ""

    arguments = Arguments


class AnswersWithANumber(Count):
    def call(self, session: ToolSession, arguments: Any) -> str | ToolResult:
        return 3  # type: ignore[return-value]


class Adds(Count):
    def call(self, session: ToolSession, arguments: Any) -> str | ToolResult:
        session.run(session.operations.add_task("another"))
        return "added"


async def report_of(check: Callable[..., Any], make: Callable[[], object]) -> CheckReport:
    with trio.fail_after(DEADLINE_S):
        report: CheckReport = await check(make)
    return report


@pytest.mark.parametrize(
    ("check", "make"),
    [
        (check_health_check, Disk),
        (check_status_section, Queue),
        (check_agent_tool, Count),
        (check_completer, lambda: Completer("plugins", "tinytown_testing_words:words")),
    ],
)
async def test_one_that_keeps_every_promise_passes(
    check: Callable[..., Any], make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("tinytown_testing_words")
    vars(module)["words"] = lambda context: [("ada", "an agent"), ("ben", "")]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    report = await report_of(check, make)
    report.raise_if_broken()
    assert report.not_applicable == ()


@pytest.mark.parametrize(
    ("promise", "check", "make"),
    [
        ("H1", check_health_check, TwoWords),
        ("H2", check_health_check, FindsText),
        ("H3", check_health_check, KnowsNoFix),
        ("H4", check_health_check, Repairs),
        ("D2", check_status_section, ReadsText),
        ("D3", check_status_section, Untitled),
        ("D3", check_status_section, HoldsACoroutine),
        ("T2", check_agent_tool, Lax),
        ("T3", check_agent_tool, AnswersWithANumber),
        ("T4", check_agent_tool, Adds),
        ("E2", check_completer, lambda: Completer("words", "no_such_module:words")),
        ("E3", check_completer, lambda: Completer("words", "builtins:dir")),
    ],
)
async def test_a_broken_promise_is_found(promise: str, check: Callable[..., Any], make: Callable[[], object]) -> None:
    report = await report_of(check, make)
    assert [result.promise.id for result in report.broken] == [promise]


def test_each_of_them_has_promises() -> None:
    assert {"health check", "status section", "agent tool", "completer", "server"} <= PROMISES.keys()
