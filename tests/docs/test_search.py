"""The search of the manual finds the page that a user looks for by the word that they would type."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("myst_parser")

DOCS = Path(__file__).parents[2] / "docs"
#: What is typed, in the stem that the index has of it, and the page that is wanted.
WANTED = {
    "install"[:-1]: "install",
    "upgrad": "install",
    "start": "getting-started",
    "worktre": "worktrees",
    "notif": "notifications",
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The index that the search of a site of these pages reads. Source: sphinx, searchindex.js."""
    site = tmp_path_factory.mktemp("site")
    pages = ",".join(f"{page}.md" for page in ("index", *WANTED.values()))
    settings = ["-D", f"include_patterns={pages}", "-D", "html_theme=basic"]
    build = [sys.executable, "-m", "sphinx", "--quiet", "--builder", "html", *settings, str(DOCS), str(site)]
    subprocess.run(build, check=True, capture_output=True, timeout=200)
    found = re.fullmatch(r"Search\.setIndex\((.*)\)", (site / "searchindex.js").read_text().strip(), re.DOTALL)
    assert found is not None
    read: dict[str, Any] = json.loads(found[1])
    return read


@pytest.mark.parametrize("stem", WANTED)
def test_a_word_is_in_a_title_of_the_page_that_is_wanted(index: dict[str, Any], stem: str) -> None:
    numbers = index["titleterms"].get(stem, [])
    pages = {index["docnames"][number] for number in ([numbers] if isinstance(numbers, int) else numbers)}
    assert WANTED[stem] in pages, f"{stem}: {sorted(pages)}"


def test_getting_started_is_the_first_page_of_the_manual() -> None:
    text = (DOCS / "index.md").read_text()
    assert re.search(r"\{toctree\}\n(?::.*\n)*\n(\S+)", text)[1] == "getting-started"  # type: ignore[index]
    assert text.index("(getting-started.md)") < text.index("\n## ")
