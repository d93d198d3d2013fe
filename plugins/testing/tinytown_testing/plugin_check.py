"""All promises at once: an installed plugin, found as a kernel finds it, with all its contributions checked.

Its hooks are called for the sandbox's town, never for a real one, so that what they return can do no harm. No other plugin
is in that town: neither their faults nor their contributions count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import msgspec
from tinytown.entry_points import installed
from tinytown.errors import NotFound, PluginFaulty
from tinytown.hookspecs import ENTRY_POINT_GROUP
from tinytown.plugin import Plugin, PluginReport, Plugins, load_plugin, survey_plugins

from tinytown_testing.agent_tools import AGENT_TOOL, check_agent_tool
from tinytown_testing.backends import BACKEND, check_agent_backend
from tinytown_testing.commands import COMMAND, COMPLETER, check_command, check_completer
from tinytown_testing.converters import CONVERTER, check_converter
from tinytown_testing.gates import GATE, check_gate
from tinytown_testing.health_checks import HEALTH_CHECK, check_health_check
from tinytown_testing.hook_checks import CHOOSER, PROMPT, check_chooser, check_prompt_sections
from tinytown_testing.plugin_promises import PLUGIN, PluginTrial
from tinytown_testing.promises import CheckReport, Promise
from tinytown_testing.sandbox import Sandbox, open_sandbox
from tinytown_testing.servers import SERVER
from tinytown_testing.services import SERVICE, check_service
from tinytown_testing.sinks import SINK, check_status_sink
from tinytown_testing.status_sections import STATUS_SECTION, check_status_section
from tinytown_testing.trial import SLACK_S
from tinytown_testing.workspaces import WORKSPACE, check_workspace

#: The promises by contract; ``plugin`` has those of every plugin.
PROMISES: dict[str, tuple[Promise, ...]] = {
    contract.name: contract.promises
    for contract in (
        PLUGIN,
        BACKEND,
        SINK,
        CONVERTER,
        WORKSPACE,
        GATE,
        SERVICE,
        COMMAND,
        COMPLETER,
        HEALTH_CHECK,
        STATUS_SECTION,
        AGENT_TOOL,
        SERVER,
        PROMPT,
        CHOOSER,
    )
}

_CHECKS: dict[str, Callable[..., Awaitable[CheckReport]]] = {
    "backends": check_agent_backend,
    "sinks": check_status_sink,
    "converters": check_converter,
    "workspaces": check_workspace,
    "gates": check_gate,
    "services": check_service,
    "commands": check_command,
    "completers": check_completer,
    "health_checks": check_health_check,
    "status_sections": check_status_section,
    "agent_tools": check_agent_tool,
}
_HOOK_CHECKS: dict[str, Callable[..., Awaitable[CheckReport]]] = {
    "tinytown_prompt_sections": check_prompt_sections,
    "tinytown_choose_agent": check_chooser,
}


async def check_plugin(name: str, *, toml: str = "") -> tuple[CheckReport, ...]:
    """Check all contributions of the installed plugin `name`, in a town whose ``tinytown.toml`` is `toml`.

    Situations that only its maker can create are skipped, see `BackendScenarios`. There is no report for a plugin
    without hooks. Raises: NotFound when no such plugin is installed; PluginFaulty, with the reason, when the town cannot
    use it; ConfigError for `toml`.
    """
    async with open_sandbox(toml=toml) as sandbox:
        others = {entry.name for entry in installed(ENTRY_POINT_GROUP)} - {name}
        config = msgspec.structs.replace(sandbox.config, blocked_plugins=(*sandbox.config.blocked_plugins, *others))

        def survey() -> Plugins:
            return survey_plugins(config, sandbox.root)

        report = _report(survey(), name)
        reports: list[CheckReport] = []
        if report.hooks:
            trial = PluginTrial(sandbox, SLACK_S, lambda: _report(survey(), name))
            reports.append(await PLUGIN.check(f"plugin {name}", trial, None))
            if "L3" in {result.promise.id for result in reports[0].broken}:
                return tuple(reports)  # the contributions to check are not there again
        for kind, check in _CHECKS.items():
            for offered in report.contributions.get(kind, ()):

                def make(kind: str = kind, offered: str = offered) -> Any:
                    return _take(survey(), kind, offered)

                reports.append(await check(make, sandbox=sandbox))
        return (*reports, *await _check_functions(report, sandbox))


async def _check_functions(report: PluginReport, sandbox: Sandbox) -> list[CheckReport]:
    """What the hooks promise that are no announcements but the thing itself."""
    plugin = load_plugin(next(entry for entry in installed(ENTRY_POINT_GROUP) if entry.name == report.name))
    reports: list[CheckReport] = []
    for hook, check in _HOOK_CHECKS.items():
        if hook in report.hooks:

            def make(hook: str = hook) -> Callable[..., Any]:
                return _function(plugin, hook)

            found = await check(make, sandbox=sandbox)
            reports.append(dataclasses.replace(found, subject=f"{found.subject} {report.name}"))
    return reports


def _function(plugin: Plugin, hook: str) -> Callable[..., Any]:
    """A plugin's hook as a function that takes what its implementation names."""

    def ask(**arguments: Any) -> Any:
        answers = plugin.call(hook, arguments)
        return answers[0] if answers else None

    return ask


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


def _take(plugins: Plugins, kind: str, name: str) -> Any:
    """The object of this name, made afresh by its hook."""
    objects = getattr(plugins, kind)
    if isinstance(objects, Mapping):
        return cast("Mapping[str, Any]", objects)[name]
    return next(each for each in objects if each.name == name)
