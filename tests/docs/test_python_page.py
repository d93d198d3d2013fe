"""`docs/python.md` and the program of the migration guide: what they show runs, and every public name is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tinytown.town
import tinytown_api
from tinytown.state import state_directory
from tinytown_server.server import EmbeddedServer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "python.md", ROOT / "docs" / "coming-from-tinytown.md"]
#: Each program of the pages, by its file name.
PROGRAMS = {
    name: text
    for page in PAGES
    for name, text in re.findall(
        r"^`(\w+\.py)`[^\n]*:\n\n```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )
}
#: What they print, by the name of their files.
PRINTED = {
    "first.py": "completed echo: Design the login page\n",
    "migrated.py": "echo: Build the login API\necho: Build the login form\n",
    "review.py": "completed ['ada', 'bob', 'eve']\n",
    "robot.py": "22 characters\nyou asked: Are you a program? True\n",
    "service.py": "completed: echo: Say hello\n",
}
DEADLINE_S = 60


def test_the_pages_show_these_programs() -> None:
    assert PROGRAMS.keys() == PRINTED.keys()


@pytest.mark.parametrize("name", PRINTED)
def test_a_program_runs_as_it_is_shown(name: str, town_dir, tmp_path: Path) -> None:
    town_dir.configure('default_cli = "echo"\n')
    program = tmp_path / name
    program.write_text(PROGRAMS[name])
    makes_one = "Town.create" in PROGRAMS[name]
    command, directory = [sys.executable, "-W", "error", str(program)], tmp_path if makes_one else town_dir.root
    try:
        run = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=DEADLINE_S)
        assert (run.returncode, run.stdout) == (0, PRINTED[name]), run.stderr
    finally:
        if makes_one:
            EmbeddedServer(state_directory(tmp_path / "shop")).stop(timeout_s=5)


def public(kind: type) -> set[str]:
    """The public methods that a class has, those of its bases included."""
    return {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}


def test_every_method_that_the_package_adds_is_on_the_page() -> None:
    page = PAGES[0].read_text()
    added = public(tinytown_api.Town) - public(tinytown.town.Town)
    added |= public(tinytown_api.Letter) | (public(tinytown_api.Mailbox) & {"receive", "try_receive", "drain"})
    added |= {name for name in vars(tinytown_api.TrioThread) if not name.startswith("_")} - {"stop"}
    assert {name for name in added if not re.search(rf"\b{name}\b", page)} == set()
    exported = {name for name in vars(tinytown_api) if not name.startswith("_")}
    classes = {name for name in exported if isinstance(getattr(tinytown_api, name), type)}
    assert {name for name in classes | {"open_trio_thread"} if not re.search(rf"\b{name}\b", page)} == set()


def test_a_method_that_the_page_names_is_there() -> None:
    page = PAGES[0].read_text()
    for owner, kind in (
        ("town", tinytown_api.Town),
        ("Town", tinytown_api.Town),
        ("agent", tinytown_api.AgentHandle),
        ("letter", tinytown_api.Letter),
    ):
        for name in re.findall(rf"\b{owner}\.([a-z_]+)\b", page):
            assert hasattr(kind, name) or name in ("config", "operations", "message", "name"), f"{owner}.{name}"
