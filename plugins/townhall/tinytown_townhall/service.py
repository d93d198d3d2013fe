"""Serving a town until asked to stop: as a service of its kernel, and for the command."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple

from tinytown.contracts import Service
from tinytown.town import Town

from tinytown_townhall.application import make_app
from tinytown_townhall.hall import Hall, open_hall
from tinytown_townhall.serving import HttpServer, open_server
from tinytown_townhall.settings import Settings


@asynccontextmanager
async def open_townhall(town: Town, settings: Settings) -> AsyncGenerator[Townhall]:
    """A townhall that listens. Nobody is answered before `Townhall.serve`. Raises: as `open_server`."""
    async with open_server(settings, town.root) as server, open_hall(town, settings, server.closing) as hall:
        yield Townhall(hall, server)


class Townhall(NamedTuple):
    """A town and the server that serves it."""

    hall: Hall
    server: HttpServer

    async def serve(self) -> None:
        """Answer requests until `HttpServer.stop`, or until cancelled, which cuts every connection."""
        await self.server.serve(make_app(self.hall))


class TownhallService(Service):
    """The townhall as a part of the kernel."""

    name = "townhall"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def run(self, town: Town) -> None:
        """Serve until cancelled."""
        async with open_townhall(town, self._settings) as townhall:
            await townhall.serve()
