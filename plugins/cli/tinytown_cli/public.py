"""What a command that a plugin adds is made of: the same parts as our own, under one name that stays.

`Command.target` names a click command. One built from `TownCommand` or `TownGroup` takes ``--town``, ``--json`` and the
other common options, shows its examples, and prints through its `CliContext`; `CliContext.open_town` gives it the town
over the blocking client, without trio. Nothing is defined here.
"""

from tinytown.client import TownClient
from tinytown.model.graph import find_cycle, stages
from tinytown.model.text import counted

from tinytown_cli.commands.agents import add_agent
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand, TownGroup
from tinytown_cli.kernel_process import start_where_needed
from tinytown_cli.params import AGENT, PRIORITY, TASK, no_start_option, read_text, split_list
from tinytown_cli.serializers import agent_shape, task_shape

__all__ = [
    "AGENT",
    "PRIORITY",
    "TASK",
    "CliContext",
    "TownClient",
    "TownCommand",
    "TownGroup",
    "add_agent",
    "agent_shape",
    "counted",
    "find_cycle",
    "no_start_option",
    "pass_cli_context",
    "read_text",
    "split_list",
    "stages",
    "start_where_needed",
    "table",
    "task_shape",
]
