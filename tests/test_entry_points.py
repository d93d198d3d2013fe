"""Installed entry points, as they are found without `importlib.metadata`: what is read, and what hides nothing else."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tinytown.entry_points import IndexedEntryPoint, installation_state, installed
from tinytown_testing.installed import install_distribution

GROUP = "tinytown.commands"


class Site:
    """A directory on the path with installed distributions."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def install(self, name: str, version: str = "1.0", entry_points: str = "") -> Path:
        groups = entry_points or f"[{GROUP}]\n{name} = {name}_module:run\n"
        return install_distribution(self.directory, name, groups, version=version)

    def found(self) -> list[str]:
        return [f"{entry.name} {entry.version}" for entry in installed(GROUP)]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    directory = tmp_path / "site-packages"
    directory.mkdir()
    monkeypatch.setattr(sys, "path", [str(directory)])
    return Site(directory)


def test_an_entry_point_has_its_name_value_distribution_and_version(site: Site) -> None:
    site.install("tinytown-greet", "2.1", "[tinytown]\ngreet = tinytown_greet\n[console_scripts]\ngreet = a:b\n")
    assert installed("tinytown") == (IndexedEntryPoint("greet", "tinytown_greet", "tinytown-greet", "2.1"),)
    assert installed("tinytown.other") == ()


def test_an_entry_point_loads_what_it_names() -> None:
    assert IndexedEntryPoint("a", "os.path:join", "", "").load() is os.path.join
    assert IndexedEntryPoint("a", "json", "", "").load() is json
    with pytest.raises(AttributeError):
        IndexedEntryPoint("a", "json:missing", "", "").load()


@pytest.mark.parametrize("group", ["tinytown", GROUP, "tinytown.hookspecs", "tinytown.servers", "tinytown.programs"])
def test_what_is_installed_here_is_what_importlib_metadata_finds(group: str) -> None:
    known = {(entry.name, entry.value) for entry in importlib.metadata.entry_points(group=group)}
    assert {(entry.name, entry.value) for entry in installed(group)} == known


def test_comments_and_white_space_in_the_file_are_no_entries(site: Site) -> None:
    site.install(
        "greet", entry_points=f"# tinytown\n[{GROUP}]\n; wave = a:b\n  greet=greet_module:run \n\n[other]\nx = y\n"
    )
    assert installed(GROUP) == (IndexedEntryPoint("greet", "greet_module:run", "greet", "1.0"),)


def test_importlib_metadata_is_not_imported(site: Site) -> None:
    site.install("greet")
    program = (
        f"import sys; sys.path.insert(0, {str(site.directory)!r}); before = {{*sys.modules}}\n"
        "from tinytown.entry_points import installed\n"
        f"print([entry.name for entry in installed({GROUP!r}) if entry.name == 'greet'])\n"
        "print('importlib.metadata' in {*sys.modules} - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "['greet']\nFalse\n"


def test_installing_upgrading_and_removing_is_noticed(site: Site) -> None:
    states = {installation_state()}
    site.install("greet")
    states.add(installation_state())
    assert site.found() == ["greet 1.0"]
    site.install("wave")
    states.add(installation_state())
    assert site.found() == ["greet 1.0", "wave 1.0"]
    shutil.rmtree(site.directory / "greet-1.0.dist-info")
    site.install("greet", "1.1")
    states.add(installation_state())
    assert site.found() == ["greet 1.1", "wave 1.0"]
    shutil.rmtree(site.directory / "wave-1.0.dist-info")
    assert site.found() == ["greet 1.1"]
    assert len(states) == 4


def test_a_distribution_that_is_installed_again_is_another_state(site: Site) -> None:
    metadata = site.install("greet")
    before = installation_state()
    os.utime(metadata / "entry_points.txt", (1, 1))
    assert installation_state() != before


def test_of_a_distribution_that_is_installed_twice_the_first_on_the_path_counts(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("greet", "2.0")
    second = Site(tmp_path / "second")
    second.directory.mkdir()
    second.install("Greet", "1.0")
    monkeypatch.setattr(sys, "path", [str(site.directory), str(second.directory)])
    assert site.found() == ["greet 2.0"]


def test_metadata_that_cannot_be_read_hides_nothing_else(site: Site) -> None:
    site.install("greet")
    broken = site.install("broken")
    (broken / "METADATA").unlink()
    (broken / "METADATA").mkdir()
    assert site.found() == ["greet 1.0"]


def test_bytes_that_are_no_text_hide_nothing_else(site: Site) -> None:
    site.install("greet")
    (site.install("broken") / "entry_points.txt").write_bytes(b"[tinytown.commands]\nx = \xff\n")
    assert site.found() == ["greet 1.0"]
