"""What every provider of servers promises (R1, R2, ...), and how each promise is checked: on servers that are really started."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Unpack

import trio
from tinytown.concurrency import open_background
from tinytown.contracts import ServerProvider, TownServer
from tinytown.protocol import load_library
from tinytown.redis import parse_url
from tinytown_cli.blocking_client import BlockingClient

from tinytown_testing.contract_checks import CheckOptions, check_promises
from tinytown_testing.leaks import snapshot_files
from tinytown_testing.promises import Broken, CheckReport, Contract
from tinytown_testing.trial import Trial, expect

_START_S = 30.0
_STARTERS = 4
_numbers = count(1)


@dataclass(slots=True)
class ServerTrial(Trial):
    """One attempt at one promise of a provider."""

    provide: ServerProvider

    @contextmanager
    def server(self) -> Generator[TownServer]:
        """The server of a new directory, ended afterwards."""
        directory = self.sandbox.base / f"s{next(_numbers)}" / "state"
        directory.parent.mkdir()
        server = self.provide(directory)
        try:
            yield server
        finally:
            server.stop(_START_S)


SERVER = Contract[ServerTrial]("server")


async def check_server_provider(
    provide: ServerProvider,
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the servers that `provide` makes. The options are those of every check, see `CheckOptions`."""
    return await check_promises(SERVER, lambda place, slack_s: ServerTrial(place, slack_s, provide), **options)


@SERVER.promise("R1", "Nothing starts and nothing is written before ensure().")
async def _nothing_before_ensure(trial: ServerTrial) -> None:
    before = snapshot_files(trial.sandbox.base)
    async with trial.expect_no_leaks("asking for a server"):
        directory = trial.sandbox.base / "never" / "state"
        server = trial.provide(directory)
        expect(server.url, str, "as url")
        expect(server.log_path, Path, "as log_path")
        if server.ping() or server.pid() is not None:
            raise Broken("it runs before ensure()")
        if server.has_data():
            raise Broken("has_data() is True before ensure()")
        if server.stop():
            raise Broken("stop() returned True, and none was running")
    if snapshot_files(trial.sandbox.base) != before:
        raise Broken("it wrote something before ensure()")


@SERVER.promise("R2", "ensure() starts a server, and attaches to a running one.")
async def _ensure(trial: ServerTrial) -> None:
    with trial.server() as server:
        if (first := server.ensure(durability="fast", timeout_s=_START_S)) != "started":
            raise Broken(f"expected 'started' from the first ensure(), got {first!r}")
        if (second := server.ensure(durability="fast", timeout_s=_START_S)) != "attached":
            raise Broken(f"expected 'attached' from the second ensure(), got {second!r}")
        if not server.ping() or server.pid() is None:
            raise Broken("after ensure(), ping() is False or pid() is None")


@SERVER.promise("R3", "A server takes the function library of the protocol at its URL.", requires=("R2",))
async def _answers(trial: ServerTrial) -> None:
    with trial.server() as server:
        server.ensure(durability="fast", timeout_s=_START_S)
        with BlockingClient(parse_url(server.url)) as client:
            client.run(load_library())


@SERVER.promise(
    "R4", "Any number of callers may call ensure() at once: one of them starts the server.", requires=("R2",)
)
async def _at_once(trial: ServerTrial) -> None:
    with trial.server() as server:
        answers: list[str] = []

        async def ensure() -> None:
            answers.append(await trio.to_thread.run_sync(lambda: server.ensure(durability="fast", timeout_s=_START_S)))

        async with open_background() as nursery:
            for _ in range(_STARTERS):
                nursery.start_soon(ensure)
            while len(answers) < _STARTERS:  # noqa: ASYNC110 - threads set no event
                await trio.sleep(0.01)
        if sorted(answers) != ["attached"] * (_STARTERS - 1) + ["started"]:
            raise Broken(f"of {_STARTERS} callers at once, ensure() returned {', '.join(answers)}")


@SERVER.promise("R5", "stop() ends a server and keeps its data.", requires=("R3",))
async def _stop(trial: ServerTrial) -> None:
    with trial.server() as server:
        server.ensure(timeout_s=_START_S)
        with BlockingClient(parse_url(server.url)) as client:
            client.command("SET", "kept", "yes")
        if not server.stop(_START_S):
            raise Broken("stop() returned False, and a server was running")
        if server.ping() or server.pid() is not None:
            raise Broken("after stop(), ping() is True or pid() is not None")
        if not server.has_data():
            raise Broken("after stop(), has_data() is False")
        server.ensure(timeout_s=_START_S)
        with BlockingClient(parse_url(server.url)) as client:
            if client.command("GET", "kept") != b"yes":
                raise Broken("what was stored before stop() is missing")


@SERVER.promise("R6", "A server whose directory was deleted can be ended.", requires=("R2",))
async def _end_left_behind(trial: ServerTrial) -> None:
    with trial.server() as server:
        server.ensure(durability="fast", timeout_s=_START_S)
        pid = server.pid()
        shutil.rmtree(server.log_path.parent)
        ended = server.end_left_behind(time.monotonic() + _START_S)
        if not ended or (pid is not None and Path(f"/proc/{pid}/exe").exists()):
            raise Broken("end_left_behind() has not ended it")
