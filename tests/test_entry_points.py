"""The index of installed entry points: what it notices, and what it does with a cache that cannot be used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tinytown import entry_points as index
from tinytown.entry_points import IndexedEntryPoint, installed

GROUP = "tinytown.commands"


class Site:
    """A directory on the path with installed distributions, and the cache of the index."""

    def __init__(self, directory: Path, cache: Path) -> None:
        self.directory = directory
        self.cache = cache

    def install(self, name: str, version: str = "1.0", entry_points: str = "") -> Path:
        metadata = self.directory / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (metadata / "entry_points.txt").write_text(entry_points or f"[{GROUP}]\n{name} = {name}_module:run\n")
        return metadata

    def settle(self) -> None:
        """Make everything look as if it had been installed an hour ago."""
        an_hour_ago = time.time() - 3600
        for path in [*self.directory.rglob("*"), self.directory]:
            os.utime(path, (an_hour_ago, an_hour_ago))

    def found(self) -> list[str]:
        return [f"{entry.name} {entry.version}" for entry in installed(GROUP)]

    @property
    def file(self) -> Path:
        (path,) = (self.cache / "tinytown").iterdir()
        return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    directory = tmp_path / "site-packages"
    directory.mkdir()
    monkeypatch.setattr(sys, "path", [str(directory)])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Site(directory, tmp_path / "cache")


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The directories that were scanned."""
    scanned: list[str] = []
    scan = index._scan
    monkeypatch.setattr(index, "_scan", lambda directory: (scanned.append(directory), scan(directory))[1])
    return scanned


def test_an_entry_point_has_its_name_value_distribution_and_version(site: Site) -> None:
    site.install("tinytown-greet", "2.1", "[tinytown]\ngreet = tinytown_greet\n[console_scripts]\ngreet = a:b\n")
    assert installed("tinytown") == (IndexedEntryPoint("greet", "tinytown_greet", "tinytown-greet", "2.1"),)
    assert installed("console_scripts") == ()


def test_an_entry_point_loads_what_it_names() -> None:
    assert IndexedEntryPoint("a", "os.path:join", "", "").load() is os.path.join
    assert IndexedEntryPoint("a", "json", "", "").load() is json
    with pytest.raises(AttributeError):
        IndexedEntryPoint("a", "json:missing", "", "").load()


def test_a_settled_directory_is_scanned_once(site: Site, scans: list[str]) -> None:
    site.install("greet")
    site.settle()
    assert [site.found() for _ in range(3)] == [["greet 1.0"]] * 3
    assert scans == [str(site.directory)]


def test_the_hot_path_imports_neither_the_plugins_nor_importlib_metadata(site: Site) -> None:
    site.install("greet")
    site.settle()
    program = (
        f"import sys; sys.path.insert(0, {str(site.directory)!r})\n"
        "from tinytown.entry_points import installed\n"
        f"print([entry.name for entry in installed({GROUP!r}) if entry.name == 'greet'])\n"
        "print('importlib.metadata' in sys.modules)"
    )
    last = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout
        for _ in range(2)
    ][1]
    assert last.split("\n")[0] == "['greet']"
    assert "True" not in last or not _is_settled(), "nothing has changed, so nothing is scanned"


def _is_settled() -> bool:
    """Whether this Python's own directories have been left alone for a while."""
    return all(time.time_ns() - index._changed_ns(entry) > 3_000_000_000 for entry in sys.path)


def test_installing_upgrading_and_removing_is_noticed(site: Site) -> None:
    site.install("greet")
    site.settle()
    assert site.found() == ["greet 1.0"]
    site.install("wave")
    assert site.found() == ["greet 1.0", "wave 1.0"]
    shutil.rmtree(site.directory / "greet-1.0.dist-info")
    site.install("greet", "1.1")
    assert site.found() == ["greet 1.1", "wave 1.0"]
    shutil.rmtree(site.directory / "wave-1.0.dist-info")
    assert site.found() == ["greet 1.1"]


def test_a_change_within_the_same_tick_of_the_clock_is_noticed(site: Site) -> None:
    site.install("greet")
    changed_ns = site.directory.stat().st_mtime_ns
    assert site.found() == ["greet 1.0"]
    site.install("wave")
    os.utime(site.directory, ns=(changed_ns, changed_ns))
    assert site.found() == ["greet 1.0", "wave 1.0"]


def test_a_file_of_entry_points_that_is_rewritten_in_place_is_noticed(site: Site) -> None:
    metadata = site.install("greet")
    site.settle()
    assert site.found() == ["greet 1.0"]
    changed_ns = site.directory.stat().st_mtime_ns
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\nwave = greet_module:wave\n")
    os.utime(site.directory, ns=(changed_ns, changed_ns))
    assert site.found() == ["wave 1.0"]


