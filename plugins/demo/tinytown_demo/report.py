"""What came of a demo: who did what, what is in the repository, whether the tool works, and what went wrong.

Looks at the repository as a person would: runs the tests and the tool, asks git. With real agents (`--cli`) it judges only
that the plan was carried out and that tests, if there are any, pass; scripted agents have to have done everything.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import trio
from tinytown.model.events import MessageSent, RoundEnded
from tinytown.model.text import counted, escape_control, shown
from tinytown.model.time import rfc3339

from tinytown_demo.play import Played
from tinytown_demo.repository import commits, uncommitted
from tinytown_demo.story import rejections

_CHECK_BOUND_S = 60.0
_SHOWN_WORDS = 5


class AgentReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent did. A task that was sent back and completed again counts once."""

    name: str
    cli: str
    state: str
    tasks_completed: int
    rounds: int
    sent: int
    received: int


class TaskReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one task."""

    id: str
    title: str
    state: str
    agent: str | None
    result: str | None


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A completed task that was sent back."""

    task: str
    agent: str | None
    reason: str
    at: str


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """A commit of the demo's repository."""

    id: str
    author: str
    subject: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was run in the repository when all was over; `output` is the end of what it printed."""

    command: str
    passed: bool
    output: str


class Report(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="demo_report"):
    """The whole. `problems` is empty when the demo succeeded; `tests` and `tool` are None where there is no code."""

    at: str
    succeeded: bool
    problems: tuple[str, ...]
    directory: str
    town: str
    duration_s: float
    agents: tuple[AgentReport, ...]
    tasks: tuple[TaskReport, ...]
    rejections: tuple[Rejection, ...]
    commits: tuple[Commit, ...]
    uncommitted: tuple[str, ...]
    tests: Check | None
    tool: Check | None


async def make_report(played: Played, *, scripted: bool) -> Report:
    """The report of a demo that is over. Runs what the agents wrote, within bounds."""
    root = played.root
    has_tests = any((root / "tests").glob("test*.py"))
    has_tool = (root / "wordcount" / "__main__.py").is_file()
    tests = await _check(root, "-m", "unittest", "discover", "-s", "tests") if has_tests else None
    tool = await _check(root, "-m", "wordcount", "--top", str(_SHOWN_WORDS), "DESIGN.md") if has_tool else None
    history = [Commit(id=id_, author=author, subject=subject) for id_, author, subject in commits(root)]
    left = uncommitted(root)
    problems = list(_problems(played, tests, tool, left, scripted=scripted))
    return Report(
        at=_moment_of_last(played),
        succeeded=not problems,
        problems=tuple(problems),
        directory=str(root),
        town=played.town,
        duration_s=round(played.duration_s, 2),
        agents=tuple(_agent_reports(played)),
        tasks=tuple(
            TaskReport(id=task.id, title=task.headline, state=task.state, agent=task.assigned_to, result=task.result)
            for task in played.tasks
        ),
        rejections=tuple(
            Rejection(task=event.task, agent=event.agent, reason=event.reason or "", at=event.at)
            for event in rejections(played.events)
        ),
        commits=tuple(history),
        uncommitted=tuple(left),
        tests=tests,
        tool=tool,
    )


def _moment_of_last(played: Played) -> str:
    """The moment of the last event, or 1970 without any."""
    return played.events[-1].at if played.events else rfc3339(0)


def report_lines(report: Report, look_further: str) -> list[str]:
    """The report for people; `look_further` stands before the commands that they may type next."""
    lines = ["", "What each agent did"]
    for agent in report.agents:
        lines.append(
            f"  {agent.name:10} {counted(agent.tasks_completed, 'task')}, {counted(agent.rounds, 'round')}, "
            f"{counted(agent.sent, 'message')} sent, {agent.received} received"
        )
    lines += ["", "What became of the tasks"]
    lines += [f"  {task.id:10} {task.state}" + _colon(task.result) for task in report.tasks]
    lines += [f"  {task.task:10} was sent back" + _colon(task.reason) for task in report.rejections]
    lines += ["", "git log --oneline"]
    lines += [f"  {commit.id} {commit.subject} ({commit.author})" for commit in report.commits]
    if report.uncommitted:
        lines.append(f"  not committed: {', '.join(report.uncommitted)}")
    for check in (report.tests, report.tool):
        if check is not None:
            lines += ["", f"$ {check.command}", *(f"  {line}" for line in check.output.splitlines()[-12:])]
    lines += ["", f"The code is in {report.directory}. Look further:", f"  {look_further}"]
    lines += ["  tt task list        tt task show core        tt events -c 50        git log -p"]
    lines += ["  (tt starts the town's server again, tt stop ends it)", ""]
    if report.succeeded and report.tests is None and report.tool is None:
        lines.append(f"The plan was carried out in {report.duration_s:.1f} s, but these agents have written no code.")
    elif report.succeeded:
        lines.append(f"The demo succeeded in {report.duration_s:.1f} s.")
    else:
        lines += [f"The demo failed after {report.duration_s:.1f} s:", *(f"  {problem}" for problem in report.problems)]
    return [escape_control(line) for line in lines]


def _problems(
    played: Played, tests: Check | None, tool: Check | None, left: list[str], *, scripted: bool
) -> Iterator[str]:
    if played.timed_out:
        yield "the time was over"
    for agent in played.agents:
        if agent.state == "error":
            yield f"agent {agent.name} cannot go on: {agent.reason or 'no reason given'}"
    for task in played.tasks:
        if task.state != "completed":
            yield f"task {task.id} is {task.state}" + _colon(task.reason)
    if tests is not None and not tests.passed:
        yield "the tests do not pass"
    if scripted:
        if tests is None or tool is None or not tool.passed:
            yield "the tool does not work" if tool else "there is no tool"
        if not rejections(played.events):
            yield "the reviewer has sent nothing back"
        if left:
            yield f"not committed: {', '.join(left)}"


def _agent_reports(played: Played) -> Iterator[AgentReport]:
    sent = [event for event in played.events if isinstance(event, MessageSent)]
    rounds = [event.agent for event in played.events if isinstance(event, RoundEnded)]
    for agent in played.agents:
        mine = [task for task in played.tasks if task.assigned_to == agent.name]
        yield AgentReport(
            name=agent.name,
            cli=agent.cli,
            state=agent.state,
            tasks_completed=sum(task.state == "completed" for task in mine),
            rounds=rounds.count(agent.name),
            sent=sum(event.sender == agent.name for event in sent),
            received=sum(event.recipient == agent.name for event in sent),
        )


async def _check(root: Path, *words: str) -> Check:
    command = " ".join(["python", *words])
    with trio.move_on_after(_CHECK_BOUND_S):
        done = await trio.run_process(
            [sys.executable, "-B", *words],
            cwd=root,
            check=False,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
        )
        return Check(
            command=command,
            passed=done.returncode == 0,
            output=done.stdout.decode(errors="replace")[-4000:].strip("\n"),
        )
    return Check(command=command, passed=False, output=f"not finished within {_CHECK_BOUND_S:.0f} s")


def _colon(text: str | None) -> str:
    return f": {shown(text, 160)}" if text else ""
