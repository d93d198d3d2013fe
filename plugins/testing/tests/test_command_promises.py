"""A command that keeps every promise, and for each promise one that breaks it: the kit has to name that one and no other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import click
import pytest
import trio
from tinytown_cli.contracts import Command
from tinytown_cli.public import TownCommand, TownGroup
from tinytown_testing import PROMISES, check_command

DEADLINE_S = 60.0
MODULE = "commands_on_trial"
FDS: list[int] = []


@click.command(cls=TownCommand)
def good() -> None:
    """Do what is promised."""


@click.group(cls=TownGroup)
def good_group() -> None:
    """Do one of several things."""


good_group.add_command(good)


@click.command(cls=TownCommand)
def silent() -> None: ...


@click.group(cls=TownGroup)
def silent_below() -> None:
    """Do one of several things."""


silent_below.add_command(silent)


@click.command()
def plain() -> None:
    """Print what it likes."""


@click.group(cls=TownGroup)
def plain_below() -> None:
    """Do one of several things."""


plain_below.add_command(plain)


def no_command() -> None: ...


def command(name: str = "good", help: str = "Do it.", target: str = "good") -> Callable[[], Command]:
    return lambda: Command(name, help, target if ":" in target else f"{MODULE}:{target}")


BREAKERS: list[tuple[str, Callable[[], Command]]] = [
    ("K1", command(name="one too many")),
    ("K2", command(help="")),
    ("K2", command(help="One.\nTwo.")),
    ("K3", command(target="absent")),
    ("K3", command(target="no_command")),
    ("K3", command(target="no.such.module:good")),
    ("K3", command(target="leaves_a_descriptor:good")),
    ("K4", command(target="silent")),
    ("K4", command(target="silent_below")),
    ("K5", command(target="plain")),
    ("K5", command(target="plain_below")),
]


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[None]:
    monkeypatch.setitem(sys.modules, MODULE, sys.modules[__name__])
    (tmp_path / "leaves_a_descriptor.py").write_text(
        f"import os\nfrom {MODULE} import FDS, good\nFDS.append(os.open(os.devnull, os.O_RDONLY))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("leaves_a_descriptor", None)
    while FDS:
        os.close(FDS.pop())


@pytest.mark.parametrize("target", ["good", "good_group"])
async def test_a_good_command_keeps_every_promise(target: str) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_command(command(target=target))
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["command"]), str(report)


@pytest.mark.parametrize(("promise", "breaker"), BREAKERS, ids=[f"{id}-{make().target}" for id, make in BREAKERS])
async def test_a_broken_command_breaks_exactly_this_promise(promise: str, breaker: Callable[[], Command]) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_command(breaker)
    assert [result.promise.id for result in report.broken] == [promise], str(report)


def test_every_promise_of_a_command_has_something_that_breaks_it() -> None:
    assert [promise.id for promise in PROMISES["command"]] == list(dict.fromkeys(id for id, _ in BREAKERS))
