"""``tt migrate``: migrates agents, tasks, mail and settings of a Tinytown 0.10 for Rust into a town."""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from tinytown.client import connect
from tinytown.config import CONFIG_FILE, PASSWORD_VARIABLE, find_town, load_config, prepare_runtime_directory
from tinytown.errors import ConfigError, NotFound, Refused, UsageError
from tinytown.identity import caller_in
from tinytown.model.ids import town_name_from
from tinytown.model.text import shown
from tinytown.redis import Address, BlockingClient, address_of, parse_url
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.text_files import read_text_file, replace_text_file, write_new_file
from tinytown_snapshots.cli_commands import in_words, restored_lines, write_snapshot

if TYPE_CHECKING:
    from tinytown_snapshots.records import Record
    from tinytown_snapshots.transfer import Restored

    from tinytown_migrate.conversion import Converted
    from tinytown_migrate.old_settings import NewSettings
    from tinytown_migrate.source import OldTown

#: The old settings are kept under this name when the new ones replace them.
OLD_CONFIG_FILE = "tinytown.toml.old"

#: How long the ids of migrated messages are known, so that handled mail is not migrated again.
_KNOWN_S = 400 * 86_400
_STORY = "migrated from Tinytown 0.10"
_DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.command(
    cls=TownCommand,
    examples=[
        "tt migrate --from-town ../shop --dry-run",
        "tt migrate --from-town . --write",
        "tt migrate --from redis://127.0.0.1:16379 --name shop",
        "tt migrate --from redis://127.0.0.1:16379 --nameless --output old.jsonl",
    ],
)
@click.option("--from", "from_url", metavar="URL", help="The server of the old town.")
@click.option(
    "--from-town",
    "from_town",
    metavar="DIR",
    type=_DIRECTORY,
    help="The old town's directory: its server, and its settings.",
)
@click.option("--name", "old_name", metavar="NAME", help="The old town on that server.  [default: the only one]")
@click.option("--nameless", is_flag=True, help="Migrate keys from before towns had names.")
@click.option("--dry-run", is_flag=True, help="Show what would be migrated, and write nothing.")
@click.option("--write", is_flag=True, help=f"Replace an existing {CONFIG_FILE} and keep a copy of it.")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a snapshot for tt restore instead.",
)
@pass_cli_context
def migrate(
    context: CliContext,
    from_url: str | None,
    from_town: Path | None,
    old_name: str | None,
    nameless: bool,
    dry_run: bool,
    write: bool,
    output: Path | None,
) -> None:
    """Migrate agents, tasks and mail of a Tinytown 0.10 (in Rust) into this town, with the same ids.

    The old server is only read, whichever of its three layouts it has. Repeating the command adds what is new. Data
    without a counterpart (events, activity, missions) is kept in .tt/ as JSON lines. With --from-town and without a town
    here, one is created from the old settings.
    """
    if (from_url is None) == (from_town is None):
        raise UsageError("expected either --from URL or --from-town DIR", hint="tt migrate --help has examples")
    if nameless and old_name:
        raise UsageError("--nameless and --name exclude each other")
    table = None if from_town is None else _old_table(from_town)
    address = _source_address(from_url, from_town, table)
    settings = _new_settings(table)
    requested_name = old_name or (str(table.get("name")) if table is not None and not nameless else None)
    town = _read(address, requested_name, nameless=nameless)
    migration = _Migration(context, address, town, settings, dry_run=dry_run)
    if output is not None:
        migration.write_file(output)
    else:
        migration.into_town(write=write)


def _old_table(directory: Path) -> Mapping[str, Any]:
    """The old settings; for a town that was migrated already, the copy that was kept."""
    from tinytown_migrate.old_settings import is_old

    for name in (CONFIG_FILE, OLD_CONFIG_FILE):
        text = read_text_file(directory / name)
        if text is None:
            continue
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{directory / name} is not valid TOML: {error}", path=str(directory / name)) from error
        if name == OLD_CONFIG_FILE or is_old(table) or not (directory / OLD_CONFIG_FILE).exists():
            return table
    raise NotFound(f"no town in {directory}: no {CONFIG_FILE}", hint="name the old town's directory, or use --from URL")


