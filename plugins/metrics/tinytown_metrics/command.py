"""``tt metrics``: where Prometheus reads, and the dashboard for Grafana."""

from __future__ import annotations

import urllib.request
from importlib.resources import files
from urllib.parse import urlsplit

import click
import msgspec
from tinytown_cli.public import CliContext, TownCommand, pass_cli_context

from tinytown_metrics.address import ADDRESS, PLUGIN

_TIMEOUT_S = 2.0


@click.command(cls=TownCommand, examples=["tt metrics", "tt metrics --dashboard > tinytown.json"])
@click.option("--dashboard", is_flag=True, help="Print the dashboard, to import it into Grafana.")
@pass_cli_context
def metrics(context: CliContext, dashboard: bool) -> None:
    """Show where a kernel serves the town's numbers for Prometheus, and whether it does."""
    if dashboard:
        text = files("tinytown_metrics").joinpath("dashboard.json").read_text("utf-8")
        context.emit(msgspec.json.decode(text), text.rstrip())
        return
    with context.open_town() as town:
        url: str | None = town.run(town.operations.plugin_field(PLUGIN, ADDRESS))
    answers = url is not None and _answers(url)
    lines = ["no kernel has served metrics yet; start one with: tt start"]
    if url:
        target = urlsplit(url).netloc
        lines = [
            f"{url} {'answers' if answers else 'does not answer here: is the kernel running on this machine?'}",
            "",
            "in prometheus.yml:",
            "scrape_configs:",
            "  - job_name: tinytown",
            "    static_configs:",
            f"      - targets: ['{target}']",
        ]
    context.emit({"url": url, "answers": answers}, lines)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
