"""The agents of the demo and their tasks; the same texts for scripted and for real agents. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: Where the agents work: each task in a worktree of its own, merged by the queue, or all of them in one directory.
Where: TypeAlias = Literal["worktree", "shared"]


@dataclass(frozen=True)
class Part:
    """An agent and its task. `task` is the task's id, `needs` are the ids of tasks that must be completed first."""

    agent: str
    role: str
    task: str
    title: str
    order: str
    needs: tuple[str, ...] = ()


_DESIGN = """\
Design a small Python tool that counts words. Write the design to DESIGN.md, one page at most, no code yet:
- what counts as a word, in every language (accents, apostrophes, dashes);
- wordcount/core.py with count_words(text) -> collections.Counter;
- wordcount/__main__.py with the command `python -m wordcount [--top N] [FILE ...]`. Two agents write these two files
  at the same time, so the command imports wordcount.core only inside main().
Commit DESIGN.md, then inform backend and frontend: `tt send NAME --info "..."`. Answer their questions."""

_CORE = """\
Write wordcount/core.py as DESIGN.md describes it (and an empty wordcount/__init__.py), with tests in tests/test_core.py
that pass: `python -m unittest tests.test_core`. The agent frontend works at the same time {where}: do
not touch its files, and commit only your own. If this task comes back rejected, fix what the reviewer found, add a test
for it, and commit again."""

_COMMAND = """\
Write wordcount/__main__.py as DESIGN.md describes it, with tests in tests/test_command.py that pass without
wordcount/core.py: `python -m unittest tests.test_command`. Ask the designer about what the design leaves open: `tt send
designer --query "..."`; the answer arrives in your mailbox (`tt inbox`). The agent backend works at the same time
{where}: do not touch its files, and commit only your own. If this task comes back rejected, fix what
the reviewer found, add a test for it, and commit again."""

_REVIEW = """\
Review the word counter against DESIGN.md. Run all tests (`python -m unittest discover -s tests`), then try the tool on
texts that the tests do not contain. Change nothing yourself.
- If something is wrong, reject the task it belongs to: `tt task reopen core --reason "rejected: what is wrong, with an
  example"`, or the same with `command`. Then end without completing this task; it comes back to you after the fix.
- If everything is right: `tt task complete --result "approved: ..."`, and `tt send supervisor --ack "approved: ..."`."""

_IDENTITY = """

Commit under your own name: `git -c user.name=NAME -c user.email=NAME@tinytown.invalid commit ...`."""

_WHERE: dict[Where, str] = {
    "worktree": "in a worktree of its own, on other files",
    "shared": "in the same directory on other files",
}

#: Names, roles and needs; the texts of the tasks depend on where the agents work, see `plan_for`.
PLAN: tuple[Part, ...] = (
    Part("designer", "designer", "design", "Design the word counter", _DESIGN),
    Part("backend", "programmer", "core", "Count the words", _CORE, ("design",)),
    Part("frontend", "programmer", "command", "Add the command line", _COMMAND, ("design",)),
    Part("reviewer", "reviewer", "review", "Review the result", _REVIEW, ("core", "command")),
)


def order_of(part: Part, where: Where) -> str:
    """The text of the task, for agents that work there. In worktrees, commits have the agent's name by themselves."""
    identity = "" if where == "worktree" or part.task == "review" else _IDENTITY.replace("NAME", part.agent)
    return part.order.replace("{where}", _WHERE[where]) + identity
