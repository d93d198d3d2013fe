"""The place where the demo happens: a fresh directory with a git repository and a town in it.

Nothing that exists is overwritten: the directory is new or empty. Knows nothing of what will happen there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tinytown.config import CONFIG_FILE, Config, load_user_config
from tinytown.errors import BackendUnavailable, NotFound, Refused, TinytownError, UsageError
from tinytown.model.text import shown
from tinytown.plugin import survey_plugins

from tinytown_demo.plan import PLAN
from tinytown_demo.repository import commit, make_repository

TOWN = "wordcount"
_DIRECTORY = "tinytown-demo"

_README = """\
A small tool that counts words, made by the agents of `tt demo`. DESIGN.md says what it does.

    python -m unittest discover -s tests
    python -m wordcount --top 10 DESIGN.md
"""

_IGNORED = "__pycache__/\n.tt/\n"

_SETTINGS = """\
# The town of `tt demo`. Its rounds are short, and so is its patience with them.
name = "{name}"
default_cli = {default}
drain_s = 2.0

# The server is the town's own, whatever your other towns use.
[redis]

[round]
timeout_s = {timeout_s}
grace_s = 1.0
retry_delay_s = 0.5
"""

_SCRIPTED = """
[agent_clis.{kind}]
command = [{command}]
env = {{ PYTHONDONTWRITEBYTECODE = "1" }}
"""


@dataclass(frozen=True)
class Stage:
    """The `root` of the demo's town; ``is_new`` says that the directory was made for it."""

    root: Path
    is_new: bool

    def clear(self) -> None:
        """Take away a stage on which nothing has happened."""
        for path in self.root.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if self.is_new:
            self.root.rmdir()


def check_kinds(cli: str | None) -> None:
    """See that the demo's agents can be run here, as `cli` or, without one, scripted.

    Raises: NotFound with the kinds that there are; UsageError for a kind that takes a task's text for a command;
    BackendUnavailable where the plugin for scripted agents is missing.
    """
    user = load_user_config()
    config = Config(name=TOWN, agent_clis=user.agent_clis, plugins=user.plugins)
    kinds = sorted(survey_plugins(config, Path.cwd()).backends)
    if cli is None:
        if "shell" not in kinds:
            raise BackendUnavailable(
                "the scripted agents of the demo are commands, and no plugin here runs commands",
                hint="pip install tinytown-shell",
            )
    elif cli not in kinds:
        raise NotFound(
            f"no kind of agent called {shown(cli)!r}; here are: {', '.join(kinds) or 'none'}",
            hint="leave out --cli for scripted agents; tt plugins lists more",
            code="unknown_kind",
            kinds=kinds,
        )
    elif cli == "shell" and not user.plugins.get("shell", {}).get("command"):
        raise UsageError(
            "expected a kind of agent that understands prose; 'shell' would run the text of its task as a command",
            hint="leave out --cli for scripted agents",
        )


def make_stage(wanted: Path | None, *, cli: str | None, round_timeout_s: float) -> Stage:
    """A new town in a new repository, in the directory `wanted` or else in a new one below the current.

    Raises: Refused when `wanted` is there and not empty; TinytownError when it cannot be made, or git fails.
    """
    try:
        stage = _fresh(wanted) if wanted is not None else _first_free(Path.cwd())
    except OSError as error:
        raise TinytownError(
            f"cannot make the directory {error.filename}: {error.strerror}", hint="choose another with --dir"
        ) from error
    try:
        root = stage.root
        make_repository(root)
        (root / "README.md").write_text(_README, encoding="utf-8")
        (root / ".gitignore").write_text(_IGNORED, encoding="utf-8")
        (root / CONFIG_FILE).write_text(settings_text(cli, round_timeout_s), encoding="utf-8")
        commit(root, "An empty project and its town", ("README.md", ".gitignore", CONFIG_FILE))
    except BaseException:
        stage.clear()
        raise
    return stage


def settings_text(cli: str | None, round_timeout_s: float) -> str:
    """The town's settings: all agents of the kind `cli`, or scripted ones, a kind for each."""
    # The strings of JSON are strings of TOML too.
    text = _SETTINGS.format(name=TOWN, default=json.dumps(cli or "shell"), timeout_s=round_timeout_s)
    if cli is None:
        for part in PLAN:
            command = (sys.executable, "-m", "tinytown_demo.actor", part.agent)
            text += _SCRIPTED.format(
                kind=part.agent, command=", ".join(json.dumps(word, ensure_ascii=False) for word in command)
            )
    return text


def _fresh(wanted: Path) -> Stage:
    root, is_new = wanted.absolute(), not os.path.lexists(wanted)
    if not is_new and not (root.is_dir() and not any(root.iterdir())):
        raise Refused(
            f"expected a new or empty directory for the demo, got {shown(str(root), 200)}",
            hint="choose another with --dir",
            code="exists",
        )
    root.mkdir(parents=True, exist_ok=True)
    return Stage(root.resolve(), is_new)


def _first_free(parent: Path) -> Stage:
    for number in count(1):
        root = parent.resolve() / (_DIRECTORY if number == 1 else f"{_DIRECTORY}-{number}")
        with contextlib.suppress(FileExistsError):
            root.mkdir()
            return Stage(root, is_new=True)
    raise AssertionError("there is always a next number")
