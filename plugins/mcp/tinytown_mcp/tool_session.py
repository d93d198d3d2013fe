"""The town as the tools of one agent reach it: the caller of the round, and a connection that is renewed when it breaks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from tinytown.config import Config, load_config
from tinytown.errors import ProtocolViolation, ServerUnreachable, UsageError
from tinytown.identity import AGENT_ID_VARIABLE, AGENT_NAME_VARIABLE, TOWN_VARIABLE
from tinytown.protocol import Operation, TownOperations
from tinytown_cli.caller import Caller, caller_in
from tinytown_cli.client import TownClient, connect
from tinytown_cli.context import CliContext

from tinytown_mcp.contracts import ToolSession

T = TypeVar("T")


class RoundToolSession(ToolSession):
    """The tool session of the round that started this process; a context manager.

    Reads and connects on demand, so that a broken configuration is the answer to one call and does not end the server.
    """

    def __init__(self, context: CliContext) -> None:
        self._context = context
        self._exit_stack = contextlib.ExitStack()
        self._client: TownClient | None = None

    def __enter__(self) -> RoundToolSession:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @cached_property
    def root(self) -> Path:
        return self._context.town_root()

    @cached_property
    def config(self) -> Config:  # pyright: ignore[reportIncompatibleMethodOverride]
        return load_config(self.root)

    @cached_property
    def operations(self) -> TownOperations:  # pyright: ignore[reportIncompatibleMethodOverride]
        return TownOperations(self.config.name, message_limit_bytes=self.config.limits.message_bytes)

    @cached_property
    def caller(self) -> Caller:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The agent whose round this is. Raises: UsageError if the round's variables name another town."""
        caller = caller_in(self.root)
        if not caller.is_agent:
            raise UsageError(
                f"expected a round of the town at {self.root}, got one of another town", hint="leave out --town"
            )
        return caller

    def run(self, operation: Operation[T]) -> T:
        try:
            return self._town().run(operation)
        except (ServerUnreachable, ProtocolViolation):
            # The server went away, or was restarted without the function library: a new connection installs it. Sending
            # an operation twice has the effect of sending it once.
            self._close()
            return self._town().run(operation)

    def _town(self) -> TownClient:
        if self._client is None:
            self._client = self._exit_stack.enter_context(
                connect(self.root, self.config, on_connect=self._context.explain)
            )
        return self._client

    def _close(self) -> None:
        self._client = None
        self._exit_stack.close()


def check_round(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to serve outside of an agent's round. Raises: UsageError that says who starts the server."""
    has_agent = environment.get(AGENT_ID_VARIABLE) or environment.get(AGENT_NAME_VARIABLE)
    if not has_agent or not environment.get(TOWN_VARIABLE):
        missing = TOWN_VARIABLE if has_agent else AGENT_ID_VARIABLE
        raise UsageError(
            f"expected to be started by the coding CLI of an agent in its round, but {missing} is not set",
            hint="tt agent-tools --list shows the tools; a backend starts the server",
        )
