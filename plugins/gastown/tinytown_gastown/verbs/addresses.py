"""Addresses as Gastown writes them: ``shop/polecats/nux`` is the agent nux, ``mayor/`` a person. Pure but for one question."""

from __future__ import annotations

from tinytown.errors import NotFound, UsageError
from tinytown.model.agents import Agent
from tinytown_cli.public import TownClient

#: Roles of Gastown whose work the kernel or a person does; mail to them goes to the supervisor.
_PEOPLE = frozenset({"mayor", "human", "overseer", "supervisor", "deacon", "witness", "refinery"})


def last_name(address: str) -> str:
    """The name at the end of an address."""
    return address.rstrip("/").rpartition("/")[2]


def find_agent(town: TownClient, address: str) -> Agent:
    """The agent that an address means: by its whole text, else by its last part. Raises: NotFound."""
    try:
        return town.run(town.operations.agent(address))
    except (NotFound, UsageError):
        name = last_name(address)
        if name in ("", address):
            raise
        return town.run(town.operations.agent(name))


def find_recipient(town: TownClient, address: str) -> str:
    """The name that mail to an address goes to. Raises: NotFound."""
    try:
        return find_agent(town, address).name
    except (NotFound, UsageError):
        if last_name(address).lower() in _PEOPLE:
            return "supervisor"
        raise
