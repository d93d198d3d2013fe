"""Writes the package of a new plugin from the templates in `templates`: all of its files, or none.

The templates are whole files with placeholders for what depends on the name. The result keeps every promise of its
contract as it is.
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

#: What `tt plugin new` can create, and what the new plugin does.
KINDS = MappingProxyType(
    {
        "backend": "agents that pass their prompt to a command-line tool",
        "cli": "agents of a coding CLI that prints JSON lines",
        "acp": "agents that speak the Agent Client Protocol",
        "sink": "appends a town's events to a file as JSON lines",
        "converter": "reads and writes tasks as JSON lines",
        "workspace": "a separate directory for each agent",
        "gate": "refuses work with unresolved merge conflicts",
        "service": "notifies the supervisor of failed tasks",
        "command": "counts the backlog by priority",
        "prompt": "asks agents to review their work before they report",
        "chooser": "assigns a task to the agent named in its tags",
    }
)

#: What a template may import beside the core, and the version that we need.
_LIBRARIES = MappingProxyType({"msgspec": "0.21", "trio": "0.30"})
#: The kinds whose promises need situations, which a module `scenarios` of the package creates.
_WITH_SCENARIOS = ("backend", "cli", "acp", "sink", "converter", "gate")
#: What a kind needs beside the core.
_NEEDED = MappingProxyType(
    {"acp": ("tinytown-acp", "tinytown-adapters"), "cli": ("tinytown-adapters",)}
    | dict.fromkeys(("command", "converter"), ("tinytown-cli",))
    | dict.fromkeys(("service", "sink"), ("tinytown-sinks",))
)
_RECORDINGS = ("answer", "interrupted", "rate_limit", "unauthorized")
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
    release = ".".join(__version__.split(".")[:2])
    identifier = name.replace("-", "_")
    module = f"tinytown_{identifier}"
    words = {
        "name": name,
        "identifier": identifier,
        "module": module,
        "class": "".join(part.capitalize() for part in name.removesuffix(f"-{kind}").split("-")) + kind.capitalize(),
        "kind": kind,
        "subject": "backend" if kind in ("cli", "acp") else kind,
        "summary": KINDS[kind],
        "entry_points": "",
        "dependencies": f'"tinytown-core>={release}"',
        "tinytown": release,
    }
    templates = files("tinytown_testing") / "templates"

    def filled(template: str) -> str:
        return Template((templates / f"{template}.in").read_text(encoding="utf-8")).substitute(words)

    module_text = filled(f"{kind}.py")
    for library, floor in _LIBRARIES.items():
        if f"\nimport {library}\n" in module_text:
            words["dependencies"] += f', "{library}>={floor}"'
    more: dict[str, str] = {}
    for needed in _NEEDED.get(kind, ()):
        words["dependencies"] += f', "{needed}>={release}"'
    if kind in _WITH_SCENARIOS:
        words["entry_points"] = (
            f'\n[project.entry-points."tinytown.scenarios"]\n{name} = "{module}.scenarios:scenarios"\n'
        )
        more[f"{module}/scenarios.py"] = filled(f"scenarios_{kind}.py")
    if kind == "cli":
        more |= {f"{module}/recordings/{each}.jsonl": filled(f"recording_{each}.jsonl") for each in _RECORDINGS}
    if kind == "command":
        words["dependencies"] += ', "click>=8.1.7"'
        words["entry_points"] = (
            f'\n[project.entry-points."tinytown.commands"]\n{name} = "{module}.command:{identifier}"\n'
        )
        more[f"{module}/command.py"] = filled("command_body.py")
    return {
        "pyproject.toml": filled("pyproject.toml"),
        "README.md": filled("README.md"),
        f"{module}/__init__.py": module_text,
        **more,
        f"{module}/py.typed": "",
        ".github/workflows/tests.yml": filled("ci.yml"),
        ".github/workflows/publish.yml": filled("publish.yml"),
        f"tests/test_{identifier}.py": filled(f"test_{kind}.py"),
    }
