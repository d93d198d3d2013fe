"""Plugins that are files of the town's project, ``plugins/*.py``: for people who want no package.

Whoever may write in the project could write one, so a file is loaded only if a person has trusted it, and only as it was then.
"""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from tinytown.entry_points import IndexedEntryPoint
from tinytown.errors import NotFound, PluginRefused, UsageError
from tinytown.files import replace_file
from tinytown.state import open_state, state_directory

_DIRECTORY = "plugins"
_TRUSTED = "trusted-plugins.json"


class TrustedFile(IndexedEntryPoint):
    """A file of the project as an entry point: `value` is its path, `version` the digest that was trusted."""

    def load(self) -> Any:
        """Its module. Raises: PluginRefused if it is not what was trusted; whatever running it raises."""
        raw = _read(Path(self.value))
        if _digest(raw) != self.version:
            raise PluginRefused(
                f"{self.distribution} was changed since it was trusted",
                hint=f"read it, then tt plugins --trust {self.value}",
            )
        module = ModuleType(f"project_plugin_{self.name}")
        module.__file__ = self.value
        sys.modules[module.__name__] = module
        exec(compile(raw, self.value, "exec"), module.__dict__)
        return module


def trusted_files(root: Path) -> tuple[TrustedFile, ...]:
    """The files that were trusted for the town at `root`, by name."""
    digests: dict[str, str] = {}
    with suppress(OSError, msgspec.MsgspecError):
        digests = msgspec.json.decode((state_directory(root) / _TRUSTED).read_bytes(), type=dict[str, str])
    return tuple(
        TrustedFile(Path(name).stem, str(root / _DIRECTORY / name), f"{_DIRECTORY}/{name}", digest)
        for name, digest in sorted(digests.items())
    )


def trust_file(root: Path, path: Path, *, trusted: bool = True) -> str:
    """Trust a file as it is now, or no more; its digest. Raises: UsageError for one that is not directly in ``plugins/``."""
    if path.resolve().parent != (root / _DIRECTORY).resolve() or path.suffix != ".py" or not path.stem.isidentifier():
        raise UsageError(f"expected a file {root / _DIRECTORY}/NAME.py, got {path}")
    digest = _digest(_read(path)) if trusted else ""
    digests = {Path(file.value).name: file.version for file in trusted_files(root)} | {path.name: digest}
    kept = {name: digest for name, digest in digests.items() if digest}
    replace_file(open_state(root) / _TRUSTED, msgspec.json.encode(kept))
    return digest


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(f"cannot read the plugin {path}: {error.strerror}") from error


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
