"""The service `window`: the tasks of the town as JSON over HTTP, on the loopback."""

import os
from functools import partial

import msgspec
import trio
from tinytown.contracts import Service
from tinytown.hookspecs import hookimpl
from tinytown.town import Town

TINYTOWN_HOOK_API = 2


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    port: int = 0


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_services(settings: Settings) -> list[Service]:
    return [Window(settings.port)]


class Window(Service):
    name = "window"

    def __init__(self, port: int) -> None:
        self.port = port

    async def run(self, town: Town) -> None:
        """One request a connection. The port is in ``WINDOW_FILE``, if that is set."""
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, partial(self._answer, town), self.port, host="127.0.0.1")
            (listener, *_) = await nursery.start(serve)
            if file := os.environ.get("WINDOW_FILE"):
                await trio.Path(file).write_text(str(listener.socket.getsockname()[1]))

    async def _answer(self, town: Town, stream: trio.SocketStream) -> None:
        with trio.move_on_after(10):
            await stream.receive_some(10_000)
            tasks = [{"id": task.id, "state": task.state, "title": task.headline} for task in await town.tasks()]
            body = msgspec.json.encode(tasks)
            await stream.send_all(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + body)
            await stream.send_eof()


def scenarios(sandbox: object) -> dict[str, object]:
    return {}
