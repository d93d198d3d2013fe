"""The command ``tt townhall``: serve the town until Ctrl-C."""

from __future__ import annotations

import html
import os
import signal
import sys
from pathlib import Path

import click
import msgspec
from tinytown.config import CONFIG_FILE, Config, convert_settings, load_config
from tinytown.errors import Refused
from tinytown.identity import inside_a_round
from tinytown.state import open_state
from tinytown_cli.public import CliContext, TownCommand, pass_cli_context

from tinytown_townhall.settings import Settings

_PAGE = """<!doctype html><meta charset="utf-8"><title>Tinytown</title>
<meta http-equiv="refresh" content="0; url={url}"><a href="{url}">Open the townhall</a>
"""


@click.command(
    cls=TownCommand,
    examples=["tt townhall --open", "tt townhall --bind unix:townhall.sock", "tt townhall --port 0 --json"],
)
@click.option("--bind", metavar="ADDRESS", help="An address of this machine, or unix:PATH.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 takes any free one.  [default: 8787]")
@click.option("--open", "opens", is_flag=True, help="Open the web page, signed in.")
@pass_cli_context
def townhall(context: CliContext, bind: str | None, port: int | None, opens: bool) -> None:
    """Serve the town over HTTP until Ctrl-C: a web page for people, and an interface for programs.

    The page needs a browser that is signed in: with --open, or with the link that is printed on a terminal, which works once.
    A second Ctrl-C cuts all connections at once. [plugins.townhall] enabled = true has the town's kernel serve it instead.
    """
    root = context.town_root()
    config = load_config(root)
    if inside_a_round():
        raise Refused("cannot serve the townhall inside an agent's round: it would end with the round")
    settings = town_settings(config, root)
    given = {name: value for name, value in (("bind", bind), ("port", port)) if value is not None}
    import trio  # late, like all that serving needs: `--help` does without

    trio.run(_serve, context, root, config, msgspec.structs.replace(settings, **given), opens)


def town_settings(config: Config, root: Path) -> Settings:
    """``[plugins.townhall]``. Raises: ConfigError."""
    return convert_settings(Settings, config.plugins.get("townhall", {}), root / CONFIG_FILE, "plugins.townhall")


async def _serve(context: CliContext, root: Path, config: Config, settings: Settings, opens: bool) -> None:
    """Serve until a signal: the first lets requests and streams end, a second cuts them off."""
    import trio
    from tinytown.concurrency import open_background
    from tinytown.town import connect_town

    from tinytown_townhall.service import open_townhall

    async with connect_town(root, config) as town, open_townhall(town, settings) as served:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            hall, server = served
            async with open_background() as nursery:

                async def serve() -> None:
                    await served.serve()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(serve)
                context.emit({"url": server.url, "pid": os.getpid()}, f"the townhall of {town.name}: {server.url}")
                if not server.url.startswith("http+unix"):
                    link = f"{server.url}/#code={hall.signer.link_code()}" if settings.auth == "key" else server.url
                    if opens:
                        await trio.to_thread.run_sync(_open_browser, root, link)
                    elif settings.auth == "key" and not context.json and sys.stdout.isatty():
                        context.emit({}, f"sign in, once within ten minutes: {link}")
                async for _ in signals:
                    if server.closing.is_set():
                        nursery.cancel_scope.cancel()
                    server.stop()


def _open_browser(root: Path, link: str) -> None:
    """Open the link in a browser: by way of a file that only this user can read, since others see the words of a process."""
    import webbrowser

    path = open_state(root) / "townhall.html"
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(_PAGE.format(url=html.escape(link)))
    webbrowser.open(path.as_uri())
