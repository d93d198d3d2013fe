"""The code of a rig beside its tasks: a clone of the repository that the old town has of it. The old town is only read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Literal, TypeAlias

from tinytown.errors import Refused
from tinytown.model.text import shown

#: ``clone``: a repository of its own; ``link``: one that borrows the objects of the old town's, which has to stay.
CodeChoice: TypeAlias = Literal["clone", "link", "none"]

#: Where a rig has its repository, the most complete one first.
_PLACES = (".repo.git", "mayor/rig", "refinery/rig")
_CLONE_S = 1_800.0


def find_repository(root: Path, rig: str) -> Path | None:
    """The repository of a rig of the town at `root`; None if there is none in it."""
    for name in _PLACES:
        place = root / rig / name
        inside = place.resolve().is_relative_to(root)
        if inside and ((place / ".git").exists() or (place / "HEAD").is_file()):
            return place
    return None


def bring_code(source: Path, into: Path, how: CodeChoice, *, branch: str = "", origin: str = "") -> None:
    """Clone `source` to the new directory `into`, on `branch` if it has that, with `origin` as its remote.

    Raises: Refused with git's last words; then there is nothing at `into`.
    """
    on_branch = ["--branch", branch] if branch and _has_branch(source, branch) else []
    shared = ["--shared"] if how == "link" else []
    into.parent.mkdir(parents=True, exist_ok=True)
    _git("clone", "--quiet", "--no-recurse-submodules", *shared, *on_branch, "--", str(source), str(into))
    if origin:
        _git("-C", str(into), "remote", "set-url", "origin", origin)


def _has_branch(source: Path, branch: str) -> bool:
    try:
        _git("-C", str(source), "show-ref", "--verify", "--quiet", f"refs/heads/{branch}")
    except Refused:
        return False
    return True


def _git(*words: str) -> None:
    # Neither hooks of templates nor what ties git to another repository.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "init.templateDir=", *words]
    try:
        ended = subprocess.run(
            command,
            env={**variables, "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_CLONE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"git cannot be run: {error}", hint="install git, or leave the code out: --code none") from error
    if ended.returncode:
        *_, last = ended.stderr.strip().splitlines() or ["no output"]
        raise Refused(f"git {words[0]} failed: {shown(last, 300)}", hint="leave the code out: --code none")
