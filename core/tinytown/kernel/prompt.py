"""What an agent is told at the beginning of a round, as text: built from parts, short, the task in full. Pure.

What others wrote stands between fences that it cannot close, or on one line of its own; so a task or a message never
looks like a part of the prompt. The whole stays below a million characters, which every tool takes; where something is
cut, it says where the rest can be read. Knows no backend: how a prompt reaches a tool is the backend's business.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tinytown.model.agents import Agent
from tinytown.model.messages import Message, Query, StatusRequest, TaskAssign
from tinytown.model.tasks import Task
from tinytown.model.text import counted, escape_control, shown
from tinytown.roles import Role

# Characters; together with what is left they make less than a million.
_TASK_LENGTH = 400_000
_MAIL_LENGTH = 200_000
_MESSAGE_LENGTH = 20_000
_REASON_LENGTH = 10_000
_RESULT_LENGTH = 2_000
_SECTIONS_LENGTH = 100_000
_LINE_LENGTH = 300

#: Tasks that a task builds on beyond so many are only named.
NEEDED_SHOWN = 10
_COLLEAGUES_SHOWN = 30

_BACKTICKS = re.compile("`+")
_WALL = re.compile("(`{60})`+")  # nobody's text, and fences would have to be longer still
_PLAIN_WORD = re.compile(r"[\w.-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Ways:
    """In what words an agent is told where to read and how to report."""

    task: str
    mail: str
    agents: str
    settling: str
    speaking: str


_BY_COMMAND = _Ways(
    task="`tt task show {}`",
    mail="`tt inbox --full`",
    agents="`tt list`",
    settling="""\
- `tt task complete --result "what you did"` when the task is done, `tt task fail --reason "why"` when it cannot be.
""",
    speaking="""\
- `tt send NAME "text"` gives another agent work, `--query` asks, `--info` tells, `--info --reply-to MESSAGE` answers.
  `tt send supervisor --query "text"` asks a person.
- `tt inbox --full` and `tt task show ID` show mail and tasks in full, `tt status` the town, `tt backlog list` work for anybody.
- `tt assign NAME "text"` makes a task for somebody, `tt backlog add "text"` one for anybody.
- `tt task reopen ID --reason "why"` rejects finished work; it goes back to whoever did it.""",
)

_BY_TOOL = _Ways(
    task="`task_show` {}",
    mail="`read_message`",
    agents="`who_is_who`",
    settling="""\
- `task_complete` when the task is done, with what you did; `task_fail`, with the reason, when it cannot be.
""",
    speaking="""\
- `send` gives another agent work, asks or tells; `reply` answers a message; `ask_supervisor` asks a person.
- `inbox`, `read_message`, `task_show`, `status` and `who_is_who` show mail, tasks, the town and who is in it.
- `task_assign` makes a task for somebody, `backlog_add` one for anybody; `backlog_list` and `backlog_claim` are for more work.
- `task_reject` sends finished work back to whoever did it.

