"""A scripted stand-in for hosted language models, so that real AI coding CLIs run without a key and without a network.

    with ModelServer([{"text": "hello"}]) as server:
        ...  # start a CLI whose base URL is server.url (OpenAI's: server.url + "/v1"), look at server.requests

It speaks enough of five wire protocols, streaming and not, on one port of the loopback: Anthropic Messages, OpenAI
Responses, OpenAI Chat Completions, the Gemini API and Augment's chat stream. `python -m tinytown_testing.models` runs it
as a process. What it answers is said by a script, a list of rules (see `Script`), or by the prompt itself:

    <stub>[{"shell": "echo hi > hello.txt"}, {"text": "done: {tool_result}"}]</stub>

These replies are used turn by turn, which suits several agents that share one server.
"""

from __future__ import annotations

from tinytown_testing.models.scripts import Script, load_script
from tinytown_testing.models.server import ModelServer

__all__ = ["ModelServer", "Script", "load_script"]