def _source_address(url: str | None, directory: Path | None, table: Mapping[str, Any] | None) -> Address:
    from tinytown_migrate.old_settings import old_server_url

    if url is None:
        assert directory is not None
        assert table is not None
        url = old_server_url(table, directory.resolve())
    address = parse_url(url)
    password = os.environ.get(PASSWORD_VARIABLE)
    return msgspec.structs.replace(address, password=password) if password and not address.password else address


def _new_settings(table: Mapping[str, Any] | None) -> NewSettings | None:
    from tinytown_migrate.old_settings import convert_settings

    return None if table is None else convert_settings(table)


def _read(address: Address, requested_name: str | None, *, nameless: bool) -> OldTown:
    from tinytown_migrate.source import find_keys, read_town, town_names

    with BlockingClient(address, timeout_s=30.0) as client:
        keys = find_keys(client)
        names = town_names(keys)
        name = None if nameless else requested_name
        if not nameless and requested_name is None:
            if len(names) > 1:
                listed = ", ".join(
                    shown(item) if item is not None else "one without a name" for item in sorted(names, key=str)
                )
                raise UsageError(
                    f"there are {len(names)} old towns on {address.redacted}: {listed}",
                    hint="choose one with --name, or --nameless",
                    code="ambiguous",
                )
            name = next(iter(names), None)
        if name not in names:
            there = ", ".join(shown(item) for item in names if item is not None) or "none"
            which = "without a name" if name is None else f"called {shown(name)!r}"
            raise NotFound(f"no old town {which} on {address.redacted}; found: {there}", hint="choose one with --name")
        return read_town(client, keys, name)


