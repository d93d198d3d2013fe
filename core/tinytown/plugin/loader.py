"""One plugin: found by its entry point, imported, checked against the rules, and called for itself alone.

Knows hooks by name and arguments, not what their answers mean. Finding reads metadata only, so that a blocked plugin is
never imported.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec
import pluggy

from tinytown import hookspecs
from tinytown.entry_points import IndexedEntryPoint
from tinytown.errors import PluginRefused
from tinytown.hookspecs import ENTRY_POINT_GROUP, HOOK_API, PROJECT

#: Names of plugins that are not even imported, separated by commas; ``*`` means all. Adds to ``blocked_plugins``.
BLOCK_VARIABLE = "TINYTOWN_BLOCK"

Status = Literal["active", "blocked", "refused", "faulty", "missing"]

#: Every hook and the names of its arguments.
HOOKS: Mapping[str, tuple[str, ...]] = {
    name: tuple(inspect.signature(spec).parameters)
    for name, spec in vars(hookspecs).items()
    if name.startswith(f"{PROJECT}_")
}


class PluginReport(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin as people see it.

    ``status``: ``active``; ``blocked`` by the person, never imported; ``refused`` for breaking a rule; ``faulty`` since
    something of it failed; ``missing`` though the configuration names it. ``reason`` is one line. ``offers`` has the
    names of its objects by shelf: ``{"backends": ("shell",)}``.
    """

    name: str
    distribution: str
    version: str
    status: Status
    reason: str = ""
    hooks: tuple[str, ...] = ()
    offers: dict[str, tuple[str, ...]] = {}


@dataclass(slots=True, eq=False)
class Plugin:
    """One plugin and how it is doing. `manager` knows it alone; without one, none of its hooks may be called.

    `ranks` has its hooks and when each wants to be asked: -1 for ``tryfirst``, 1 for ``trylast``, 0 for neither;
    `arguments` which arguments each names.
    """

    name: str
    distribution: str = ""
    version: str = ""
    entry_point: importlib.metadata.EntryPoint | IndexedEntryPoint | None = None
    status: Status = "active"
    reason: str = ""
    manager: pluggy.PluginManager | None = None
    ranks: dict[str, int] = field(default_factory=dict[str, int])
    arguments: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    offers: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    @property
    def source(self) -> str:
        """The distribution and its version, as far as known."""
        return f"{self.distribution} {self.version}".strip()

    def load(self) -> None:
        """Import it and make its hooks callable. Raises PluginRefused, and whatever its code raises."""
        if self.entry_point is None:
            return
        module = self.entry_point.load()
        api = getattr(module, "TINYTOWN_HOOK_API", None)
        if type(api) is not int or api != HOOK_API:
            raise PluginRefused(
                f"expected TINYTOWN_HOOK_API = {HOOK_API} in {self.entry_point.value}, "
                + ("got none" if api is None else f"got {api!r}"),
                hint="install a release of it that is made for this version of Tinytown",
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
        if hook == "tinytown_choose_agent":  # here pluggy hands over the first answer only
            return [] if answer is None else [answer]
        return cast(list[Any], answer or [])

    def report(self) -> PluginReport:
        return PluginReport(
            name=self.name,
            distribution=self.distribution,
            version=self.version,
            status=self.status,
            reason=self.reason,
            hooks=tuple(sorted(self.ranks)),
            offers=dict(self.offers),
        )


def load_plugin(entry: IndexedEntryPoint) -> Plugin:
    """The plugin behind an entry point, imported, with its hooks callable. Raises PluginRefused, and whatever its code raises."""
    plugin = Plugin(entry.name, entry.distribution, entry.version, entry)
    plugin.load()
    return plugin


def installed_plugins() -> list[Plugin]:
    """Every plugin that has an entry point, by name, none of them imported. Two may have the same name.

    Distributions without our group are told apart by one search of a text, and broken ones cost nobody else anything.
    """
    return sorted(_scan(), key=lambda plugin: (plugin.name, plugin.distribution))


def _scan() -> Iterator[Plugin]:
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            if f"[{ENTRY_POINT_GROUP}]" not in (distribution.read_text("entry_points.txt") or ""):
                continue
            name, version = distribution.metadata["Name"], distribution.version
            entry_points = tuple(distribution.entry_points.select(group=ENTRY_POINT_GROUP))
        except Exception:  # metadata that cannot be read belongs to a package that cannot be called installed
            continue
        normalized = re.sub(r"[-_.]+", "-", name).lower()
        if normalized not in seen:  # the first on the path is the one that would be imported
            seen.add(normalized)
            yield from (Plugin(each.name, name, version, each) for each in entry_points)


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
