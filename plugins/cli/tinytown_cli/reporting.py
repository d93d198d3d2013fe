"""How agents report with the command ``tt``: the guide for prompts, unless another plugin has a better one."""

from __future__ import annotations

from tinytown.hookspecs import hookimpl
from tinytown_prompts.hookspecs import ReportingGuide

TINYTOWN_HOOK_API = 2

_GUIDE = ReportingGuide(
    task="`tt task show {}`",
    mail="`tt inbox --full`",
    agents="`tt list`",
    reporting="""\
- `tt task complete --result "what you did"` when the task is done, `tt task fail --reason "why"` when it cannot be done.
""",
    reporting_each="""\
- `tt task complete ID --result "what you did"` when a task is done, `tt task fail ID --reason "why"` when it cannot be done.
""",
    acting="""\
- `tt send NAME "text"` gives another agent work, `--query` asks, `--info` informs, `--info --reply-to MESSAGE` answers.
- `tt assign NAME "text"` and `tt backlog add "text"` create tasks, `tt task reopen ID --reason "why"` rejects finished work.
- `tt inbox --full`, `tt task show ID`, `tt status` and `tt backlog list` show more.

When you stop, every process you started is ended. Nobody can answer questions in this round: use
`tt send supervisor --query "text"` and finish.""",
)


@hookimpl(trylast=True)
def tinytown_reporting_guide(town_tools: bool | str | None) -> ReportingGuide | None:
    """Every agent that can run commands can run ``tt``: the kernel puts it on the PATH of each round."""
    return None if town_tools is None else _GUIDE
