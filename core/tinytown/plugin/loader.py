"""One plugin: found by its entry point, imported, checked against the rules, and called alone.

Knows hooks by name and arguments, not what their answers mean. Finding reads entry points only, so that a
blocked plugin is never imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

import msgspec
import pluggy

from tinytown import hookspecs
from tinytown.entry_points import IndexedEntryPoint, installed, plugin_entries
from tinytown.errors import PluginRefused
from tinytown.hookspecs import HOOK_API, OLDEST_HOOK_API, PROJECT, Contribution
from tinytown.interrupts import is_from_outside
from tinytown.packages import install_hint

Status = Literal["active", "blocked", "refused", "faulty", "missing"]

_CHANGES = "see docs/reference/plugins.md, section 'What changed in API 2'"
_SPECS_GROUP = "tinytown.hookspecs"


@dataclass(frozen=True, slots=True)
class HookSpecs:
    """Every hook that is installed, the kernel's first: its arguments by name, and what is collected.

    `modules` specify the hooks. `faults` has the modules that could not be used, by the name of their entry point.
    """

    modules: tuple[ModuleType, ...]
    arguments: Mapping[str, tuple[str, ...]]
    first_answer: frozenset[str]
    contributions: Mapping[str, Contribution]
    faults: Mapping[str, BaseException]


def hook_specs() -> HookSpecs:
    """The hooks of the kernel and of the installed distributions that offer some. Imports their specifications only."""
    return _hook_specs(installed(_SPECS_GROUP))


@cache
def _hook_specs(entries: tuple[IndexedEntryPoint, ...]) -> HookSpecs:
    modules, faults = [hookspecs], dict[str, BaseException]()
    for entry in entries:
        try:
            modules.append(entry.load())
        except BaseException as error:  # another distribution's code; a plugin that needs its hooks is refused
            if is_from_outside(error):
                raise
            faults[entry.name] = error
    specs: dict[str, Any] = {}
    contributions: dict[str, Contribution] = {}
    for module in modules:
        for name, spec in vars(module).items():
            if hasattr(spec, f"{PROJECT}_spec"):
                specs.setdefault(name, spec)
        contributions = {**getattr(module, "CONTRIBUTIONS", {}), **contributions}
    return HookSpecs(
        modules=tuple(modules),
        arguments={name: tuple(inspect.signature(spec).parameters) for name, spec in specs.items()},
        first_answer=frozenset(name for name, spec in specs.items() if spec.tinytown_spec["firstresult"]),
        contributions=contributions,
        faults=faults,
    )


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
    `arguments` has which arguments each names; `settings` is its table of the configuration.
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
    settings: msgspec.Struct | None = None
    specs: HookSpecs = field(default_factory=hook_specs)

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
        api: Any = getattr(module, "TINYTOWN_HOOK_API", None)
        versions: Any = cast("Any", api) if type(api) is tuple else (api, api)
        is_range = len(versions) == 2 and set(map(type, versions)) == {int}
        if not is_range or versions[0] > HOOK_API or versions[1] < OLDEST_HOOK_API:
            raise PluginRefused(
                f"expected TINYTOWN_HOOK_API = {HOOK_API} in {self.entry_point.value}, "
                + ("got none" if api is None else f"got {api!r}"),
                hint=_CHANGES if api == 1 else "install a release of it that is made for this version of Tinytown",
            )
        manager = pluggy.PluginManager(PROJECT)
        for specification in self.specs.modules:
            manager.add_hookspecs(specification)
        known = self.specs.arguments
        ranks: dict[str, int] = {}
        for name in dir(module):
            options = manager.parse_hookimpl_opts(module, name)
            if options is None:
                if name in known and inspect.isfunction(getattr(module, name)):
                    raise PluginRefused(f"{name} is not marked as a hook", hint="put @hookimpl above it")
                continue
            hook = options.get("specname") or name
            if hook not in known and options["optionalhook"]:
                continue
            wraps = options["wrapper"] or options["hookwrapper"]
            _check_implementation(known, hook, getattr(module, name), wraps=wraps)
            self.arguments[hook] = tuple(inspect.signature(getattr(module, name)).parameters)
            ranks[hook] = options["trylast"] - options["tryfirst"]
        manager.register(module, self.name)
        self.manager, self.ranks = manager, ranks

    def call(self, hook: str, arguments: Mapping[str, Any]) -> list[Any]:
        """Every answer but None to a hook that it implements. Raises whatever the plugin raises."""
        answer = getattr(self.manager.hook, hook)(**arguments) if self.manager and hook in self.ranks else None
        if hook in self.specs.first_answer:  # here pluggy hands over an answer and no list
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


def installed_plugins(root: Path) -> list[Plugin]:
    """Every plugin that has an entry point, none of them imported. Names may be the same."""
    specs = hook_specs()
    return [Plugin(entry.name, entry.distribution, entry.version, entry, specs=specs) for entry in plugin_entries(root)]


def _check_implementation(known: Mapping[str, tuple[str, ...]], hook: str, function: Any, *, wraps: bool) -> None:
    """Raises PluginRefused for a hook implementation that pluggy would accept, or refuse in many lines."""
    if hook not in known:
        hint = install_hint("hooks", hook, f"the hooks are {', '.join(known)}")
        raise PluginRefused(f"there is no hook {hook}", hint=hint)
    if wraps:
        raise PluginRefused(f"{hook} is a wrapper; a plugin answers for itself alone", hint="return the answer")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise PluginRefused(f"{hook} is async; hooks are plain functions", hint="return an object with async methods")
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise PluginRefused(f"{hook} takes {parameter}; its arguments are named one by one, none keyword-only")
        if name not in known[hook]:
            has = ", ".join(known[hook]) or "none at all"
            raise PluginRefused(f"{hook} has no argument {name!r}", hint=f"it has: {has}")
        if parameter.default is not parameter.empty:
            raise PluginRefused(f"{hook} gives its argument {name!r} a default", hint="leave the default out")
