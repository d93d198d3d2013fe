"""What the hooks of every plugin promise (L1, L2, ...) while they announce, whatever it is that they announce."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinytown.plugin import PluginReport

from tinytown_testing.promises import Book, Broken
from tinytown_testing.trial import Trial, expect_quick


@dataclass(slots=True)
class AnnouncingTrial(Trial):
    """One attempt at one promise of a plugin's hooks; `survey` asks all of them, once it has been imported."""

    survey: Callable[[], PluginReport]


PLUGIN = Book[AnnouncingTrial]("plugin")


@PLUGIN.promise("L1", "Its hooks only announce: they are quick, as towns and many commands wait for them.")
async def _quick(trial: AnnouncingTrial) -> None:
    expect_quick("asking them", trial.survey)


@PLUGIN.promise("L2", "Asking its hooks starts and leaves nothing.")
async def _leaves_nothing(trial: AnnouncingTrial) -> None:
    async with trial.leaving_nothing("asking its hooks"):
        trial.survey()


@PLUGIN.promise("L3", "Asked again, it offers the same.")
async def _same_again(trial: AnnouncingTrial) -> None:
    first, second = trial.survey(), trial.survey()
    if first.contributions != second.contributions:
        raise Broken(f"it offered {first.contributions} and then {second.contributions}")
