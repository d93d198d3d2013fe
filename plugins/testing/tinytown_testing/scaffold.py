"""Writes the package of a new plugin from the templates in `new_plugin`: all of its files, or none.

The templates are whole files with the few words left out that depend on the name; what they make keeps every promise of
its contract as it stands.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template
from types import MappingProxyType

from tinytown import __version__
from tinytown.errors import Refused, TinytownError, UsageError
from tinytown.model.text import shown

#: What can be begun, and what the new plugin then does.
KINDS = MappingProxyType(
    {
        "backend": "agents that hand their prompt to a tool",
        "sink": "a town's events as lines of JSON in a file",
        "converter": "tasks as lines of JSON",
        "workspace": "a directory of its own for each agent",
        "gate": "no task is completed while a file has a conflict marker in it",
        "service": "the supervisor hears of every task that failed",
        "command": "how much is on the backlog, by priority",
        "prompt": "agents are told to look at their work again before they report it",
        "chooser": "a task goes to the agent that is named in its tags",
    }
)

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_NAME_LENGTH = 40


def check_plugin_name(name: str) -> str:
    """`name` itself. Raises UsageError unless it can be a part of the name of a distribution and of a module."""
    if not _NAME.fullmatch(name) or len(name) > _NAME_LENGTH:
        raise UsageError(
            f"expected a plugin's name of 1 to {_NAME_LENGTH} lower-case letters, digits and single '-', got {shown(name)!r}",
            hint="begin with a letter, for example my-tool",
        )
    if name.startswith("tinytown"):
        raise UsageError(f"the package's name becomes tinytown-{name}", hint="leave tinytown out of the plugin's name")
    return name


def write_package(name: str, kind: str, directory: Path) -> tuple[str, ...]:
    """Write the package of the plugin `name` into `directory`, which must be empty or absent; the paths of its files.

    Raises: UsageError for the name; Refused for a directory that has something in it; TinytownError when it cannot be
    written.
    """
    contents = _contents(check_plugin_name(name), kind)
    directory = directory.absolute()
    try:
        if os.path.lexists(directory) and not (directory.is_dir() and not any(directory.iterdir())):
            raise Refused(f"{directory} exists already and is not empty", hint="name another with --dir", code="exists")
        directory.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".tinytown-{name}-", dir=directory.parent))
        try:
            for path, text in contents.items():
                (draft / path).parent.mkdir(parents=True, exist_ok=True)
                (draft / path).write_text(text, encoding="utf-8")
            draft.chmod(0o755)
            draft.rename(directory)  # over an empty directory at most
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise TinytownError(
            f"cannot write {directory}: {error.strerror}", hint="check the owner, mode and free space there"
        ) from error
    return tuple(contents)


def _contents(name: str, kind: str) -> dict[str, str]:
    """Path -> text of each file of the package."""
    identifier = name.replace("-", "_")
    module = f"tinytown_{identifier}"
    words = {
        "name": name,
        "identifier": identifier,
        "module": module,
        "class": "".join(part.capitalize() for part in name.removesuffix(f"-{kind}").split("-")) + kind.capitalize(),
        "kind": kind,
        "summary": KINDS[kind],
        "hints": "",
        "tinytown": ".".join(__version__.split(".")[:2]),
    }
    templates = files("tinytown_cli") / "new_plugin"

    def filled(template: str) -> str:
        return Template((templates / f"{template}.in").read_text(encoding="utf-8")).substitute(words)

    more: dict[str, str] = {}
    if kind == "command":
        words["hints"] = f'\n[project.entry-points."tinytown.commands"]\n{name} = "{module}.command:{identifier}"\n'
        more[f"{module}/command.py"] = filled("command_body.py")
    return {
        "pyproject.toml": filled("pyproject.toml"),
        "README.md": filled("README.md"),
        f"{module}/__init__.py": filled(f"{kind}.py"),
        **more,
        f"{module}/py.typed": "",
        f"tests/test_{identifier}.py": filled(f"test_{kind}.py"),
    }
