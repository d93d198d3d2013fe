"""A new town in a directory: its settings file, its state and its server, or nothing at all if a step fails. Blocking."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tinytown.config import CONFIG_FILE, Config, load_config
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.identity import inside_a_round
from tinytown.model.ids import check_agent_name, check_town_name, town_name_from
from tinytown.packages import default_kind
from tinytown.state import new_town_id

from tinytown_cli.client import TownClient, connect
from tinytown_cli.git_repository import town_words
from tinytown_cli.plain_letters import unaccented
from tinytown_cli.secrets import has_password
from tinytown_cli.text_files import write_new_file
from tinytown_cli.town_search import find_town

_TEMPLATE = """\
# A Tinytown town. Every setting is described in docs/reference/configuration.md; never put a secret into this file.
name = "{name}"
# Names the town's state, which is outside of the project: tt where. Commit this file.
id = "{id}"

# The kind of agent that `tt spawn` adds without --cli.
{default_cli}

# Without a url the town runs a server of its own. A password goes into TINYTOWN_REDIS_PASSWORD.
{redis}
# durability = "fast"   # sync once a second: faster, but a crash of the machine loses the last seconds

# A kind of agents that run this command, with the prompt on its standard input.
# [agent_clis.tests]
# command = "pytest -q"
# timeout_s = 600
"""


class NewTown(NamedTuple):
    """A town that was made: its settings, and its server's address without password, and version."""

    config: Config
    url: str
    server_version: str


def make_town(
    root: Path,
    *,
    name: str | None = None,
    cli: str | None = None,
    redis_url: str | None = None,
    join: bool = False,
    inside: bool = False,
    on_connect: Callable[[str], None] | None = None,
) -> NewTown:
    """Make the directory `root` a town and start its server; the options are those of ``tt init``.

    Raises: Refused with code ``exists`` for a directory that is one, is in one (unless `inside`), or whose name is taken on an
    external server (unless `join`); UsageError; ServerUnreachable.
    """
    _refuse_existing(root, inside=inside)
    text = _settings(root, name, cli, redis_url)
    with contextlib.ExitStack() as undo:
        write_new_file(root / CONFIG_FILE, text)
        undo.callback((root / CONFIG_FILE).unlink, missing_ok=True)
        config = load_config(root)
        if config.redis.url is None and inside_a_round():
            raise Refused("an agent's round cannot start the server of a new town", hint="ask a person to run tt init")
        undo.callback(_remove_state, root, config)
        with connect(root, config, on_connect=on_connect) as link:
            _set_up(link, join=join)
            made = NewTown(config, link.client.address.redacted, link.server_version())
        undo.pop_all()
    return made


def _remove_state(root: Path, config: Config) -> None:
    from tinytown_cli.town_state import remove_state  # late: only a step that failed needs it

    remove_state(root, config)


def _refuse_existing(root: Path, *, inside: bool) -> None:
    if os.path.lexists(root / CONFIG_FILE):
        raise Refused(f"{root} already has a {CONFIG_FILE}", hint="tt status", code="exists")
    if inside:
        return
    with contextlib.suppress(NotFound):
        outer = find_town(root)
        raise Refused(
            f"{root} is inside the town at {outer}",
            hint="use that town, or pass --inside to create another",
            code="exists",
        )


def _settings(root: Path, name: str | None, cli: str | None, redis_url: str | None) -> str:
    """The text of the settings file, from checked values."""
    name = town_name_from(unaccented(town_words(root))) if name is None else _checked_name(name)
    if redis_url is not None and has_password(redis_url):
        raise UsageError(
            "expected a URL without a password, since the town's file may be committed",
            hint="set TINYTOWN_REDIS_PASSWORD instead",
        )
    if cli is not None:
        check_agent_name(cli)
    return _TEMPLATE.format(
        name=name,
        id=new_town_id(name),
        default_cli=f'default_cli = "{cli}"' if cli else f'# default_cli = "{default_kind()}"',
        redis=f"[redis]\nurl = {json.dumps(redis_url)}"
        if redis_url
        else '# [redis]\n# url = "redis://redis.example:6379/0"',
    )


def _checked_name(name: str) -> str:
    try:
        return check_town_name(name)
    except UsageError as error:
        error.hint = f"try {town_name_from(unaccented(name))!r}"
        raise


def _set_up(link: TownClient, *, join: bool) -> None:
    """Store the town's limits. Only an external server may already hold a town of this name."""
    # Connecting has stored the schema of the town's data; only a town that was set up has limits.
    words = ("HEXISTS", f"{link.operations.keys.base}:meta", "max_agents")
    if link.config.redis.url is not None and not join and link.client.command(*words):
        raise Refused(
            f"{link.client.address.redacted} already has a town called {link.config.name!r}",
            hint="choose another --name, or pass --join to join it from this machine",
            code="exists",
        )
    link.run(link.operations.setup(link.config.server_settings))
