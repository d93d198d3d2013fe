"""Serves the numbers by prometheus_client's own server, in threads beside the kernel's loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal
from wsgiref.simple_server import WSGIServer

import trio
from prometheus_client import CollectorRegistry, start_http_server
from tinytown.contracts import Service
from tinytown.errors import TinytownError
from tinytown.town import Town

from tinytown_metrics.address import ADDRESS, PLUGIN
from tinytown_metrics.counters import TownCounters
from tinytown_metrics.counting import count_events
from tinytown_metrics.gauges import TownGauges, TownState, read_state

_CLOSE_S = 5.0


class MetricsService(Service):
    """Serves the numbers of the whole town, from one of its kernels."""

    name = PLUGIN
    scope: Literal["host", "town"] = "town"

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    async def run(self, town: Town) -> None:
        """Serve until cancelled. Raises: TinytownError if the port is taken."""
        registry = CollectorRegistry()
        counters = TownCounters(town.name, registry)
        registry.register(TownGauges(town.name, _reader(town)))
        server, thread = await trio.to_thread.run_sync(self._listen, registry)
        try:
            host = f"[{self._host}]" if ":" in self._host else self._host
            url = f"http://{host}:{server.server_port}/metrics"
            await town.run(town.operations.set_plugin_field(PLUGIN, ADDRESS, url))
            await count_events(town, counters)
        finally:
            with trio.CancelScope(shield=True, relative_deadline=_CLOSE_S):
                await trio.to_thread.run_sync(_close, server, thread)

    def _listen(self, registry: CollectorRegistry) -> tuple[WSGIServer, threading.Thread]:
        try:
            return start_http_server(self._port, self._host, registry)
        except OSError as error:
            raise TinytownError(
                f"cannot listen on {self._host} port {self._port}: {error.strerror}",
                hint="set another port in [plugins.metrics]; 0 is any",
            ) from error


def _reader(town: Town) -> Callable[[], TownState | None]:
    """What a thread calls to read the town in the kernel's loop; None if it cannot be read."""
    token = trio.lowlevel.current_trio_token()

    def read() -> TownState | None:
        try:
            return trio.from_thread.run(read_state, town, trio_token=token)
        except (TinytownError, trio.RunFinishedError, trio.Cancelled):  # the server is away, or the kernel ends
            return None

    return read


def _close(server: WSGIServer, thread: threading.Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()
