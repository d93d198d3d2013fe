"""The sink `herald`: a POST request to an address for each batch of events about tasks."""

import os
import urllib.request
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from urllib.error import HTTPError

import msgspec
import trio
from tinytown.hookspecs import hookimpl
from tinytown.model.events import Event, event_fields
from tinytown_sinks import StatusSink

TINYTOWN_HOOK_API = 2


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str = ""


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_status_sinks(settings: Settings) -> list[StatusSink]:
    url = settings.url or os.environ.get("HERALD_URL", "")
    return [Herald(url)] if url else []


class Herald(StatusSink):
    name = "herald"
    batch = 50
    put_timeout_s = 20.0

    def __init__(self, url: str) -> None:
        self.url = url

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        yield

    async def put(self, events: Sequence[Event]) -> None:
        body = msgspec.json.encode([event_fields(event) for event in events])
        await trio.to_thread.run_sync(self._post, body, abandon_on_cancel=True)

    def _post(self, body: bytes) -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url, body), timeout=10):
                pass
        except HTTPError as error:
            with error:  # it is the response, too
                raise OSError(f"{self.url} answered {error.code}") from error


def scenarios(sandbox: object) -> dict[str, object]:
    from tinytown_testing import Receiver, SinkScenarios

    receiver = RECEIVERS[os.environ["HERALD_URL"]]
    assert isinstance(receiver, Receiver)

    def received() -> list[str]:
        return [event["id"] for request in receiver.taken for event in request.json]

    @contextmanager
    def unavailable() -> Iterator[None]:
        receiver.behave = lambda _: 503
        yield
        receiver.behave = lambda _: 204

    return {"sink herald": SinkScenarios(received=received, unavailable=unavailable)}


#: Receivers of tests, by their address.
RECEIVERS: dict[str, object] = {}
