"""What every command that a plugin adds promises (K1, K2, ...), and how each promise is tried.

A command is imported and asked for its help, never run: what it would do is known to its maker alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Unpack, cast

import click
from tinytown.model.text import shown
from tinytown_cli.contracts import Command, Completer
from tinytown_cli.framework import TownGroup

from tinytown_testing.contract_checks import CheckOptions, check_promises
from tinytown_testing.promises import Broken, CheckReport, Contract
from tinytown_testing.trial import Trial, check_word, expect, expect_list


@dataclass(slots=True)
class CommandTrial(Trial):
    """One attempt at one promise of a command."""

    make: Callable[[], Command]

    def load(self) -> click.Command:
        """What the command's target names. Broken unless that is a click command."""
        target = expect(self.make().target, str, "as target")
        return expect(_load(target), click.Command, f"at {target}")

    def all_below(self) -> Iterator[tuple[str, click.Command]]:
        """Itself and every command below it, each with the words that are typed for it."""
        yield from _all_below(self.make().name, self.load())


def _load(target: str) -> object:
    """What ``module:attribute`` names. Broken if it cannot be imported."""
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise Broken(f"{target} cannot be loaded: {shown(repr(error), 300)}") from error


def _all_below(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _all_below(f"{words} {name}", each)
    if isinstance(command, TownGroup):
        for name, entry in command.elsewhere.items():
            yield from _all_below(f"{words} {name}", expect(_load(entry.target), click.Command, f"at {entry.target}"))


COMMAND = Contract[CommandTrial]("command")


async def check_command(
    make: Callable[[], Command],
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the command that `make` announces. The options are those of every check, see `CheckOptions`."""
    return await check_promises(
        COMMAND, lambda place, slack_s: CommandTrial(place, slack_s, make), name=lambda: make().name, **options
    )


@COMMAND.promise("K1", "Its name is one word that can be typed, or two.")
async def _name(trial: CommandTrial) -> None:
    words = expect(trial.make().name, str, "as name").split(" ")
    if len(words) > 2:
        raise Broken(f"expected one word or two as name, got {trial.make().name!r}")
    for word in words:
        check_word("name", word)


@COMMAND.promise("K2", "Its help is one line of text.")
async def _help(trial: CommandTrial) -> None:
    text = expect(trial.make().help, str, "as help")
    if not text.strip() or len(text.splitlines()) > 1:
        raise Broken(f"expected one line as help, got {shown(repr(text))}")


@COMMAND.promise("K3", "Its target is a click command, and importing it has no other effect.")
async def _target(trial: CommandTrial) -> None:
    async with trial.expect_no_leaks("importing it"):
        trial.load()


@COMMAND.promise("K4", "It and all its subcommands describe themselves in --help.", requires=("K3",))
async def _says_what_it_does(trial: CommandTrial) -> None:
    for words, command in trial.all_below():
        if not (command.help or "").strip():
            raise Broken(f"tt {words} --help does not say what it does; give its function a docstring")


@COMMAND.promise("K5", "It and all its subcommands accept --json.", requires=("K3",))
async def _json(trial: CommandTrial) -> None:
    for words, command in trial.all_below():
        if not any("--json" in parameter.opts for parameter in command.params):
            raise Broken(f"tt {words} has no option --json; build it with TownCommand of tinytown_cli.public")


# -- completers --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class CompleterTrial(Trial):
    """One attempt at one promise of a completer."""

    make: Callable[[], Completer]

    def load(self) -> Callable[[click.Context], object]:
        """The function that the target names. Broken unless it can be called."""
        target = expect(self.make().target, str, "as target")
        function = _load(target)
        if not callable(function):
            raise Broken(f"expected a function at {target}, got {type(function).__name__} {shown(repr(function))}")
        return cast("Callable[[click.Context], object]", function)


COMPLETER = Contract[CompleterTrial]("completer")


async def check_completer(
    make: Callable[[], Completer],
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the completer that `make` announces. The options are those of every check, see `CheckOptions`."""
    return await check_promises(
        COMPLETER, lambda place, slack_s: CompleterTrial(place, slack_s, make), name=lambda: make().name, **options
    )


@COMPLETER.promise("E1", "Its name is a word that can be typed and stored.")
async def _completer_name(trial: CompleterTrial) -> None:
    check_word("name", trial.make().name)


@COMPLETER.promise("E2", "Its target is a function, and importing it has no other effect.")
async def _completer_target(trial: CompleterTrial) -> None:
    async with trial.expect_no_leaks("importing it"):
        trial.load()


@COMPLETER.promise(
    "E3", "It returns pairs of a word and a remark, or raises an error where there is no town.", requires=("E2",)
)
async def _pairs(trial: CompleterTrial) -> None:
    function = trial.load()
    with click.Context(click.Command("tt")) as context:
        try:
            answer = function(context)
        except Exception:  # whatever it is: then nothing is completed
            return
    for pair in cast("list[tuple[object, ...]]", expect_list(answer, tuple, "from the function")):
        if len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise Broken(f"expected pairs of a word and a remark, got {shown(repr(pair))}")
