"""``tt plugin``: for those who write plugins. Hold one to its promises, or begin a new one.

The promises themselves are `tinytown_testing`; the package of a new plugin is `plugin_package`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tinytown.errors import ConfigError, UsageError
from tinytown.model.text import check_one_of, counted, shown
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownGroup
from tinytown_cli.params import PLUGIN

from tinytown_testing.scaffold import KINDS, write_package

if TYPE_CHECKING:
    from tinytown_testing import CheckReport, PromiseResult

_STATUS = {"ok": "ok", "broken": "BROKEN", "not_applicable": "not applicable"}


@click.group(cls=TownGroup, examples=["tt plugin new my-tool --kind backend", "tt plugin test my-tool"])
def plugin() -> None:
    """Write a plugin: begin one, hold it to its promises, record its CLI."""


@plugin.command("test", examples=["tt plugin test echo", "tt plugin test journal --config tinytown.toml --json"])
@click.argument("name", type=PLUGIN)
@click.option("--config", metavar="FILE", help="Use the settings of this tinytown.toml.  [default: no settings]")
@pass_cli_context
def test(context: CliContext, name: str, config: str | None) -> None:
    """Hold everything that the installed plugin NAME offers to its promises. Ends with 1 if one is broken.

    Each promise is ok, broken (with what was seen), or not applicable (with the reason): some situations only the
    plugin's own tests can bring about. It is tried in a temporary town, but with real events, agents and tools.
    """
    import trio

    from tinytown_testing import check_plugin

    toml = _read(config) if config is not None else ""

    async def check() -> tuple[CheckReport, ...]:
        return await check_plugin(name, toml=toml)

    reports = trio.run(check)
    counts = {
        status: sum(result.status == status for report in reports for result in report.results) for status in _STATUS
    }
    shape = {"plugin": name, **counts, "reports": [_shape(report) for report in reports]}
    context.emit(shape, _lines(name, reports, counts))
    if counts["broken"]:
        click.get_current_context().exit(1)


@plugin.command(
    "record",
    examples=[
        "tt plugin record quill --env 'QUILL_BASE_URL={url}' --env QUILL_API_KEY=any",
        "tt plugin record quill --situation answer --situation rate_limit --into tests/recordings",
    ],
)
@click.argument("kind")
@click.option("--program", default="", metavar="NAME", help="The CLI's name on PATH.  [default: KIND]")
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    default=Path("tests/recordings"),
    show_default=True,
    help="The directory of the recordings.",
)
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable of the CLI; {url} is the model server's URL.",
)
@click.option(
    "--config",
    metavar="FILE",
    help="Use the settings of this tinytown.toml, where {url} is the same.  [default: no settings]",
)
@click.option(
    "--situation",
    "names",
    multiple=True,
    metavar="NAME",
    help="Record this situation, and others so named.  [default: all]",
)
@click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="End a round after this.",
)
@pass_cli_context
def record(
    context: CliContext,
    kind: str,
    program: str,
    into: Path,
    variables: tuple[str, ...],
    config: str | None,
    names: tuple[str, ...],
    limit_s: float,
) -> None:
    """Record the real CLI of agents of this KIND, for a fake one that plays it. Ends with 1 if something could not be recorded.

    The CLI runs in a temporary town, as the installed plugin calls it, against a scripted model server on this machine:
    without a key and without a network. Point it there with --env or --config.
    """
    import trio

    from tinytown_testing.recorder import SITUATIONS, Recorded, record_cli

    for name in names:
        check_one_of("a situation", name, tuple(SITUATIONS))
    pairs = [variable.partition("=") for variable in variables]
    if wrong := [name for name, separator, _ in pairs if not name or not separator]:
        raise UsageError(
            f"expected NAME=VALUE, got {shown(wrong[0])!r}", hint="for example --env 'QUILL_BASE_URL={url}'"
        )
    toml = _read(config) if config is not None else ""

    async def run() -> tuple[Recorded, ...]:
        return await record_cli(
            kind,
            into,
            program=program,
            names=names,
            environment={name: value for name, _, value in pairs},
            toml=toml,
            limit_s=limit_s,
        )

    recorded = trio.run(run)
    rows = [(each.name, each.outcome, each.problem or f"{counted(each.events, 'event')}") for each in recorded]
    shapes = [
        {"situation": each.name, "outcome": each.outcome, "events": each.events, "problem": each.problem or None}
        for each in recorded
    ]
    context.emit(
        {"kind": kind, "directory": str(into.absolute()), "recordings": shapes},
        table(("situation", "outcome", "recording"), rows),
    )
    if any(each.problem for each in recorded):
        click.get_current_context().exit(1)


@plugin.command("new", examples=["tt plugin new my-tool --kind backend", "tt plugin new nightly --kind sink --dir ."])
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), required=True, help="What it is to offer.")
@click.option("--dir", "directory", metavar="PATH", help="Where, empty or not there yet.  [default: tinytown-NAME]")
@pass_cli_context
def new(context: CliContext, name: str, kind: str, directory: str | None) -> None:
    """Begin a plugin: a package, with a test, that keeps every promise as it stands. Nothing is overwritten."""
    where = Path(directory or f"tinytown-{name}").absolute()
    written = write_package(name, kind, where)
    context.emit(
        {"name": name, "kind": kind, "directory": str(where), "files": written},
        [
            f"the {kind} {name} is begun in {where}",
            *(f"  {path}" for path in written),
            f"next: pip install -e {directory or where.name}, then tt plugin test {name}",
        ],
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="name a tinytown.toml", path=path) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", path=path) from error


def _shape(report: CheckReport) -> dict[str, Any]:
    return {"subject": report.subject, "promises": [_finding_shape(result) for result in report.results]}


def _finding_shape(result: PromiseResult) -> dict[str, Any]:
    return {
        "id": result.promise.id,
        "promise": result.promise.sentence,
        "status": result.status,
        "detail": result.detail,
        "seen": result.detail,  # the name until 0.2
        "duration_s": round(result.duration_s, 3),
    }


def _lines(name: str, reports: Sequence[CheckReport], counts: dict[str, int]) -> Iterator[str]:
    for report in reports:
        yield report.subject
        for result in report.results:
            yield f"  {_STATUS[result.status]:<14}  {result.promise.id:<3}  {result.promise.sentence}"
            if result.detail:
                yield f"{'':23}{result.detail}"
    if reports:
        yield f"{counts['ok']} ok, {counts['broken']} broken, {counts['not_applicable']} not applicable"
    else:
        yield f"the plugin {name} offers nothing that has promises"
