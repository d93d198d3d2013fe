"""One plugin: found by its entry point, imported, checked against the rules, and called alone.

Knows hooks by name and arguments, not what their answers mean. Finding reads the index of entry points only, so that a
blocked plugin is never imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec
import pluggy

from tinytown import hookspecs
from tinytown.entry_points import IndexedEntryPoint, installed
from tinytown.errors import PluginRefused
from tinytown.hookspecs import ENTRY_POINT_GROUP, HOOK_API, PROJECT

#: Names of plugins that are not even imported, separated by commas; ``*`` means all. Adds to ``blocked_plugins``.
BLOCK_VARIABLE = "TINYTOWN_BLOCK"

Status = Literal["active", "blocked", "refused", "faulty", "missing"]

_CHANGES = "see docs/reference/plugins.md, section 'What changed in API 2'"

#: Every hook and the names of its arguments.
HOOKS: Mapping[str, tuple[str, ...]] = {
    name: tuple(inspect.signature(spec).parameters)
    for name, spec in vars(hookspecs).items()
    if name.startswith(f"{PROJECT}_")
}


#: The hooks whose first answer counts.
_FIRST_ANSWER = {hook for hook in HOOKS if vars(hookspecs)[hook].tinytown_spec["firstresult"]}


class PluginReport(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin as people see it.

    ``status``: ``active``; ``blocked`` by the user, never imported; ``refused`` for breaking a rule; ``faulty`` since
    something of it failed; ``missing`` though the configuration names it. ``reason`` is one line. ``contributions`` has
    the names of its objects by kind: ``{"backends": ("echo",)}``.
    """

    name: str
    distribution: str
    version: str
    status: Status
    reason: str = ""
    hooks: tuple[str, ...] = ()
    contributions: dict[str, tuple[str, ...]] = {}


@dataclass(slots=True, eq=False)
class Plugin:
    """One plugin and how it is doing. `manager` knows it alone; without one, none of its hooks may be called.

    `ranks` has its hooks and when each is to be called: -1 for ``tryfirst``, 1 for ``trylast``, 0 for neither;
    `arguments` has which arguments each names.
    """

    name: str
    distribution: str = ""
    version: str = ""
    entry_point: IndexedEntryPoint | None = None
    status: Status = "active"
    reason: str = ""
    manager: pluggy.PluginManager | None = None
    ranks: dict[str, int] = field(default_factory=dict[str, int])
    arguments: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    contributions: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    @property
    def source(self) -> str:
        """The distribution and its version, as far as known."""
        return f"{self.distribution} {self.version}".strip()

    def load(self) -> None:
        """Import it and make its hooks callable. Raises PluginRefused, and whatever its code raises."""
        if self.entry_point is None:
            return
        try:
            module = self.entry_point.load()
        except ImportError as error:
            if (error.name or "").partition(".")[0] != PROJECT:
                raise
            raise PluginRefused(f"it imports what this version of Tinytown lacks: {error}", hint=_CHANGES) from error
        api = getattr(module, "TINYTOWN_HOOK_API", None)
        if type(api) is not int or api != HOOK_API:
            raise PluginRefused(
                f"expected TINYTOWN_HOOK_API = {HOOK_API} in {self.entry_point.value}, "
                + ("got none" if api is None else f"got {api!r}"),
                hint=_CHANGES if api == 1 else "install a release of it that is made for this version of Tinytown",
            )
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(hookspecs)
        ranks: dict[str, int] = {}
        for name in dir(module):
            options = manager.parse_hookimpl_opts(module, name)
            if options is None:
                if name in HOOKS and inspect.isfunction(getattr(module, name)):
                    raise PluginRefused(f"{name} is not marked as a hook", hint="put @hookimpl above it")
                continue
            hook = options.get("specname") or name
            if hook not in HOOKS and options["optionalhook"]:
                continue
            _check_implementation(hook, getattr(module, name), wraps=options["wrapper"] or options["hookwrapper"])
            self.arguments[hook] = tuple(inspect.signature(getattr(module, name)).parameters)
            ranks[hook] = options["trylast"] - options["tryfirst"]
        manager.register(module, self.name)
        self.manager, self.ranks = manager, ranks

    def call(self, hook: str, arguments: Mapping[str, Any]) -> list[Any]:
        """Every answer but None to a hook that it implements. Raises whatever the plugin raises."""
        answer = getattr(self.manager.hook, hook)(**arguments) if self.manager and hook in self.ranks else None
        if hook in _FIRST_ANSWER:  # here pluggy hands over an answer and no list
            return [] if answer is None else [answer]
        return cast(list[Any], answer or [])

    @property
    def hooks(self) -> tuple[str, ...]:
        """Its hooks by name."""
        return tuple(sorted(self.ranks))

    def report(self) -> PluginReport:
        """The plugin as people see it."""
        return msgspec.convert(self, PluginReport, from_attributes=True)


def load_plugin(entry: IndexedEntryPoint) -> Plugin:
    """The plugin behind an entry point, imported, with its hooks callable. Raises PluginRefused, and whatever its code raises."""
    plugin = Plugin(entry.name, entry.distribution, entry.version, entry)
    plugin.load()
    return plugin


def installed_plugins() -> list[Plugin]:
    """Every plugin that has an entry point, by name, none of them imported. Two may have the same name."""
    return [Plugin(entry.name, entry.distribution, entry.version, entry) for entry in installed(ENTRY_POINT_GROUP)]


def _check_implementation(hook: str, function: Any, *, wraps: bool) -> None:
    """Raises PluginRefused for a hook implementation that pluggy would accept, or refuse in many lines."""
    if hook not in HOOKS:
        raise PluginRefused(f"there is no hook {hook}", hint=f"the hooks are {', '.join(HOOKS)}")
    if wraps:
        raise PluginRefused(f"{hook} is a wrapper; a plugin answers for itself alone", hint="return the answer")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise PluginRefused(f"{hook} is async; hooks are plain functions", hint="return an object with async methods")
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise PluginRefused(f"{hook} takes {parameter}; its arguments are named one by one, none keyword-only")
        if name not in HOOKS[hook]:
            raise PluginRefused(
                f"{hook} has no argument {name!r}", hint=f"it has: {', '.join(HOOKS[hook]) or 'none at all'}"
            )
        if parameter.default is not parameter.empty:
            raise PluginRefused(f"{hook} gives its argument {name!r} a default", hint="leave the default out")
