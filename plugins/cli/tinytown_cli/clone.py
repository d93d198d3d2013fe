"""Hints of pip for people who work from a clone: what they name by its distribution may be on no index.

Source: PEP 610, ``direct_url.json``, where pip notes the directory that it has installed a distribution from.
"""

from __future__ import annotations

import re
import shlex

_HINT = re.compile(r"pip install tinytown-(\w+)")


def name_directories(text: str) -> str:
    """The text with the directories in the clone in place of the names of our distributions, if there is a clone."""
    import json
    from importlib import metadata
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    try:
        noted: dict[str, str] = json.loads(metadata.distribution("tinytown-core").read_text("direct_url.json") or "{}")
        origin = urlsplit(noted["url"])
    except (metadata.PackageNotFoundError, ValueError, KeyError, TypeError, OSError):
        return text
    clone = Path(unquote(origin.path)).parent

    def named(found: re.Match[str]) -> str:
        directory = clone / "plugins" / found[1]
        is_there = origin.scheme == "file" and (directory / "pyproject.toml").is_file()
        return f"pip install {shlex.quote(str(directory))}" if is_there else found[0]

    return _HINT.sub(named, text)
