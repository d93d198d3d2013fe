"""The manual's page on errors names every code that the project can raise, and none that it cannot."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from tinytown import errors
from tinytown.errors import TinytownError
from tinytown.protocol.operation import SERVER_REFUSALS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text()


def codes_in_source() -> set[str]:
    found = {kind.code for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TinytownError)}
    found |= set(errors.REPLY_CODES) | {code for _, _, code in SERVER_REFUSALS.values()}
    for path in [*ROOT.glob("core/tinytown/**/*.py"), *ROOT.glob("plugins/*/tinytown_*/**/*.py")]:
        if path.name != "blockers.py":  # codes there are reasons why a task waits, documented with tt task why
            found |= set(re.findall(r"\bcode(?:, text)? ?= ?\"([a-z_]+)\"", path.read_text()))
    for path in ROOT.glob("core/tinytown/**/*.lua"):
        found |= set(re.findall(r"\brefuse\('([a-z_]+)'", path.read_text()))
    return found


def codes_on_page() -> set[str]:
    return set(re.findall(r"^\| `([a-z_]+)` \| `", PAGE, re.MULTILINE))


def test_every_code_is_on_the_page() -> None:
    assert codes_in_source() - codes_on_page() == set()


def test_the_page_names_no_code_that_nothing_raises() -> None:
    assert codes_on_page() - codes_in_source() == set()


def test_the_functions_answer_only_with_codes_that_become_an_exception() -> None:
    answered = set[str]()
    for path in ROOT.glob("core/tinytown/**/*.lua"):
        answered |= set(re.findall(r"\brefuse\('([a-z_]+)'", path.read_text()))
    assert answered <= set(errors.REPLY_CODES)


def test_exit_codes_on_the_page_are_those_of_the_exceptions() -> None:
    reported = {int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    used = {
        kind.exit_code for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TinytownError)
    }
    assert used <= reported
