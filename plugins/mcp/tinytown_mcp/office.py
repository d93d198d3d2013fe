"""The town as the tools of one agent reach it: who is calling, over a connection that comes back when it broke."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from tinytown.client import TownClient, connect, town_root
from tinytown.config import TOWN_VARIABLE, Config, load_config
from tinytown.errors import ProtocolViolation, ServerUnreachable, UsageError
from tinytown.identity import AGENT_ID_VARIABLE, AGENT_NAME_VARIABLE, Caller, caller_in
from tinytown.protocol.operation import Operation
from tinytown.protocol.operations import TownOperations
from tinytown_cli.context import CliContext

T = TypeVar("T")


class ToolSession:
    """Where an agent's tools find the town. Nothing is read or connected before it is needed, so that a town that is out
    of order is the answer to a call and not the end of the server. A context manager that closes."""

    def __init__(self, context: CliContext) -> None:
        self._invocation = context
        self._open = contextlib.ExitStack()
        self._link: TownClient | None = None

    def __enter__(self) -> ToolSession:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @cached_property
    def root(self) -> Path:
        return town_root(self._invocation)

    @cached_property
    def config(self) -> Config:
        return load_config(self.root)

    @cached_property
    def operations(self) -> TownOperations:
        return TownOperations(self.config.name, message_limit_bytes=self.config.limits.message_bytes)

    @cached_property
    def caller(self) -> Caller:
        """The agent whose round this is. Raises: UsageError when the variables of the round belong to another town."""
        caller = caller_in(self.root)
        if not caller.is_agent:
            raise UsageError(
                f"expected a round of the town at {self.root}, got one of another town", hint="leave out --town"
            )
        return caller

    def run(self, call: Operation[T]) -> T:
        """What the town answers to `call`, which acts once even when it has to be sent twice."""
        try:
            return self._connected().run(call)
        except (ServerUnreachable, ProtocolViolation):
            # Away, or started anew without our functions: what a new connection looks after.
            self._close()
            return self._connected().run(call)

    def _connected(self) -> TownClient:
        if self._link is None:
            self._link = self._open.enter_context(connect(self.root, self.config, self._invocation))
        return self._link

    def _close(self) -> None:
        self._link = None
        self._open.close()


def check_round(environment: Mapping[str, str] = os.environ) -> None:
    """See that we were started by an agent's round. Raises: UsageError that says who is to start us."""
    has_agent = environment.get(AGENT_ID_VARIABLE) or environment.get(AGENT_NAME_VARIABLE)
    if not has_agent or not environment.get(TOWN_VARIABLE):
        missing = TOWN_VARIABLE if has_agent else AGENT_ID_VARIABLE
        raise UsageError(
            f"expected to be started by the coding CLI of an agent in its round, but {missing} is not set",
            hint="tt agent-tools --list shows the tools; a backend offers them as an MCP server",
        )
