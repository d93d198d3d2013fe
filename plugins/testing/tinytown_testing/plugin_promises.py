"""What the hooks of every plugin promise (L1, L2, ...) while they announce, whatever it is that they announce."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinytown.plugin import PluginReport

from tinytown_testing.promises import Broken, Contract
from tinytown_testing.trial import Trial, expect_quick


@dataclass(slots=True)
class PluginTrial(Trial):
    """One attempt at one promise of a plugin's hooks; `survey` asks all of them, once it has been imported."""

    survey: Callable[[], PluginReport]


PLUGIN = Contract[PluginTrial]("plugin")


@PLUGIN.promise("L1", "Its hooks return quickly: towns and commands wait for them.")
async def _quick(trial: PluginTrial) -> None:
    expect_quick("asking them", trial.survey)


@PLUGIN.promise("L2", "Calling its hooks starts nothing and leaves nothing behind.")
async def _leaves_nothing(trial: PluginTrial) -> None:
    async with trial.expect_no_leaks("asking its hooks"):
        trial.survey()


@PLUGIN.promise("L3", "Called again, its hooks return the same contributions.")
async def _same_again(trial: PluginTrial) -> None:
    first, second = trial.survey(), trial.survey()
    if first.contributions != second.contributions:
        raise Broken(f"it offered {first.contributions} and then {second.contributions}")
