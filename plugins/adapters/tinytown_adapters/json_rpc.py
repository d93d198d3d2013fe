"""Conversing with a CLI that speaks JSON-RPC on its standard input and output, one message a line.

Source: JSON-RPC 2.0. What the methods mean is the reader's that uses this.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import msgspec
import trio
from tinytown.process import RunningCommand

from tinytown_adapters.failures import Failure, failure_of
from tinytown_adapters.json_lines import JsonLinesReader, Record
from tinytown_adapters.run_state import RunState

METHOD_NOT_FOUND = -32601
_REQUESTS = 64


class RpcRefused(Exception):
    """An error that a request was answered with."""

    def __init__(self, error: Record) -> None:
        super().__init__(error.text("message"))
        self.code = int(error.number("code") or 0)
        self.message = error.text("data", "details") or error.text("data", "message") or error.text("message")


class JsonRpcReader(JsonLinesReader):
    """Reads what the CLI says, and drives it (`converse`): give it `turn`, `on_notification` and `answer`."""

    def __init__(self, state: RunState) -> None:
        super().__init__(state)
        self._answers: dict[int, tuple[trio.Event, list[Record]]] = {}
        self._put, self._requests = trio.open_memory_channel[Record](_REQUESTS)
        self._running: RunningCommand | None = None

    @abstractmethod
    async def turn(self) -> None:
        """Do the round. Raises: RpcRefused, which fails the run."""

    @abstractmethod
    def on_notification(self, method: str, params: Record) -> None:
        """What the CLI says without being asked."""

    @abstractmethod
    async def answer(self, method: str, params: Record) -> Mapping[str, Any] | None:
        """The result of a request of the CLI's; None for a method that is not offered."""

    def failure_of(self, refused: RpcRefused) -> Failure:
        """Why the run failed, if this ended its turn."""
        return failure_of(refused.message or f"error {refused.code}")

    def on_record(self, record: Record) -> None:
        if (method := record.text("method")) and record.get("id") is None:
            self.on_notification(method, record.record("params"))
        elif method:
            try:
                self._put.send_nowait(record)
            except trio.WouldBlock:
                self.state.warn("the CLI asks more than can be answered")
        elif (waiting := self._answers.get(record.count("id"))) is not None:
            waiting[1].append(record)
            waiting[0].set()

    async def converse(self, running: RunningCommand) -> None:
        """One turn, and meanwhile the answers to what the CLI asks."""
        self._running = running
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer_requests)
            try:
                await self.turn()
            except RpcRefused as refused:
                self.state.fail(self.failure_of(refused))
                self.state.finish()
            nursery.cancel_scope.cancel()

    async def call(self, method: str, **params: Any) -> Record:
        """The result of a request. Raises: RpcRefused; ProcessFailed if the CLI reads no more."""
        id_ = len(self._answers) + 1
        answered, answers = self._answers[id_] = trio.Event(), []
        await self.send({"id": id_, "method": method, "params": params})
        await answered.wait()
        if error := answers[0].record("error"):
            raise RpcRefused(error)
        return answers[0].record("result")

    async def send(self, message: Mapping[str, Any]) -> None:
        """One message. Raises: ProcessFailed if the CLI reads no more."""
        assert self._running is not None
        await self._running.send(msgspec.json.encode({"jsonrpc": "2.0", **message}) + b"\n")

    async def _answer_requests(self) -> None:
        async with trio.open_nursery() as nursery:
            async for record in self._requests:
                nursery.start_soon(self._answer, record)

    async def _answer(self, record: Record) -> None:
        method = record.text("method")
        result = await self.answer(method, record.record("params"))
        error = {"code": METHOD_NOT_FOUND, "message": f"{method} is not offered"}
        await self.send({"id": record.get("id"), **({"error": error} if result is None else {"result": result})})
