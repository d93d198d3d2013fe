"""What an agent is told at the beginning of a round, as text: built from parts, short, the task in full. Pure.

Knows no backend: how a prompt reaches a tool is the backend's business. Plugins add paragraphs of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinytown.agents import Agent
from tinytown.messages import Message, TaskAssign
from tinytown.tasks import Task

_REPORTING = """\
- `tt task complete --result "what you did"` when the task is done, `tt task fail --reason "why"` when it cannot be.
- `tt send NAME "text"` gives another agent work, `--query` asks, `--info` tells; `tt send supervisor --query "text"` asks
  a person.
- `tt inbox` and `tt task show ID` show mail and tasks in full, `tt status` the town, `tt backlog list` work for anybody.
- `tt task reopen ID --reason "why"` rejects finished work; it goes back to whoever did it."""


def build_prompt(
    *,
    agent: Agent,
    town: str,
    task: Task | None,
    messages: Sequence[Message],
    colleagues: Sequence[Agent] = (),
    sections: Sequence[str] = (),
    explicit: bool = False,
) -> str:
    """The prompt for a round of `agent`, Markdown. With `explicit`, ending without a report does not count as done."""
    parts = [_who(agent, town)]
    if task is not None:
        parts.append(_task(task))
    mail = [message for message in messages if not isinstance(message.body, TaskAssign)]
    if mail:
        parts.append(_mail(mail))
    others = [colleague for colleague in colleagues if colleague.name != agent.name]
    if others:
        parts.append(_colleagues(others))
    parts.append(f"## How to report\n\n{_REPORTING}")
    if task is not None:
        parts.append(
            "The task counts as done only when you have said so with `tt task complete`."
            if explicit
            else "When you end without saying otherwise, your final answer is taken as the task's result."
        )
    parts.extend(section.strip() for section in sections if section.strip())
    return "\n\n".join(parts) + "\n"


def _who(agent: Agent, town: str) -> str:
    role = f", {agent.role}" if agent.role else ""
    return f"# You are {agent.name}{role}, an agent of the town {town}"


def _task(task: Task) -> str:
    lines = [f"## Your task {task.id}", ""]
    if task.title:
        lines += [f"**{task.title}**", ""]
    lines.append(task.description)
    if task.attempts > 1:
        lines += [
            "",
            f"This is attempt {task.attempts}. What became of the one before: {task.reason or 'it was cut off'}.",
        ]
    elif task.reason:
        lines += ["", f"Why you have it: {task.reason}."]
    if task.needs:
        lines += ["", f"It builds on the completed tasks {', '.join(task.needs)} (`tt task show ID`)."]
    return "\n".join(lines)


def _mail(messages: Sequence[Message]) -> str:
    lines = ["## Your mail"]
    for message in messages:
        urgent = ", urgent" if message.priority == "urgent" else ""
        lines += ["", f"### {message.type} from {message.sender}{urgent} (message {message.id})", "", message.text]
    return "\n".join(lines)


def _colleagues(agents: Sequence[Agent]) -> str:
    rows = [
        f"- {agent.name}" + (f" ({agent.role})" if agent.role else "") + f": {agent.state}" for agent in agents[:30]
    ]
    if len(agents) > 30:
        rows.append(f"- and {len(agents) - 30} more (`tt list`)")
    return "## Who else is here\n\n" + "\n".join(rows)
