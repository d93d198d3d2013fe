"""The commands ``tt auth``: keys of programs, and links that sign a browser in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.identity import inside_a_round
from tinytown.model.text import shown
from tinytown.model.time import rfc3339
from tinytown_cli.public import MOMENT, CliContext, Moment, TownGroup, pass_cli_context, table

if TYPE_CHECKING:
    from tinytown_cli.public import TownClient

    from tinytown_townhall.keys import KeyRecord


@click.group(cls=TownGroup, examples=["tt auth link", "tt auth key create ci --scope town.read"])
def auth() -> None:
    """Say who may use the townhall."""


@auth.command("link", examples=["tt auth link", "tt auth link --url https://town.example:8787"])
@click.option("--url", metavar="URL", help="Where the townhall is.  [default: as configured]")
@pass_cli_context
def link(context: CliContext, url: str | None) -> None:
    """Print a link that signs a browser in: once, within ten minutes, at a townhall of this machine."""
    from tinytown.config import load_config

    from tinytown_townhall.auth import LINK_S, Signer
    from tinytown_townhall.command import town_settings

    if inside_a_round():
        raise Refused("cannot sign in inside an agent's round", hint="ask a person: tt send supervisor TEXT")
    root = context.town_root()
    settings = town_settings(load_config(root), root)
    scheme = "https" if settings.cert_file else "http"
    host = "localhost" if settings.bind in ("0.0.0.0", "::") or settings.bind.startswith("unix:") else settings.bind
    base = (url or f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}").rstrip("/")
    address = f"{base}/#code={Signer.of_town(root).link_code()}"
    context.emit({"url": address, "valid_s": LINK_S}, address)


@auth.group("key", cls=TownGroup, examples=["tt auth key list"])
def key() -> None:
    """Manage the API keys of programs."""


@key.command(
    "create",
    examples=[
        "tt auth key create ci --scope town.read",
        "tt auth key create bot --scope town.read --scope town.write --expires 30d",
        "tt auth key create bot --scope admin --key-file ~/.town-key",
    ],
)
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE",
    help="What it may do: town.read, town.write, agent.manage or admin, which is all.  [default: town.read]",
)  # fmt: skip
@click.option("--expires", type=MOMENT, metavar="TIME", help="Until when: 90s, 12h, 30d, or a time in RFC 3339.")
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the key into this new file, which only you can read, and do not print it.",
)
@pass_cli_context
def create(
    context: CliContext, name: str, scopes: tuple[str, ...], expires: Moment | None, key_file: Path | None
) -> None:
    """Make a key called NAME. It is printed once: the town keeps only a hash of it."""
    import os

    from tinytown_townhall.auth import check_scopes
    from tinytown_townhall.keys import new_key, store_key

    chosen = check_scopes(scopes or ("town.read",))
    if key_file is not None and key_file.exists():
        raise UsageError(f"{key_file} exists already", hint="name a new file")
    with context.open_town() as town:
        town.caller.refuse_agents("cannot make keys", "ask a person: tt send supervisor TEXT")
        until = None if expires is None else rfc3339(expires.ahead_ms(town.now_ms()))
        record, text = new_key(name, chosen, until)
        if any(record.name == name for record in _keys(town).values()):
            raise Refused(
                f"a key called {name!r} exists already", hint="choose another name, or revoke it", code="exists"
            )
        if key_file is not None:
            with open(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text + "\n")
        town.run(store_key(town.operations, record))
    written = {"key_file": str(key_file)} if key_file else {"key": text}
    lines = [f"key {record.id} ({name}): {', '.join(chosen)}" + (f", until {until}" if until else "")]
    lines.append(f"written to {key_file}" if key_file else text)
    context.emit({**_shape(record, None), **written}, lines)


@key.command("list", examples=["tt auth key list", "tt auth key list --json"])
@pass_cli_context
def list_keys(context: CliContext) -> None:
    """List the keys; a key itself is never shown again."""
    from tinytown_townhall.keys import last_used

    with context.open_town() as town:
        records = _keys(town)
        used = town.run(last_used(town.operations.keys))
    rows = [
        (
            record.id,
            record.name,
            " ".join(record.scopes),
            record.created_at[:10],
            "expired" if record.is_expired else (record.expires_at or "never")[:16],
            used.get(record.id, "never")[:16],
        )
        for record in records.values()
    ]
    lines = table(("id", "name", "scopes", "created", "expires", "last used"), rows) if rows else ["no keys"]
    context.emit({"keys": [_shape(record, used.get(record.id)) for record in records.values()]}, lines)


@key.command("revoke", examples=["tt auth key revoke ci"])
@click.argument("name")
@pass_cli_context
def revoke(context: CliContext, name: str) -> None:
    """Revoke the key with this NAME or id, at once and for all townhalls of the town."""
    from tinytown_townhall.keys import forget_key

    with context.open_town() as town:
        town.caller.refuse_agents("cannot revoke keys", "ask a person: tt send supervisor TEXT")
        found = next((record for record in _keys(town).values() if name in (record.id, record.name)), None)
        if found is None:
            raise NotFound(f"no key called {shown(name)!r}", hint="tt auth key list")
        town.run(forget_key(town.operations, found))
    context.emit({"revoked": found.id, "name": found.name}, f"revoked key {found.id} ({found.name})")


def _keys(town: TownClient) -> dict[str, KeyRecord]:
    from tinytown_townhall.keys import PLUGIN, read_keys

    records = read_keys(town.run(town.operations.plugin_data(PLUGIN)))
    return dict(sorted(records.items(), key=lambda item: item[1].created_at))


def _shape(record: KeyRecord, used: str | None) -> dict[str, object]:
    return {
        "id": record.id,
        "name": record.name,
        "scopes": record.scopes,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "last_used_at": used,
    }
