"""The hook by which plugins say how agents report. Found by its entry point in the group ``tinytown.hookspecs``."""

from __future__ import annotations

from dataclasses import dataclass

from tinytown.hookspecs import hookspec
from tinytown.model.agents import Agent


@dataclass(frozen=True, slots=True)
class ReportingGuide:
    """How a prompt says where to read more and how to report.

    `task` is formatted with the task's id; `mail` and `agents` name where the rest of a long list is. `reporting` says how
    to settle the task of the round, `reporting_each` how to settle one of several, `acting` what else an agent can do; all are
    Markdown.
    """

    task: str
    mail: str
    agents: str
    reporting: str
    acting: str
    reporting_each: str = ""


@hookspec(firstresult=True)
def tinytown_reporting_guide(agent: Agent, town_tools: bool | str | None) -> ReportingGuide | None:
    """How the prompt says where to read more and how to report; None for no opinion, the first plugin with one decides.

    Called for each prompt, with what the agent's backend has as `offers_town_tools`. Without any answer the agent's final
    text counts as its report. Since API 2.
    """
