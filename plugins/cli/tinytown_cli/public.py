"""The parts that a command of a plugin is made of, under names that stay.

`Command.target` names a click command. One built from `TownCommand` or `TownGroup` takes the common options, shows its examples,
and prints through its `CliContext`, whose `open_town` is the town over a blocking client, without trio. A `Command` of several
words (``task dance``) hangs below a group. `Word` is a parameter that a completer of a plugin completes. Nothing is defined here.
"""

from tinytown.model.text import counted

from tinytown_cli.client import TownClient
from tinytown_cli.command_call import Recording, answer_command, call_command, forward, record_command, served_command
from tinytown_cli.commands.spawn import add_agent
from tinytown_cli.context import CliContext, pass_cli_context, start_where_needed
from tinytown_cli.doctor_agent import DOCTOR_AGENT, is_doctors
from tinytown_cli.event_text import describe
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand, TownGroup
from tinytown_cli.graph import find_cycle, stages
from tinytown_cli.params import (
    AGENT,
    KIND,
    MESSAGE,
    MOMENT,
    PRIORITY,
    ROLE,
    TAG,
    TASK,
    Moment,
    Word,
    no_start_option,
    read_text,
    split_list,
)
from tinytown_cli.serializers import agent_shape, deprecated, event_shape, host_shape, task_shape
from tinytown_cli.task_lists import emit_task_list

__all__ = [
    "AGENT",
    "DOCTOR_AGENT",
    "KIND",
    "MESSAGE",
    "MOMENT",
    "PRIORITY",
    "ROLE",
    "TAG",
    "TASK",
    "CliContext",
    "Moment",
    "Recording",
    "TownClient",
    "TownCommand",
    "TownGroup",
    "Word",
    "add_agent",
    "agent_shape",
    "answer_command",
    "call_command",
    "counted",
    "deprecated",
    "describe",
    "emit_task_list",
    "event_shape",
    "find_cycle",
    "forward",
    "host_shape",
    "is_doctors",
    "no_start_option",
    "pass_cli_context",
    "read_text",
    "record_command",
    "served_command",
    "split_list",
    "stages",
    "start_where_needed",
    "table",
    "task_shape",
]
