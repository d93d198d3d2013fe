"""The API reference has every name that a plugin may import, with what it is, and nothing else."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.repository.test_floors import EXPORTS, is_public

ROOT = Path(__file__).parents[2]


def _load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("api_reference", ROOT / "docs" / "api_reference.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["api_reference"] = module
    specification.loader.exec_module(module)
    return module


api_reference = _load()
PAGES = {page.name: page for page in api_reference.pages(ROOT)}


def test_every_public_module_of_the_core_has_a_page_and_no_other() -> None:
    core = {name for name in PAGES if name.partition(".")[0] == "tinytown"}
    assert {name for name in core if not is_public(name)} == set()
    files = [path for path in (ROOT / "core" / "tinytown").rglob("*.py") if path.name != "__main__.py"]
    names = {path.relative_to(ROOT / "core").with_suffix("").as_posix().replace("/", ".") for path in files}
    public = {name.removesuffix(".__init__") for name in names if is_public(name.removesuffix(".__init__"))}
    assert public - {"tinytown.model"} == core


def test_the_marks_are_about_modules_that_exist() -> None:
    assert PAGES.keys() >= api_reference.PROVISIONAL
    assert PAGES.keys() >= api_reference.LIBRARIES.keys()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_what_the_module_has(name: str) -> None:
    page, module = PAGES[name], importlib.import_module(name)
    assert page.entries, "a public module without a public name"
    assert [entry.name for entry in page.entries if not hasattr(module, entry.name)] == []
    for entry in page.entries:
        assert f"\n## {entry.name}\n" in page.render()


@pytest.mark.parametrize("room", sorted(EXPORTS))
def test_what_a_room_exports_is_on_its_page(room: str) -> None:
    assert {entry.name for entry in PAGES[f"tinytown.{room}"].entries} == EXPORTS[room]


@pytest.mark.parametrize("name", PAGES)
def test_everything_says_what_it_is(name: str) -> None:
    page = PAGES[name]
    assert page.text, "the module has no docstring"
    defined = [entry for entry in page.entries if entry.signature.startswith(("class ", "def ", "async def ", "@"))]
    assert [entry.name for entry in defined if not entry.text] == []
