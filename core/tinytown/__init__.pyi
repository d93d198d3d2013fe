# What type checkers see of this package, whose names are imported when they are first used.

from tinytown.hookspecs import hookimpl as hookimpl
from tinytown.kernel.kernel import open_town as open_town
from tinytown.model.agents import Agent as Agent
from tinytown.model.events import Event as Event
from tinytown.model.messages import Message as Message
from tinytown.model.tasks import Task as Task
from tinytown.town import AgentHandle as AgentHandle, Town as Town

__version__: str
