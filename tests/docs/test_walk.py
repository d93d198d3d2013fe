"""The first walk: README.md and the page for beginners, every block as written, top to bottom, in one project each.

By default with what is installed here, so that the lines of Python environments and pip are only checked. With TINYTOWN_WALK=1,
as `nox -s walk` sets it, from a fresh clone and an empty home: environments are made, pip installs, nox runs the demo.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tinytown_testing.shell import Shell, open_shell

from tests.docs.walk import blocks, script

ROOT = Path(__file__).parents[2]
README, BEGINNERS = ROOT / "README.md", ROOT / "docs" / "getting-started.md"
INSTALL = ROOT / "docs" / "install.md"
WALK = bool(os.environ.get("TINYTOWN_WALK"))
#: What no walk runs, and why: all tests, among them this one.
NEVER = [r"nox -s tests"]
#: What needs the index of Python packages and minutes.
INSTALLING = [r"-m venv", r"pip install"]
#: Without those lines the environment is there already.
START = "" if WALK else ". ~/.tinytown/bin/activate"
#: A coding CLI as far as the pages go: it is found, and answers.
CODING_CLI = '#!/bin/sh\ncat > /dev/null\n[ "$1" = --version ] && echo 1.0.0\nexit 0\n'
#: What a person has who reads "in your project".
PROJECT = [
    'mkdir "$HOME/project" && cd "$HOME/project" && git init --quiet',
    "printf 'import unittest\\n' > test_it.py",
]


@pytest.fixture
def shell() -> Iterator[Shell]:
    with open_shell() as shell:
        home = shell.directory.parent / "home"
        kept = {
            name: text for name, text in shell.variables.items() if not name.startswith(("TINYTOWN", "PIP_", "VIRTUAL"))
        }
        kept |= {name: text for name, text in os.environ.items() if name.startswith("PIP_")}
        shell.variables = kept | {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
        programs = home / "programs"
        programs.mkdir()
        for name in ("claude", "codex"):
            (programs / name).write_text(CODING_CLI)
            (programs / name).chmod(0o755)
        path = [str(programs), *os.environ["PATH"].split(os.pathsep)]
        here = str(Path(sys.executable).parent)
        shell.variables["PATH"] = os.pathsep.join(place for place in path if place != here)
        if WALK:
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(shell.directory / "clone")], check=True)
        else:
            (shell.directory / "clone").symlink_to(ROOT)
            activate = home / ".tinytown" / "bin" / "activate"
            activate.parent.mkdir(parents=True)
            activate.write_text(f'PATH="{here}:$PATH"\n')
        yield shell


def walk(shell: Shell, page: Path, before: Mapping[str, Sequence[str]] = {}) -> str:
    """What the commands of the page print."""
    text = script(page, before=before, skip=NEVER if WALK else NEVER + INSTALLING)
    text = text if WALK else text.replace("sleep 20", "sleep 2")
    done = subprocess.run(
        ["bash", "-c", f"{START}\ncd clone\n{text}"],
        cwd=shell.directory, env=shell.variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=1500 if WALK else 240, check=False,
    )  # fmt: skip
    assert done.stdout.endswith("walked\n"), done.stdout[-3000:] + done.stderr
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


@pytest.mark.timeout(1800 if WALK else 300)
def test_the_readme_can_be_walked_from_top_to_bottom(shell: Shell) -> None:
    said = walk(shell, README, {"tt init": PROJECT})
    assert "added rita" in said
    listed = shell("task", "list", "--json", cwd=shell.directory.parent / "home" / "project").json
    titles = {task["title"] or task["description"]: task["state"] for task in listed["tasks"]}
    assert [titles[title] for title in ("python3 -m unittest", "Build the login form")] == ["completed", "completed"]


@pytest.mark.timeout(1800 if WALK else 300)
def test_the_page_for_beginners_can_be_walked_from_top_to_bottom(shell: Shell) -> None:
    said = walk(shell, BEGINNERS)
    listed = said.rpartition("$ tt task list")[2]
    assert re.search(r"completed .*sleep \d+; echo finished", listed), said
    assert "stopped the server" in said


@pytest.mark.parametrize("page", [README, BEGINNERS, INSTALL], ids=lambda page: page.name)
def test_what_pip_is_to_install_from_a_clone_is_there(page: Path) -> None:
    lines = [
        line for block in blocks(page) for line in block.commands if re.search(r"pip install (--upgrade )?\.", line)
    ]
    named = [word for line in lines for word in line.split() if word.startswith("./")]
    assert named
    for word in named:
        found = [path for path in ROOT.glob(word.removeprefix("./")) if path.is_dir() and path.name != "__pycache__"]
        assert found
        assert all((path / "pyproject.toml").is_file() for path in found), word


def test_every_inline_command_of_the_pages_exists() -> None:
    tt = shutil.which("tt", path=str(Path(sys.executable).parent))
    assert tt is not None
    for page in (README, BEGINNERS, INSTALL):
        for words in {tuple(found[1].split()[1:3]) for found in re.finditer(r"`(tt [a-z][^`]*)`", page.read_text())}:
            named = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]
            shown = subprocess.run([tt, *named[:1], "--help"], capture_output=True, text=True, check=False, timeout=60)
            assert shown.returncode == 0, f"{page.name}: tt {' '.join(words)}"
