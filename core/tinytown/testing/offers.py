"""All promises at once: an installed plugin, found as a kernel finds it, and everything that it offers put to the test.

Its hooks are called for the bench's town, never for a real one, so that what they return can do no harm there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from tinytown.errors import NotFound, PluginFaulty
from tinytown.plugin_registry import PluginReport, Plugins, survey_plugins
from tinytown.testing.backends import BACKEND, check_agent_backend
from tinytown.testing.bench import open_bench
from tinytown.testing.converters import CONVERTER, check_converter
from tinytown.testing.gates import GATE, check_gate
from tinytown.testing.promises import CheckReport, Promise
from tinytown.testing.services import SERVICE, check_service
from tinytown.testing.sinks import SINK, check_status_sink
from tinytown.testing.workspaces import WORKSPACE, check_workspace

#: By what a plugin offers, what is promised of it.
PROMISES: dict[str, tuple[Promise, ...]] = {
    book.contract: book.promises for book in (BACKEND, SINK, CONVERTER, WORKSPACE, GATE, SERVICE)
}

_CHECKS: dict[str, Callable[..., Awaitable[CheckReport]]] = {
    "backends": check_agent_backend,
    "sinks": check_status_sink,
    "converters": check_converter,
    "workspaces": check_workspace,
    "gates": check_gate,
    "services": check_service,
}


async def check_plugin(name: str, *, toml: str = "") -> tuple[CheckReport, ...]:
    """Hold everything that the installed plugin `name` offers to its promises, in a town whose ``tinytown.toml`` is `toml`.

    Situations that only a maker can bring about are not tried, see `BackendScenarios`; commands and prompt sections
    have no promises. Raises: NotFound when no such plugin is installed; PluginFaulty, with the reason, when the town
    cannot use it; ConfigError for `toml`.
    """
    async with open_bench(toml=toml) as bench:

        def survey() -> Plugins:
            return survey_plugins(bench.config, bench.root)

        report = _report(survey(), name)
        reports: list[CheckReport] = []
        for shelf, check in _CHECKS.items():
            for offered in report.offers.get(shelf, ()):

                def make(shelf: str = shelf, offered: str = offered) -> Any:
                    return _take(survey(), shelf, offered)

                reports.append(await check(make, bench=bench))
        return tuple(reports)


def _report(plugins: Plugins, name: str) -> PluginReport:
    reports = [report for report in plugins.reports if report.name == name]
    if not reports or reports[0].status == "missing":
        known = ", ".join(report.name for report in plugins.reports if report.status != "missing") or "none"
        raise NotFound(f"no plugin {name!r} is installed", hint=f"installed are: {known}")
    (report, *_) = reports
    if report.status != "active":
        raise PluginFaulty(
            f"the plugin {name!r} is {report.status}: {report.reason}", hint="see tt plugins", plugin=name, stage="load"
        )
    return report


def _take(plugins: Plugins, shelf: str, name: str) -> Any:
    """The object of this name, made afresh by its hook."""
    objects = getattr(plugins, shelf)
    if isinstance(objects, Mapping):
        return cast("Mapping[str, Any]", objects)[name]
    return next(each for each in objects if each.name == name)
