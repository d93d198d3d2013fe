"""Every operation of a town as a value: the command to send and how to read the reply. Pure, no IO.

Executed by the trio link and by blocking clients alike, so the command line, a REST request and an agent's tool share
every rule. All operations are safe to repeat: one that changes something carries an id of its own (a message id, a claim
token, an ``op``), and the functions do nothing when they see the same one again.
"""

from __future__ import annotations

from tinytown.protocol.agent_operations import AgentOperations
from tinytown.protocol.host_operations import HostOperations
from tinytown.protocol.mail_operations import MailOperations
from tinytown.protocol.task_operations import TaskOperations
from tinytown.protocol.town_operations import WholeTownOperations


class TownOperations(MailOperations, TaskOperations, AgentOperations, HostOperations, WholeTownOperations):
    """Makes the operations of the town `name`. Holds nothing but key names; safe to share.

    Arguments named ``agent`` or ``task`` take what users type: a name, an id, a nickname, a unique beginning of one.
    Making an operation raises UsageError for values that can never be right; running it raises what the town's state refuses.
    """
