"""How agents report with the command ``tt``: the guide for prompts, unless another plugin has a better one."""

from __future__ import annotations

from tinytown.contracts import ReportingGuide
from tinytown.hookspecs import hookimpl

TINYTOWN_HOOK_API = 2

_GUIDE = ReportingGuide(
    task="`tt task show {}`",
    mail="`tt inbox --full`",
    agents="`tt list`",
    reporting="""\
- `tt task complete --result "what you did"` when the task is done, `tt task fail --reason "why"` when it cannot be done.
""",
    acting="""\
- `tt send NAME "text"` gives another agent work, `--query` asks, `--info` informs, `--info --reply-to MESSAGE` answers.
  `tt send supervisor --query "text"` asks a human.
- `tt inbox --full` and `tt task show ID` show mail and tasks in full, `tt status` the town, `tt backlog list` unassigned tasks.
- `tt assign NAME "text"` creates a task for an agent, `tt backlog add "text"` one for any agent.
- `tt task reopen ID --reason "why"` rejects finished work and returns it to the agent that did it.""",
)


@hookimpl(trylast=True)
def tinytown_reporting_guide() -> ReportingGuide:
    """Every agent can run ``tt``: the kernel puts it on the PATH of each round."""
    return _GUIDE
