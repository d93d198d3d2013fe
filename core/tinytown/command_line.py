"""What a command that a plugin adds is made of: the same parts as our own, under one name that stays.

`Command.target` names a click command. One built from `TownCommand` or `TownGroup` takes ``--town``, ``--json`` and the
other common options, shows its examples, and prints through its `Invocation`; `open_town_link` gives it the town over
the light client, without trio. Nothing is defined here.
"""

from tinytown.cli.agents import add_agent
from tinytown.cli.arguments import AGENT, PRIORITY, TASK, no_start_option, read_text, split_list
from tinytown.cli.background import start_where_needed
from tinytown.cli.frame import TownCommand, TownGroup
from tinytown.cli.invocation import Invocation, pass_invocation
from tinytown.cli.shapes import agent_shape, task_shape
from tinytown.cli.table import table
from tinytown.cli.town_link import TownLink, open_town_link
from tinytown.names import counted
from tinytown.plans.waves import find_circle, waves

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