def test_a_changed_directory_costs_no_other_one_its_scan(
    site: Site, scans: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("greet")
    site.settle()
    current = tmp_path / "current"
    current.mkdir()
    monkeypatch.setattr(sys, "path", [str(current), str(site.directory)])
    site.found()
    (current / "notes.txt").write_text("")
    scans.clear()
    assert site.found() == ["greet 1.0"]
    assert scans == [str(current)]


def test_of_a_distribution_that_is_installed_twice_the_first_on_the_path_counts(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("greet", "2.0")
    second = Site(tmp_path / "second", site.cache)
    second.directory.mkdir()
    second.install("Greet", "1.0")
    monkeypatch.setattr(sys, "path", [str(site.directory), str(second.directory)])
    assert site.found() == ["greet 2.0"]


def test_the_file_is_private_and_written_as_a_whole(site: Site) -> None:
    site.install("greet")
    site.found()
    assert site.file.stat().st_mode & 0o777 == 0o600
    assert site.file.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not JSON",
        "[]",
        '{"format": 1}',
        '{"format": 1, "executable": "%", "directories": {"%": {}}}',
        "[" * 100_000,
    ],
)
def test_a_corrupt_file_is_replaced(site: Site, content: str) -> None:
    site.install("greet")
    site.settle()
    site.found()
    site.file.write_text(content.replace("%", sys.executable))
    assert site.found() == ["greet 1.0"]
    assert json.loads(site.file.read_text())["executable"] == sys.executable


@pytest.mark.parametrize("changed", ["format", "executable"])
def test_a_file_of_another_format_or_python_is_not_believed(site: Site, changed: str) -> None:
    site.install("greet")
    site.settle()
    site.found()
    content = json.loads(site.file.read_text())
    content["directories"][str(site.directory)]["entries"] = []
    site.file.write_text(json.dumps(content | {changed: "other"}))
    assert site.found() == ["greet 1.0"]


def _forge(site: Site) -> None:
    """Have the file say that a different command is installed."""
    site.install("greet")
    site.settle()
    site.found()
    content = json.loads(site.file.read_text())
    content["directories"][str(site.directory)]["entries"][0][1] = "forged"
    site.file.write_text(json.dumps(content))
    assert site.found() == ["forged 1.0"]


def test_a_file_that_others_may_write_is_not_read(site: Site) -> None:
    _forge(site)
    site.file.chmod(0o666)
    assert site.found() == ["greet 1.0"]


def test_a_file_of_another_user_is_not_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    _forge(site)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert site.found() == ["greet 1.0"]


def test_a_link_in_place_of_the_file_is_not_followed(site: Site, tmp_path: Path) -> None:
    _forge(site)
    moved = site.file.rename(tmp_path / "elsewhere.json")
    (site.cache / "tinytown" / moved.name).symlink_to(moved)
    os.rename(site.cache / "tinytown" / moved.name, index.cache_file("entry-points") or "")
    assert site.found() == ["greet 1.0"]


def test_a_cache_that_cannot_be_written_does_no_harm(site: Site) -> None:
    site.install("greet")
    site.cache.write_text("no directory")
    assert site.found() == ["greet 1.0"]
    assert site.cache.read_text() == "no directory"


def test_a_read_only_cache_leaves_nothing_behind(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    site.install("greet")
    monkeypatch.setattr(os, "replace", refuse)
    assert site.found() == ["greet 1.0"]
    assert list((site.cache / "tinytown").iterdir()) == []


def test_without_a_home_directory_nothing_is_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("greet")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert site.found() == ["greet 1.0"]
    assert not site.cache.exists()


def test_a_relative_cache_directory_is_ignored(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    site.install("greet")
    assert site.found() == ["greet 1.0"]
    assert (tmp_path / "home" / ".cache" / "tinytown").is_dir()


def test_metadata_that_cannot_be_read_hides_nothing_else(site: Site) -> None:
    site.install("greet")
    broken = site.install("broken")
    (broken / "METADATA").unlink()
    (broken / "METADATA").mkdir()
    assert site.found() == ["greet 1.0"]


def test_several_processes_may_rebuild_it_at_once(site: Site) -> None:
    site.install("greet")
    program = (
        f"import sys; sys.path.insert(0, {str(site.directory)!r})\n"
        "from tinytown.entry_points import installed\n"
        f"print(sum(entry.name == 'greet' for entry in installed({GROUP!r})))"
    )
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == ["1"] * 4
    assert site.file.stat().st_size > 0
