"""The hook of the plugin. Apart from the package, so that the command line imports no text of prompts."""

from __future__ import annotations

from tinytown.config import Config
from tinytown.contracts import PromptParts
from tinytown.hookspecs import hookimpl

from tinytown_prompts.prompt import build_prompt

TINYTOWN_HOOK_API = 2


@hookimpl(trylast=True)
def tinytown_prompt(parts: PromptParts, config: Config) -> str:
    """The prompt of every agent, unless another plugin has one."""
    return build_prompt(parts, config)
