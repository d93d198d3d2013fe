"""The commands and completers that plugins add, known without importing the plugins.

A file in the cache directory keeps each plugin's answers to `tinytown_commands` and `tinytown_completers`. An
answer holds as long as nothing was installed or removed and the files of the modules that it imported are unchanged;
otherwise the plugin is imported and asked again. A plugin that cannot be asked contributes nothing, and ``tt plugins``
says why. Imports only the standard library as long as all answers hold.
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

_FORMAT = 1
_BLOCK_VARIABLE = "TINYTOWN_BLOCK"

#: A plugin's answers as the file has them: ``files`` with their modification times, ``commands`` and ``completers``.
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
    records = {_key(entry): kept.get(_key(entry)) for entry in entries}
    fresh: dict[str, _Record] = {}
    for entry in entries:
        record = records[_key(entry)]
        if record is None or any(_changed_ns(path) != changed_ns for path, changed_ns in record["files"]):
            answer = _ask(entry)
            records[_key(entry)] = answer
            if answer["files"]:
                fresh[_key(entry)] = answer
    if path and fresh:
        write_cache(path, {"format": _FORMAT, "state": state, "plugins": kept | fresh})
    return [record for entry in entries if (record := records[_key(entry)]) is not None]


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
        return dict(content["plugins"])
    except (TypeError, ValueError, LookupError, AttributeError):
        return {}


def _key(entry: IndexedEntryPoint) -> str:
    return f"{entry.distribution} {entry.name} {entry.value}"


def _ask(entry: IndexedEntryPoint) -> _Record:
    """Import the plugin and ask it. What it raises means that it contributes nothing."""
    from tinytown.plugin import load_plugin

    from tinytown_cli.contracts import Command, Completer

    nothing: _Record = {"files": [], "commands": [], "completers": []}
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
        return nothing
    fields: list[object] = [field for answer in (*commands, *completers) for field in answer]
    if not all(isinstance(field, str) for field in fields):
        return nothing
    return {"files": _files(entry.value.partition(":")[0]), "commands": commands, "completers": completers}


def _files(module: str) -> list[list[Any]]:
    """The files of what is imported of the top-level package of `module`, with their modification times."""
    package = module.partition(".")[0]
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == package]
    paths = sorted({path for module in modules if (path := getattr(module, "__file__", None))})
    return [[path, _changed_ns(path)] for path in paths]


def _flat(answers: Iterable[Iterable[Any]]) -> Iterable[Any]:
    return (item for answer in answers for item in answer)


def _changed_ns(path: str) -> int:
    """When the file changed last; 0 if there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
