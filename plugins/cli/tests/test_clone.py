"""Hints of pip name the directory of the clone that Tinytown was installed from, where there is one."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
from tinytown_cli.context import in_clone


class Installed:
    """A distribution that pip has installed from this URL, or from an index."""

    def __init__(self, url: str | None) -> None:
        self.url = url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.url and json.dumps({"url": self.url, "dir_info": {}})


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    directory = tmp_path / "a clone"
    (directory / "plugins" / "ops").mkdir(parents=True)
    (directory / "plugins" / "ops" / "pyproject.toml").touch()
    return directory


def test_what_is_in_the_clone_is_named_by_its_directory(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed((clone / "core").as_uri()))
    assert in_clone("x; pip install tinytown-ops") == f"x; pip install '{clone}/plugins/ops'"
    assert in_clone("pip install tinytown-gone, or not") == "pip install tinytown-gone, or not"
    assert in_clone("pip install trio") == "pip install trio"


@pytest.mark.parametrize("url", [None, "https://example.org/core.whl", "not a url"])
def test_elsewhere_the_name_of_the_distribution_remains(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(url))
    assert in_clone("pip install tinytown-ops") == "pip install tinytown-ops"
