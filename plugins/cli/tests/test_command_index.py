from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from tinytown_cli.cache import read_cache, write_cache
from tinytown_cli.command_index import contributions
from tinytown_cli.context import in_clone
from tinytown_testing.installed import install_distribution, install_plugin
from tinytown_testing.shell import Shell

PLUGIN = """\
import click
from tinytown_cli.contracts import Command, Completer
from tinytown.hookspecs import hookimpl
from tinytown_cli.public import TownCommand
TINYTOWN_HOOK_API = 2
@hookimpl
def tinytown_commands():
    return [Command(name, 'Dance ' + name + '.', '{module}_commands:dance', section='Dances') for name in {names}]
@hookimpl
def tinytown_completers():
    return [Completer('styles', '{module}_commands:styles')]
"""
COMMANDS = """\
import click
from tinytown_cli.params import Word
from tinytown_cli.public import TownCommand
@click.command(cls=TownCommand, examples=['tt dance tango'])
@click.argument('style', type=Word('style', 'styles'))
def dance(style):
    click.echo('dancing ' + style)
def styles(ctx):
    return [('tango', 'fast'), ('waltz', 'slow')]
"""


class Site:
    """A directory of installed plugins, and the environment of a command that finds them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.env = {"PYTHONPATH": str(directory), "XDG_CACHE_HOME": str(directory / "cache")}

    def install(self, name: str, *names: str, announced: Collection[str] = ()) -> Path:
        """Install a plugin with commands of these `names`; those `announced` have an entry point."""
        module = f"tinytown_{name}"
        path = install_plugin(self.directory, name, PLUGIN.format(module=module, names=list(names)))
        (self.directory / f"{module}_commands.py").write_text(COMMANDS)
        entries = "".join(f"{command.replace(' ', '.')} = {module}_commands:dance\n" for command in announced)
        groups = f"[tinytown]\n{name} = {module}\n[tinytown.commands]\n{entries}"
        install_distribution(self.directory, f"tinytown-{name}", groups)
        return path


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def completed(tt: Shell, line: str, **env: str) -> list[str]:
    words = line.split(" ")
    env |= {"_TT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return [line.partition(",")[2] for line in tt(env=env).out.splitlines()]


def test_a_command_of_a_plugin_is_listed_completed_and_run(tt: Shell, site: Site) -> None:
    site.install("ballet", "dance", announced=["dance"])
    shown = tt("--help", env=site.env).out
    assert "Dances:\n  dance  Dance dance." in shown
    assert shown.index("Dances:") < shown.index("More:")
    assert tt("dance", "tango", env=site.env).out == "dancing tango\n"
    assert completed(tt, "tt dan", **site.env) == ["dance"]
    assert completed(tt, "tt dance w", **site.env) == ["waltz"]


def test_a_command_of_several_words_is_added_to_its_group(tt: Shell, site: Site) -> None:
    site.install("ballet", "task dance", "backlog dance", announced=["task.dance"])
    assert "  dance     Dance task dance." in tt("task", "--help", env=site.env).out
    assert tt("task", "dance", "tango", env=site.env).out == "dancing tango\n"
    assert tt("backlog", "dance", "tango", env=site.env).out == "dancing tango\n"
    assert "dance" not in tt("--help", env=site.env).out
    assert completed(tt, "tt task dan", **site.env) == ["dance"]
    assert "did you mean dance?" in tt("task", "danec", env=site.env, code=2).err


def test_two_plugins_with_one_command_are_refused_by_name(tt: Shell, site: Site) -> None:
    site.install("ballet", "dance", announced=["dance"])
    site.install("circus", "dance", announced=["dance"])
    refused = tt("dance", "tango", "--json", env=site.env, code=2).error
    assert "'ballet' and 'circus' both add the command 'dance'" in refused["message"]
    assert tt("dance", "tango", env={**site.env, "TINYTOWN_BLOCK": "circus"}).out == "dancing tango\n"


def test_a_blocked_plugin_has_no_commands(tt: Shell, site: Site) -> None:
    site.install("ballet", "dance", announced=["dance"])
    tt("init")
    settings = tt.directory / "tinytown.toml"
    settings.write_text('blocked_plugins = ["ballet"]\n' + settings.read_text())
    assert "blocked or faulty" in tt("dance", "tango", env=site.env, code=2).err
    assert "dance" not in tt("--help", env={**site.env, "TINYTOWN_BLOCK": "ballet"}).out


def test_the_essential_command_wins_over_one_of_a_plugin(tt: Shell, site: Site) -> None:
    site.install("ballet", "version", "task show")
    assert tt("version", env=site.env).out.startswith("tinytown ")
    problems = tt("plugins", "--json", env=site.env).json["problems"]
    for name in ("version", "task show"):
        assert f"plugin 'ballet': the command {name!r} is never run: tt has one of this name" in problems


def test_only_changed_plugins_are_imported_to_rebuild_the_index(tt: Shell, site: Site) -> None:
    path = site.install("ballet", "dance")
    tt("--help", env=site.env)
    os.utime(path, (1, 1))
    tt("--help", env=site.env)
    stamp = path.stat()
    path.write_text("raise RuntimeError\n")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert "  dance" in tt("--help", env=site.env).out
    site.install("ballet", "jump")
    shown = tt("--help", env=site.env).out
    assert "  jump" in shown
    assert "  dance" not in shown


@pytest.mark.parametrize(
    "content", [None, [], {"format": 2, "plugins": 5}, {"format": 2, "state": 1, "plugins": {"a": {}}}]
)
def test_a_corrupt_index_is_rebuilt(tt: Shell, site: Site, content: Any) -> None:
    site.install("ballet", "dance")
    tt("--help", env=site.env)
    (index,) = (site.directory / "cache" / "tinytown").glob("commands-*")
    write_cache(str(index), content)
    assert "  dance" in tt("--help", env=site.env).out
    assert read_cache(str(index))["plugins"]
    index.write_bytes(b"damaged")
    assert "  dance" in tt("--help", env=site.env).out


def test_a_plugin_that_cannot_be_imported_contributes_no_commands(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("ballet", "dance").write_text("raise SystemExit\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert all(command.plugin != "ballet" for command in contributions(()).commands)
    assert contributions(("*",)) == ((), ())
    assert "tinytown_ballet" not in sys.modules


def test_a_plugin_that_cannot_be_imported_is_tried_again_only_once_it_has_changed(tt: Shell, site: Site) -> None:
    path = site.install("ballet", "dance")
    source, tried = path.read_text(), site.directory / "tried"
    path.write_text(f"open({str(tried)!r}, 'a').write('.')\nimport nothing_of_this_name\n")
    for _ in range(3):
        assert "  dance" not in tt("--help", env=site.env).out
    assert tried.read_text() == "."
    path.write_text(source)
    os.utime(path, ns=(1, 1))
    assert "  dance" in tt("--help", env=site.env).out


def test_a_plugin_that_ends_the_process_is_left_out_after_the_second_time(tt: Shell, site: Site) -> None:
    path = site.install("ballet", "dance")
    source = path.read_text()
    path.write_text("import os\nos._exit(3)\n")
    for _ in range(2):
        tt("--help", env=site.env, code=3)
    assert "  status" in tt("--help", env=site.env).out
    path.write_text(source)
    os.utime(path, ns=(1, 1))
    assert "  dance" in tt("--help", env=site.env).out


def test_plugins_of_the_same_name_in_two_environments_are_distinguished(tt: Shell, site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other")
    other.directory.mkdir()
    site.install("ballet", "dance")
    other.install("ballet", "jump")
    assert "  dance" in tt("--help", env=site.env).out
    assert "  jump" in tt("--help", env={**site.env, "PYTHONPATH": other.env["PYTHONPATH"]}).out


def test_a_command_that_is_not_installed_names_its_package(tt: Shell, site: Site) -> None:
    env = {"PYTHONPATH": "", "XDG_CACHE_HOME": site.env["XDG_CACHE_HOME"]}
    program = (
        "import sys, tinytown.entry_points as entry_points; entry_points.installed = lambda group: ()\n"
        "from tinytown_cli.main import run; sys.exit(run(['doctor']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tt.directory, env=tt.variables | env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2,
        f"error: the command 'doctor' is not installed; {in_clone('pip install tinytown-ops')}\n",
    )


def test_what_a_plugin_prints_spoils_no_json(in_town: Shell, site: Site) -> None:
    path = site.install("chatty", "chat", announced=["chat"])
    path.write_text("print('hello from a plugin')\n" + path.read_text())
    commands = path.with_name("tinytown_chatty_commands.py")
    commands.write_text("print('imported')\n" + commands.read_text())
    for words in (("status", "--deep"), ("plugins",), ("spawn", "quiet", "--cli", "shell", "--no-start")):
        answer = in_town(*words, "--json", env=site.env)
        assert isinstance(answer.json, dict)
        assert "hello from a plugin" in answer.err
    assert "Usage: tt chat" in in_town("chat", "--help", "--json", env=site.env).out
