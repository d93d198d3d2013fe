"""``tt doctor``: checks what a town depends on, and says of every problem how to fix it.

Changes nothing and starts nothing, but for the task of `smoke_test`, which leaves nothing. Works outside of a town too, as
far as there is something to check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import click
from tinytown.config import Config, load_config
from tinytown.errors import NotFound, TinytownError
from tinytown.model.text import shown
from tinytown.redis import address_of, town_server
from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.contracts import Finding, HealthCheck
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.plugin_commands import config_here, survey
from tinytown_cli.plugin_roles import problems_with_roles
from tinytown_cli.rust_towns import explain_old

from tinytown_ops.doctor import machine_checks
from tinytown_ops.doctor.smoke_test import SmokeTest


@click.command(cls=TownCommand, examples=["tt doctor", "tt doctor --no-task", "tt doctor --json"], scope="agent.manage")
@click.option("--no-task", is_flag=True, help="Run no task: only read.")
@pass_cli_context
def doctor(context: CliContext, no_task: bool) -> None:
    """Check this machine and the town for problems, and say how to fix each. Exits with 1 if there is one.

    Where a kernel is running, a temporary agent does one task that calls no model; then agent and task are removed.
    """
    findings: list[Finding] = []
    with context.progress("checking") as progress:
        for finding in _findings(context, with_task=not no_task):
            findings.append(finding)
            progress.update(finding.check)
    is_healthy = all(finding.level != "problem" for finding in findings)
    shown_findings = shortened(findings)
    rows = [(finding.level, finding.check, finding.found) for finding in shown_findings]
    lines = table(("level", "check", "finding"), rows)
    fixes = [f"{finding.check}: {finding.fix}" for finding in shown_findings if finding.fix]
    lines += ["", "What to do:", *(f"  {fix}" for fix in fixes)] if fixes else []
    context.emit({"healthy": is_healthy, "findings": findings}, lines)
    if not is_healthy:
        click.get_current_context().exit(1)


def shortened(findings: Sequence[Finding]) -> list[Finding]:
    """The findings as a table shows them: programs that are missing in one line, since nobody installs them all."""
    missing = [finding for finding in findings if finding.check == machine_checks.NOT_INSTALLED]
    if len(missing) < 2:
        return [*findings]
    kinds = ", ".join(sorted(", ".join(finding.found.partition(":")[0] for finding in missing).split(", ")))
    fix = f"tt doctor --json has the command for each of these kinds, for example: {missing[0].fix}"
    joined = Finding(machine_checks.NOT_INSTALLED, "note", f"the programs of {kinds}", fix)
    return [joined if each is missing[0] else each for each in findings if each is missing[0] or each not in missing]


def _findings(context: CliContext, *, with_task: bool) -> Iterator[Finding]:
    yield machine_checks.check_python()
    yield machine_checks.check_git()
    yield from machine_checks.check_user_settings()
    yield from machine_checks.check_coding_clis()
    contributed: list[HealthCheck] = []
    yield from _fenced("plugins", lambda: _plugins(context, contributed))
    try:
        root = context.town_root()
    except NotFound as error:
        yield from _fenced(
            "server program", lambda: machine_checks.check_server_program(Path.cwd(), Config(name="new"))
        )
        yield Finding("town", "note", error.message, error.hint)
        return
    try:
        config = load_config(root)
    except TinytownError as error:
        message, hint = explain_old(error) or (error.message, error.hint)
        yield Finding("settings", "problem", message, hint or "fix the file")
        return
    yield Finding("town", "ok", f"{config.name} in {root}")
    yield from _fenced("files", lambda: machine_checks.check_files(root))
    if with_task:
        contributed.append(SmokeTest())
    yield from _fenced("server", lambda: _town(root, config, contributed))


def _plugins(context: CliContext, contributed: list[HealthCheck]) -> Iterator[Finding]:
    """How the plugins are; adds the checks that they contribute to `contributed`."""
    plugins = survey(context)
    contributed += plugins.contributed("health_checks").values()
    yield from machine_checks.check_plugins(plugins)
    for problem in problems_with_roles(config_here(context)):
        yield Finding("plugins", "problem", problem, "update the plugin, or block it with TINYTOWN_BLOCK")


def _town(root: Path, config: Config, checks: Iterable[HealthCheck]) -> Iterator[Finding]:
    """How the server of the town is and, if it answers, what the checks find."""
    yield from machine_checks.check_server_program(root, config)
    server = town_server(root, config)
    if server is not None and not server.ping():
        yield Finding("server", "note", "the embedded server is not running", "the next command starts it")
        return
    with BlockingClient(address_of(root, config)) as client:
        client.connect()
        town = TownClient(root, config, client)
        yield Finding("server", "ok", f"{client.address.redacted} answers, version {town.server_version()}")
        town.make_ready()
        for check in checks:
            yield from _fenced(check.name, lambda check=check: check.check(town))  # type: ignore[misc]


def _fenced(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What `check` finds. Whatever it raises is a finding too, and hides no other; only Ctrl-C ends the command."""
    try:
        yield from map(_expect_finding, check())
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except TinytownError as error:
        yield Finding(name, "problem", error.message, error.hint)
    except OSError as error:
        yield Finding(name, "problem", str(error))
    except BaseException as error:
        found = f"the check failed: {type(error).__name__}: {shown(str(error), 300)}"
        yield Finding(
            name, "problem", found, "update the plugin, or block it with TINYTOWN_BLOCK; tt plugins lists them"
        )


def _expect_finding(value: object) -> Finding:
    if not isinstance(value, Finding):
        raise TypeError(f"expected a Finding, got {type(value).__name__}")
    return value