class _Migration:
    """The migration of one old town into a file or a town."""

    def __init__(
        self, context: CliContext, address: Address, old: OldTown, settings: NewSettings | None, *, dry_run: bool
    ) -> None:
        self.context = context
        self.address = address
        self.old = old
        self.settings = settings
        self.dry_run = dry_run

    def write_file(self, path: Path) -> None:
        converted = self._convert({})
        if not self.dry_run:
            write_snapshot(converted.snapshot, path)
        self._answer(converted, None, output=path)

    def into_town(self, *, write: bool) -> None:
        root, has_settings = self._root(write=write)
        caller_in(root).refuse_agents("cannot migrate a town", "send the supervisor a message")
        if not has_settings:
            if self.dry_run:
                converted = self._convert({})
                self._answer(converted, None, config=root / CONFIG_FILE)
                return
            self._write_settings(root)
        config = load_config(root)
        target = address_of(root, config)
        if target.scheme == "unix" and self.address.scheme == "unix":
            with contextlib.suppress(OSError):
                if os.path.realpath(target.path) == os.path.realpath(self.address.path):
                    raise Refused(
                        f"the old server uses the socket {target.path}, which the new one needs",
                        hint="run tt migrate --output old.jsonl, stop the old server, then run tt restore old.jsonl",
                    )
        if config.redis.url is None:
            prepare_runtime_directory(root)
        with connect(root, config, on_connect=self.context.explain) as town_client:
            from tinytown_snapshots.transfer import Transfer

            from tinytown_migrate.conversion import agents_here

            if not self.dry_run:
                town_client.run(town_client.operations.setup(config.server_settings))
            transfer = Transfer(town_client, town_client.operations)
            converted = self._convert(agents_here(transfer.read().snapshot))
            restored = transfer.restore(
                converted.snapshot, merge=True, dry_run=self.dry_run, story=_STORY, known_s=_KNOWN_S
            )
        leftovers = None if self.dry_run else self._keep_leftovers(root)
        self._answer(converted, restored, leftovers=leftovers, config=None if has_settings else root / CONFIG_FILE)

    def _convert(self, taken: dict[str, str]) -> Converted:
        from tinytown_snapshots.checks import check
        from tinytown_snapshots.lines import Numbered

        from tinytown_migrate.conversion import convert

        converted = convert(self.old, taken=taken)
        snapshot = converted.snapshot
        records: list[Record] = [*snapshot.agents, *snapshot.tasks, *snapshot.messages, *snapshot.dead_letters]
        check(Numbered(number, record) for number, record in enumerate(records, 2))
        return converted

    def _root(self, *, write: bool) -> tuple[Path, bool]:
        """The root of the new town, and whether its settings exist and are kept."""
        from tinytown_migrate.old_settings import is_old

        named = self.context.town
        try:
            root = find_town(Path(named) if named else None)
        except NotFound:
            root = Path(named or ".").resolve()
            if self.settings is None or not root.is_dir():
                raise
            return root, False
        if write and self.settings is not None:
            return root, False
        if is_old(tomllib.loads((root / CONFIG_FILE).read_text("utf-8"))):
            if self.dry_run and self.settings is not None:
                return root, False
            raise Refused(
                f"{root / CONFIG_FILE} belongs to Tinytown 0.10",
                hint=f"--from-town {root} --write replaces it and keeps it as {OLD_CONFIG_FILE}",
                code="exists",
            )
        return root, True

    def _write_settings(self, root: Path) -> None:
        assert self.settings is not None
        path = root / CONFIG_FILE
        before = read_text_file(path)
        if before is None:
            write_new_file(path, self.settings.text)
        elif before != self.settings.text:
            from tinytown_migrate.old_settings import is_old

            copy = root / (OLD_CONFIG_FILE if is_old(tomllib.loads(before)) else f"{CONFIG_FILE}.before-migrate")
            if not copy.exists():
                write_new_file(copy, before)
            replace_text_file(path, self.settings.text, was=before)

    def _keep_leftovers(self, root: Path) -> Path | None:
        import msgspec

        if not self.old.leftovers:
            return None
        name = town_name_from(self.old.name or "nameless")
        path = prepare_runtime_directory(root) / f"migrated-from-{name}.jsonl"
        text = b"".join(msgspec.json.encode(item) + b"\n" for item in self.old.leftovers).decode()
        replace_text_file(path, text, was=read_text_file(path), mode=0o600)
        return path

    def _answer(
        self,
        converted: Converted,
        restored: Restored | None,
        *,
        leftovers: Path | None = None,
        config: Path | None = None,
        output: Path | None = None,
    ) -> None:
        import msgspec
        from tinytown_snapshots.merge_plan import DIFFERS

        counts = converted.snapshot.counts
        same = dict(restored.same) if restored else dict.fromkeys(counts, 0)
        conflicts = list(restored.conflicts) if restored else []
        # Records of an earlier migration have changed since, as they should.
        for item in [item for item in conflicts if item.reason == DIFFERS]:
            conflicts.remove(item)
            same[f"{item.kind}s"] += 1
        left_out: dict[str, int] = {}
        for leftover in self.old.leftovers:
            left_out[leftover.kind] = left_out.get(leftover.kind, 0) + 1
        answer: dict[str, Any] = {
            "source": self.address.redacted,
            "old_town": self.old.name,
            "layouts": dict(self.old.layouts),
            "dry_run": self.dry_run,
            "added": restored.added if restored else counts,
            "same": same,
            "conflicts": msgspec.to_builtins(conflicts),
            "renamed": msgspec.to_builtins(converted.renamed),
            "notes": converted.notes,
            "left_out": left_out,
            "leftovers": str(leftovers) if leftovers else None,
            "output": str(output.resolve()) if output else None,
            "config": self._config_shape(config),
        }
        self.context.emit(answer, _lines(answer))

    def _config_shape(self, path: Path | None) -> dict[str, Any] | None:
        import msgspec

        if self.settings is None:
            return None
        return {
            "file": str(path) if path else None,
            "taken": self.settings.taken,
            "not_taken": msgspec.to_builtins(self.settings.not_taken),
        }


def _lines(answer: Mapping[str, Any]) -> list[str]:
    name = shown(answer["old_town"]) if answer["old_town"] is not None else "without a name"
    lines = [f"old town {name} on {answer['source']}"]
    if config := answer["config"]:
        if config["file"]:
            lines.append(f"{'would write' if answer['dry_run'] else 'wrote'} {config['file']}")
            lines += [f"  not converted: {item['key']}: {item['reason']}" for item in config["not_taken"]]
        else:
            lines.append(f"settings: not changed; --write converts {', '.join(config['taken'])}")
    lines += restored_lines(answer)
    lines += [f"renamed: agent {shown(item['old'])!r} is {item['new']}" for item in answer["renamed"]]
    lines += [f"note: {note}" for note in answer["notes"]]
    if answer["left_out"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(answer["left_out"].items()))
        lines.append(
            f"no counterpart for {kinds}" + (f": kept in {answer['leftovers']}" if answer["leftovers"] else "")
        )
    if answer["output"]:
        lines.append(
            f"{'would write' if answer['dry_run'] else 'wrote'} {answer['output']}: {in_words(answer['added'])}"
        )
    return lines
