"""How the manual is built: Markdown through MyST, one theme, nothing loaded from the network.

`nox -s docs` builds it with warnings as errors, so a link to a page, a heading or a file that is not there fails. The API
reference is written from the sources first, into `reference/api`.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import api_reference  # noqa: E402 - from this directory

api_reference.write(ROOT, ROOT / "docs" / "reference" / "api")

project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"].capitalize()
author = "Tinytown contributors"
project_copyright = f"2026, {author}"

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

html_theme = "furo"
html_title = project
html_show_sphinx = False
html_copy_source = False
