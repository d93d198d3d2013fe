"""The hook of the plugin. Apart from the package, so that the command line imports no text of prompts."""

from __future__ import annotations

from tinytown.config import Config
from tinytown.contracts import PromptParts
from tinytown.hookspecs import hookimpl
from tinytown.plugin import Plugins

from tinytown_prompts.hookspecs import ReportingGuide
from tinytown_prompts.prompt import build_prompt

TINYTOWN_HOOK_API = 2


@hookimpl(trylast=True)
def tinytown_prompt(parts: PromptParts, config: Config, plugins: Plugins) -> str:
    """The prompt of every agent, unless another plugin has one."""
    backend = plugins.backends.get(parts.agent.cli)
    asked = {"agent": parts.agent, "town_tools": backend.offers_town_tools if backend else False}
    guide = plugins.first_answer("tinytown_reporting_guide", asked, ReportingGuide, "a ReportingGuide")
    return build_prompt(parts, config, guide)
