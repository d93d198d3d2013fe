"""What can be asked, by subject: one function for each."""

from __future__ import annotations

from tinytown_townhall.endpoints.agents import AGENTS
from tinytown_townhall.endpoints.events import EVENTS
from tinytown_townhall.endpoints.explain import EXPLAIN
from tinytown_townhall.endpoints.mail import MAIL
from tinytown_townhall.endpoints.rounds import ROUNDS
from tinytown_townhall.endpoints.session import SESSION
from tinytown_townhall.endpoints.setup import SETUP
from tinytown_townhall.endpoints.tasks import TASKS
from tinytown_townhall.endpoints.town import TOWN

ENDPOINTS = (TOWN, AGENTS, TASKS, MAIL, EVENTS, ROUNDS, EXPLAIN, SETUP, SESSION)
