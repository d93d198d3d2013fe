"""What every status section promises (D1, D2, ...), and how each promise is checked: in a real town."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

import msgspec
from tinytown.model.text import shown
from tinytown_cli.client import TownClient
from tinytown_cli.contracts import SectionContent, StatusSection

from tinytown_testing.contract_checks import CheckOptions, check_town_promises
from tinytown_testing.promises import Broken, CheckReport, Contract
from tinytown_testing.town_samples import expect_unchanged, fill_town
from tinytown_testing.trial import Trial, check_word, expect, expect_prompt, expect_texts


@dataclass(slots=True)
class StatusSectionTrial(Trial):
    """One attempt at one promise of a status section."""

    make: Callable[[], StatusSection]
    town: TownClient

    def read(self) -> SectionContent | None:
        """The section. Broken unless it is one, or None."""
        content = self.make().read(self.town)
        return None if content is None else expect(content, SectionContent, "from read()")


STATUS_SECTION = Contract[StatusSectionTrial]("status section")


async def check_status_section(
    make: Callable[[], StatusSection],
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the status sections that `make` makes. The options are those of every check, see `CheckOptions`.

    Raises: ServerUnreachable if no embedded server can be started.
    """
    return await check_town_promises(
        STATUS_SECTION,
        lambda place, slack_s, town: StatusSectionTrial(place, slack_s, make, town),
        name=lambda: make().name,
        **options,
    )


@STATUS_SECTION.promise("D1", "Its name is a word that can be typed and stored.")
async def _name(trial: StatusSectionTrial) -> None:
    check_word("name", trial.make().name)


@STATUS_SECTION.promise("D2", "It returns a section or None, in an empty town and in one with agents and tasks.")
async def _reads(trial: StatusSectionTrial) -> None:
    trial.read()
    fill_town(trial.town)
    trial.read()


@STATUS_SECTION.promise("D3", "A section has a title, lines of text, and a value that JSON can hold.", requires=("D2",))
async def _content(trial: StatusSectionTrial) -> None:
    content = trial.read()
    if content is None:
        return
    if not expect(content.title, str, "as title").strip():
        raise Broken("expected a title, got an empty one")
    expect_texts(content.lines, "as lines")
    try:
        msgspec.json.encode(content.value)
    except (TypeError, ValueError, msgspec.EncodeError) as error:
        raise Broken(f"the value {shown(repr(content.value), 200)} cannot be encoded as JSON: {error}") from error


@STATUS_SECTION.promise("D4", "It changes nothing in the town.", requires=("D2",))
async def _changes_nothing(trial: StatusSectionTrial) -> None:
    expect_unchanged(trial.town, trial.read)


@STATUS_SECTION.promise("D5", "It returns within seconds, and leaves nothing behind.", requires=("D2",))
async def _prompt(trial: StatusSectionTrial) -> None:
    trial.read()
    async with trial.expect_no_leaks("reading it"):
        expect_prompt("read()", trial.read)
