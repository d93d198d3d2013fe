"""The commands and completers that plugins add, known without importing the plugins.

A file in the cache directory keeps each plugin's answers to `tinytown_commands` and `tinytown_completers`. An
answer holds as long as nothing was installed or removed and the files of the modules that it imported are unchanged;
otherwise the plugin is imported and asked again. A plugin that cannot be asked contributes nothing, and ``tt plugins``
says why; that holds until a file of its package has changed or something was installed. Imports only the standard library as
long as all answers hold.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tinytown.entry_points import installation_state, installed

from tinytown_cli.cache import cache_file, read_cache, write_cache

if TYPE_CHECKING:
    from tinytown.entry_points import IndexedEntryPoint

COMMAND_GROUP = "tinytown.commands"

_FORMAT = 2
#: So often a plugin is asked that has not answered before, because the process died.
_ATTEMPTS = 2
_BLOCK_VARIABLE = "TINYTOWN_BLOCK"

#: A plugin's answers as the file has them: ``files`` with their modification times, ``commands`` and ``completers``; ``attempts``
#: is how often it was asked without an answer, 0 with one.
_Record = dict[str, Any]


class PluginCommand(NamedTuple):
    """A command of a plugin. `name` may have several words: ``task why`` hangs below the group ``task``."""

    name: str
    help: str
    target: str
    section: str
    plugin: str
    distribution: str


class PluginCompleter(NamedTuple):
    """A completer of a plugin; `target` is ``module:function``."""

    name: str
    target: str
    plugin: str


class Contributions(NamedTuple):
    """What plugins add to the command line, in the order of their names. Names may occur twice: see `only`."""

    commands: tuple[PluginCommand, ...]
    completers: tuple[PluginCompleter, ...]

    def named(self, name: str) -> tuple[PluginCommand, ...]:
        """The commands of this name: more than one if plugins contend for it."""
        return tuple(command for command in self.commands if command.name == name)

    def below(self, group: str) -> dict[str, PluginCommand]:
        """The commands right below `group` (``task``, or empty for the root), by their last word."""
        prefix = f"{group} " if group else ""
        return {
            word: command
            for command in self.commands
            if command.name.startswith(prefix) and " " not in (word := command.name[len(prefix) :])
        }


def blocked_by_environment() -> set[str]:
    """The plugins that ``TINYTOWN_BLOCK`` names."""
    return {name.strip() for name in os.environ.get(_BLOCK_VARIABLE, "").split(",")} - {""}


def announcing(name: str) -> set[str]:
    """The distributions that announce a command of this name by an entry point."""
    return {entry.distribution for entry in installed(COMMAND_GROUP) if entry.name == name.replace(" ", ".")}


def contributions(blocked: Collection[str], distributions: Collection[str] = ()) -> Contributions:
    """What the installed plugins add, without the `blocked` ones, which are not imported.

    With `distributions` only their plugins are considered, and no other is imported.
    """
    if "*" in blocked:
        return Contributions((), ())
    entries = installed("tinytown")
    names = [entry.name for entry in entries]
    chosen = [
        entry
        for entry in entries
        if entry.name not in blocked
        and names.count(entry.name) == 1
        and (not distributions or entry.distribution in distributions)
    ]
    commands: list[PluginCommand] = []
    completers: list[PluginCompleter] = []
    for entry, record in zip(chosen, _records(chosen), strict=True):
        for name, text, target, section in record["commands"]:
            commands.append(PluginCommand(name, text, target, section, entry.name, entry.distribution))
        for name, target in record["completers"]:
            completers.append(PluginCompleter(name, target, entry.name))
    return Contributions(tuple(commands), tuple(completers))


def _records(entries: Sequence[IndexedEntryPoint]) -> list[_Record]:
    """The answers of these plugins, from the file where they still hold."""
    path, state = cache_file("commands"), installation_state()
    kept = _read(path, state)

    def keep() -> None:
        if path:
            write_cache(path, {"format": _FORMAT, "state": state, "plugins": kept})

    asked = False
    for entry in entries:
        key = _key(entry)
        known = kept.get(key)
        if known and any(_changed_ns(path) != changed_ns for path, changed_ns in known["files"]):
            known = None
        attempts = known["attempts"] if known else 0
        if known and attempts not in range(1, _ATTEMPTS):
            continue
        # First as if it did not answer: its import may end the process, this time and each time.
        kept[key] = _nothing(entry, attempts + 1)
        keep()
        try:
            kept[key] = _ask(entry)
        except KeyboardInterrupt:
            del kept[key]
            keep()
            raise
        asked = True
    if asked:
        keep()
    return [kept[_key(entry)] for entry in entries]


def _read(path: str | None, state: int) -> dict[str, _Record]:
    """The answers in the file; none unless it is whole, of this format and of this state of the installation."""
    content = read_cache(path) if path else None
    try:
        if content is None or content["format"] != _FORMAT or content["state"] != state:
            return {}
        for record in content["plugins"].values():
            _ = [(path, changed_ns) for path, changed_ns in record["files"]]
            _ = [(name, text, target, section) for name, text, target, section in record["commands"]]
            _ = [(name, target) for name, target in record["completers"]]
            _ = record["attempts"] + 1
        return dict(content["plugins"])
    except (TypeError, ValueError, LookupError, AttributeError):
        return {}


def _key(entry: IndexedEntryPoint) -> str:
    return f"{entry.distribution} {entry.name} {entry.value}"


def _ask(entry: IndexedEntryPoint) -> _Record:
    """Import the plugin and ask it. What it raises means that it contributes nothing."""
    from tinytown.plugin import load_plugin

    from tinytown_cli.contracts import Command, Completer

    try:
        plugin = load_plugin(entry)
        commands = [
            [item.name, item.help, item.target, item.section]
            for item in _flat(plugin.call("tinytown_commands", {}))
            if isinstance(item, Command)
        ]
        completers = [
            [item.name, item.target]
            for item in _flat(plugin.call("tinytown_completers", {}))
            if isinstance(item, Completer)
        ]
    except KeyboardInterrupt:
        raise
    except BaseException:  # a plugin may raise anything; `tt plugins` shows it
        return _nothing(entry, 0)
    fields: list[object] = [field for answer in (*commands, *completers) for field in answer]
    if not all(isinstance(field, str) for field in fields):
        return _nothing(entry, 0)
    files = _with_times(_imported(entry.value.partition(":")[0]))
    return {"files": files, "commands": commands, "completers": completers, "attempts": 0}


def _nothing(entry: IndexedEntryPoint, attempts: int) -> _Record:
    """The record of a plugin that adds nothing: it holds while its package, and what is installed, are as they are."""
    from contextlib import suppress
    from importlib.util import find_spec
    from pathlib import Path

    paths = [path for path in sys.path if path.endswith("-packages")]  # what it needs may be installed later
    spec = None
    with suppress(ImportError, ValueError):
        spec = find_spec(entry.value.partition(":")[0].partition(".")[0].strip())
    if spec and spec.origin:
        paths.append(spec.origin)
        paths += [str(path) for place in spec.submodule_search_locations or () for path in Path(place).rglob("*.py")]
    return {"files": _with_times(paths), "commands": [], "completers": [], "attempts": attempts}


def _imported(module: str) -> list[str]:
    """The files of what is imported of the top-level package of `module`."""
    package = module.partition(".")[0]
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == package]
    return [path for module in modules if (path := getattr(module, "__file__", None))]


def _with_times(paths: Iterable[str]) -> list[list[Any]]:
    """The files, each once, with their modification times."""
    return [[path, _changed_ns(path)] for path in sorted(set(paths))]


def _flat(answers: Iterable[Iterable[Any]]) -> Iterable[Any]:
    return (item for answer in answers for item in answer)


def _changed_ns(path: str) -> int:
    """When the file changed last; 0 if there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
