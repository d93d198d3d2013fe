"""The report of a demo: what each agent did, what is in the repository, whether the tool works, and what failed.

Checks the repository as a person would: runs the tests and the tool, asks git. With real agents (`--cli`) it requires only
that all tasks are completed and that tests, if there are any, pass; of scripted agents it requires everything.
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

from tinytown_demo.demo_run import DemoRun
from tinytown_demo.event_lines import rejections
from tinytown_demo.repository import commits, uncommitted

_CHECK_BOUND_S = 60.0
_SHOWN_WORDS = 5


class AgentReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent did. A task that was rejected and completed again counts once."""

    name: str
    cli: str
    state: str
    tasks_completed: int
    rounds: int
    sent: int
    received: int


class TaskReport(msgspec.Struct, frozen=True, kw_only=True):
    """The final state of one task."""

    id: str
    title: str
    state: str
    agent: str | None
    result: str | None


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A completed task that was rejected."""

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
    """A command run in the repository at the end; `output` is the end of what it printed."""

    command: str
    passed: bool
    output: str


class Report(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="demo_report"):
    """The whole report. `problems` is empty if the demo succeeded; `tests` and `tool` are None if no code was written."""

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


async def make_report(run: DemoRun, *, scripted: bool) -> Report:
    """The report of a demo that has ended. Runs the code that the agents wrote, each command for at most 60 s."""
    root = run.root
    has_tests = any((root / "tests").glob("test*.py"))
    has_tool = (root / "wordcount" / "__main__.py").is_file()
    tests = await _check(root, "-m", "unittest", "discover", "-s", "tests") if has_tests else None
    tool = await _check(root, "-m", "wordcount", "--top", str(_SHOWN_WORDS), "DESIGN.md") if has_tool else None
    history = [Commit(id=id_, author=author, subject=subject) for id_, author, subject in commits(root)]
    left = uncommitted(root)
    problems = list(_problems(run, tests, tool, left, scripted=scripted))
    return Report(
        at=_time_of_last_event(run),
        succeeded=not problems,
        problems=tuple(problems),
        directory=str(root),
        town=run.town,
        duration_s=round(run.duration_s, 2),
        agents=tuple(_agent_reports(run)),
        tasks=tuple(
            TaskReport(id=task.id, title=task.headline, state=task.state, agent=task.assigned_to, result=task.result)
            for task in run.tasks
        ),
        rejections=tuple(
            Rejection(task=event.task, agent=event.agent, reason=event.reason or "", at=event.at)
            for event in rejections(run.events)
        ),
        commits=tuple(history),
        uncommitted=tuple(left),
        tests=tests,
        tool=tool,
    )


def _time_of_last_event(run: DemoRun) -> str:
    """The time of the last event, or 1970 without any."""
    return run.events[-1].at if run.events else rfc3339(0)


def report_lines(report: Report, status_command: str) -> list[str]:
    """The report for people; `status_command` is the first command that it suggests."""
    lines = ["", "Agents"]
    for agent in report.agents:
        lines.append(
            f"  {agent.name:10} {counted(agent.tasks_completed, 'task')}, {counted(agent.rounds, 'round')}, "
            f"{counted(agent.sent, 'message')} sent, {agent.received} received"
        )
    lines += ["", "Tasks"]
    lines += [f"  {task.id:10} {task.state}" + _colon(task.result) for task in report.tasks]
    lines += [
        f"  {task.task:10} was rejected" + _colon(task.reason.removeprefix("rejected: ")) for task in report.rejections
    ]
    lines += ["", "Commits"]
    lines += [f"  {commit.id} {commit.subject} ({commit.author})" for commit in report.commits]
    if report.uncommitted:
        lines.append(f"  not committed: {', '.join(report.uncommitted)}")
    for check in (report.tests, report.tool):
        if check is not None:
            lines += ["", f"$ {check.command}", *(f"  {line}" for line in check.output.splitlines()[-12:])]
    lines += ["", f"The code is in {report.directory}. To explore it:", f"  {status_command}"]
    lines += ["  tt task list        tt task show core        tt events -c 50        git log -p"]
    lines += ["  (tt starts the town's server; tt stop stops it)", ""]
    if report.succeeded and report.tests is None and report.tool is None:
        lines.append(f"All tasks were completed in {report.duration_s:.1f} s, but these agents wrote no code.")
    elif report.succeeded:
        lines.append(f"The demo succeeded in {report.duration_s:.1f} s.")
    else:
        lines += [f"The demo failed after {report.duration_s:.1f} s:", *(f"  {problem}" for problem in report.problems)]
    return [escape_control(line) for line in lines]


def _problems(
    run: DemoRun, tests: Check | None, tool: Check | None, left: list[str], *, scripted: bool
) -> Iterator[str]:
    if run.timed_out:
        yield "timed out"
    for agent in run.agents:
        if agent.state == "error":
            yield f"agent {agent.name} failed: {agent.reason or 'no reason given'}"
    for task in run.tasks:
        if task.state != "completed":
            yield f"task {task.id} is {task.state}" + _colon(task.reason)
    if tests is not None and not tests.passed:
        yield "the tests fail"
    if scripted:
        if tests is None or tool is None or not tool.passed:
            yield "the tool fails" if tool else "the tool is missing"
        if not rejections(run.events):
            yield "the reviewer rejected nothing"
        if left:
            yield f"not committed: {', '.join(left)}"


def _agent_reports(run: DemoRun) -> Iterator[AgentReport]:
    sent = [event for event in run.events if isinstance(event, MessageSent)]
    rounds = [event.agent for event in run.events if isinstance(event, RoundEnded)]
    for agent in run.agents:
        tasks = [task for task in run.tasks if task.assigned_to == agent.name]
        yield AgentReport(
            name=agent.name,
            cli=agent.cli,
            state=agent.state,
            tasks_completed=sum(task.state == "completed" for task in tasks),
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