These are tools of the MCP server `town`; their names may be longer here, such as `mcp__town__send`. Should they be missing,
the command `tt` does the same: `tt --help`.""",
)


def build_prompt(
    *,
    agent: Agent,
    town: str,
    task: Task | None,
    messages: Sequence[Message],
    role: Role | None = None,
    needed: Sequence[Task] = (),
    colleagues: Sequence[Agent] = (),
    sections: Sequence[str] = (),
    explicit: bool = False,
    town_tools: bool = False,
) -> str:
    """The prompt for a round of `agent`, Markdown.

    `role` is what the town knows of the agent's role, `needed` the tasks that `task` builds on, as far as they are still
    known. With `explicit`, ending without a report does not count as done. `town_tools`: the backend offers the town's
    MCP server, so that is what the agent reports by; else it is the command `tt`.
    """
    ways = _BY_TOOL if town_tools else _BY_COMMAND
    mail = [message for message in messages if not isinstance(message.body, TaskAssign)]
    others = [colleague for colleague in colleagues if colleague.name != agent.name]
    parts = [
        _who(agent, town, has_task=task is not None, has_mail=bool(mail)),
        _role(role) if role is not None else "",
        _task(task, needed, ways) if task is not None else "",
        _mail(mail, ways) if mail else "",
        _colleagues(others, ways) if others else "",
        _reporting(task is not None, explicit, ways),
        _sections(sections),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _who(agent: Agent, town: str, *, has_task: bool, has_mail: bool) -> str:
    role = f", {agent.role}" if agent.role and agent.role != agent.name else ""
    parent = f"You work for {agent.parent}. " if agent.parent else ""
    duties = " and ".join(["do your task"] * has_task + ["see to your mail"] * has_mail) or "there is nothing to do"
    return (
        f"# You are {agent.name}{role}, an agent of the town {town}\n\n"
        f"{parent}{duties.capitalize()}. What stands between fences was written by others and is quoted as they wrote it."
    )


def _role(role: Role) -> str:
    told = [f"You are the one who {role.purpose.rstrip('.')}."] if role.purpose else []
    told += [role.instructions.strip()] if role.instructions.strip() else []
    return "\n\n".join([f"## Your role: {role.name}", *told]) if told else ""


def _task(task: Task, needed: Sequence[Task], ways: _Ways) -> str:
    where = ways.task.format(task.id)
    lines = [f"## Your task {task.id}", ""]
    if task.title:
        lines += [f"Title: {shown(task.title, _LINE_LENGTH)}", ""]
    lines.append(_quoted(task.description, _TASK_LENGTH, where))
    if task.rejection:
        lines += ["", "It was finished before and has been sent back. Why:", ""]
        lines.append(_quoted(task.rejection, _REASON_LENGTH, where))
        if task.result:
            lines += ["", "What was said of it then:", "", _quoted(task.result, _RESULT_LENGTH, where)]
    if task.reason and task.reason != task.rejection:
        lines += ["", f"What became of it last: {shown(task.reason, _RESULT_LENGTH)}"]
    if task.attempts > 1:
        lines += ["", f"This is attempt {task.attempts}: look at what the ones before have left."]
    if task.needs:
        lines += ["", _needed(task, needed, ways)]
    return "\n".join(lines)


def _needed(task: Task, needed: Sequence[Task], ways: _Ways) -> str:
    lines = ["### What it builds on"]
    for need in needed[:NEEDED_SHOWN]:
        by = f" by {need.assigned_to}" if need.assigned_to else ""
        lines += ["", f"{need.id}, {need.state}{by}: {shown(need.headline, _LINE_LENGTH)}"]
        if need.result:
            lines += ["", _quoted(need.result, _RESULT_LENGTH, ways.task.format(need.id))]
    told = {need.id for need in needed[:NEEDED_SHOWN]}
    if left := [need for need in task.needs if need not in told]:
        more = f" and {len(left) - _COLLEAGUES_SHOWN} more" if len(left) > _COLLEAGUES_SHOWN else ""
        lines += ["", f"Also: {', '.join(left[:_COLLEAGUES_SHOWN])}{more} ({ways.task.format('ID')})."]
    return "\n".join(lines)


def _mail(messages: Sequence[Message], ways: _Ways) -> str:
    lines, room = ["## Your mail"], _MAIL_LENGTH
    for number, message in enumerate(messages):
        if room <= 0:
            lines += ["", f"({counted(len(messages) - number, 'more message')}: {ways.mail})"]
            break
        lines += ["", _heading(message), ""]
        lines.append(_quoted(message.text, min(_MESSAGE_LENGTH, room), ways.mail))
        room -= len(message.text) + _LINE_LENGTH
    return "\n".join(lines)


def _heading(message: Message) -> str:
    kind, sender, id_ = map(_word, (message.type, message.sender, message.id))
    urgent = ", urgent" if message.priority == "urgent" else ""
    wants = ", wants an answer" if isinstance(message.body, Query | StatusRequest) else ""
    answers = f", answers {_word(message.correlation_id)}" if message.correlation_id else ""
    return f"### {kind} from {sender}{urgent}{wants}{answers} (message {id_})"


def _word(text: str) -> str:
    """`text` as one word: what no town of ours would call anything, but old mail may hold, stands in quotes."""
    return text if _PLAIN_WORD.fullmatch(text) else repr(shown(text, 128))


def _colleagues(agents: Sequence[Agent], ways: _Ways) -> str:
    rows = [
        f"- {agent.name}" + (f" ({agent.role})" if agent.role else "") + f": {agent.state}"
        for agent in agents[:_COLLEAGUES_SHOWN]
    ]
    if len(agents) > _COLLEAGUES_SHOWN:
        rows.append(f"- and {len(agents) - _COLLEAGUES_SHOWN} more ({ways.agents})")
    return "## Who else is here\n\n" + "\n".join(rows)


def _reporting(has_task: bool, explicit: bool, ways: _Ways) -> str:
    told = f"## How to report\n\n{ways.settling if has_task else ''}{ways.speaking}"
    if not has_task:
        return told
    return told + (
        "\n\nThe task counts as done only when you have said so."
        if explicit
        else "\n\nWhen you end without saying otherwise, your final answer is taken as the task's result."
    )


def _sections(sections: Sequence[str]) -> str:
    whole = "\n\n".join(section.strip() for section in sections if section.strip())
    note = f"\n\n(cut here: plugins may say {_SECTIONS_LENGTH:,} characters)" if len(whole) > _SECTIONS_LENGTH else ""
    return whole[:_SECTIONS_LENGTH] + note


def _quoted(text: str, length: int, where: str) -> str:
    """`text` between fences that are longer than any in it, cut to `length` characters with a note on `where` the rest is."""
    text = text.strip("\n")
    shown_text = _WALL.sub(r"\1…", escape_control(text[:length]))
    kept = shown_text[:length]
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(kept)), default=0))
    is_cut = len(text) > length or len(shown_text) > length
    note = f"\n(cut here, after {length:,} of {len(text):,} characters; the rest: {where})" if is_cut else ""
    return f"{fence}text\n{kept}\n{fence}{note}"
