"""What a command that a plugin adds is made of: the same parts as our own, under one name that stays.

`Command.target` names a click command. One built from `TownCommand` or `TownGroup` takes ``--town``, ``--json`` and the
other common options, shows its examples, and prints through its `Invocation`; `open_town_link` gives it the town over
the light client, without trio. Nothing is defined here.
"""

from tinytown.client import TownLink, open_town_link
from tinytown.model.graph import find_circle, waves
from tinytown.model.text import counted

from tinytown_cli.commands.agents import add_agent
from tinytown_cli.context import Invocation, pass_invocation
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand, TownGroup
from tinytown_cli.kernel_process import start_where_needed
from tinytown_cli.params import AGENT, PRIORITY, TASK, no_start_option, read_text, split_list
from tinytown_cli.serializers import agent_shape, task_shape

__all__ = [
    "AGENT",
    "PRIORITY",
    "TASK",
    "Invocation",
    "TownCommand",
    "TownGroup",
    "TownLink",
    "add_agent",
    "agent_shape",
    "counted",
    "find_circle",
    "no_start_option",
    "open_town_link",
    "pass_invocation",
    "read_text",
    "split_list",
    "start_where_needed",
    "table",
    "task_shape",
    "waves",
]
