"""``tt migrate``: migrates agents, tasks, mail and settings of a Tinytown 0.10 for Rust into a town."""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from tinytown.config import CONFIG_FILE, PASSWORD_VARIABLE, Config, load_config, read_config
from tinytown.errors import ConfigError, NotFound, Refused, ServerUnreachable, UsageError
from tinytown.model.ids import town_name_from
from tinytown.model.text import counted, shown
from tinytown.redis import Address, address_of, parse_url
from tinytown.state import new_town_id, open_state
from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.caller import caller_in
from tinytown_cli.client import connect
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.plain_letters import unaccented
from tinytown_cli.rust_towns import is_old
from tinytown_cli.text_files import read_text_file, replace_text_file, write_new_file
from tinytown_cli.town_search import find_town
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
@click.option("--force", is_flag=True, help="Migrate although workers of the old town still run.")
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
    force: bool,
    output: Path | None,
) -> None:
    """Migrate agents, tasks and mail of a Tinytown 0.10 (in Rust) into this town, with the same ids.

    The old server is only read, whichever of its three layouts it has. Repeating the command adds what is new. Data
    without a counterpart (events, activity, missions) is kept among the town's state as JSON lines. With --from-town and
    without a town here, one is created from the old settings.
    """
    if (from_url is None) == (from_town is None):
        raise UsageError("expected either --from URL or --from-town DIR", hint="tt migrate --help has examples")
    if nameless and old_name:
        raise UsageError("--nameless and --name exclude each other")
    table = None if from_town is None else _old_table(from_town)
    address = _source_address(from_url, from_town, table)
    requested_name = old_name or (str(table.get("name")) if table is not None and not nameless else None)
    try:
        with context.progress("reading the old town"):
            town = _read(address, requested_name, nameless=nameless)
    except ServerUnreachable as error:
        if table is None or from_town is None:
            raise
        from tinytown_migrate.old_settings import how_to_start_server

        error.hint = how_to_start_server(table, from_town.resolve())
        raise
    if not force:
        _refuse_workers(town)
    migration = _Migration(context, address, town, _new_settings(table, town), dry_run=dry_run)
    if output is not None:
        migration.write_file(output)
    else:
        migration.into_town(write=write)


def _old_table(directory: Path) -> Mapping[str, Any]:
    """The old settings; for a town that was migrated already, the copy that was kept."""
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


def _new_settings(table: Mapping[str, Any] | None, town: OldTown) -> NewSettings | None:
    from tinytown.entry_points import installed

    from tinytown_migrate.old_settings import convert_settings

    if table is None:
        return None
    commands = {str(fields.get("cli", "")) for fields in town.agents.values()}
    return convert_settings(table, commands=sorted(commands), plugins={entry.name for entry in installed("tinytown")})


def _refuse_workers(town: OldTown) -> None:
    """Raises: Refused with code ``workers_running`` while workers of the old town run."""
    from tinytown_migrate.old_workers import find_workers

    if not (workers := find_workers(town)):
        return
    pids = " ".join(str(worker.pid) for worker in workers if worker.pid)
    stop = (
        f"let their rounds end, then type: kill {pids}"
        if pids
        else "let their rounds end, then stop them with the old tt"
    )
    raise Refused(
        f"{counted(len(workers), 'worker')} of the old town may still run: {', '.join(worker.text for worker in workers)}. "
        f"What they have taken from their mailboxes is no longer on the server and would not be migrated",
        hint=f"{stop}; --force migrates anyway",
        code="workers_running",
        workers=[worker.name for worker in workers],
    )


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
        # Everything is checked before anything is written, in the same order for a dry run.
        config = load_config(root) if has_settings else self._config(root)
        self._convert({})
        target = address_of(root, config)
        if target.scheme == "unix" and self.address.scheme == "unix":
            with contextlib.suppress(OSError):
                if os.path.realpath(target.path) == os.path.realpath(self.address.path):
                    raise Refused(
                        f"the old server uses the socket {target.path}, which the new one needs",
                        hint="run tt migrate --output old.jsonl, stop the old server, then run tt restore old.jsonl",
                    )
        if has_settings:
            self._restore(root, config)
            return
        if self.dry_run:
            self._answer(self._convert({}), None, config=root / CONFIG_FILE)
            return
        before = self._write_settings(root)
        try:
            self._restore(root, load_config(root), written=root / CONFIG_FILE)
        except BaseException:
            self._put_back(root / CONFIG_FILE, before)
            raise

    def _config(self, root: Path) -> Config:
        """The settings that would be written. Raises: ConfigError."""
        assert self.settings is not None
        return read_config(tomllib.loads(self.settings.text), root / CONFIG_FILE)

    def _restore(self, root: Path, config: Config, *, written: Path | None = None) -> None:
        if config.redis.url is None:
            open_state(root)
        with connect(root, config, on_connect=self.context.explain) as town_client, self.context.progress("migrating"):
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
        self._answer(converted, restored, leftovers=leftovers, config=written)

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

    def _write_settings(self, root: Path) -> str | None:
        """Write the new file; what was there before."""
        assert self.settings is not None
        path = root / CONFIG_FILE
        before = read_text_file(path)
        # A town that was migrated before keeps its id, and with it its state.
        id_ = str(tomllib.loads(before or "").get("id", "")) or new_town_id(self.settings.name)
        head, name, rest = self.settings.text.partition(f"name = {json.dumps(self.settings.name)}\n")
        text = f"{head}{name}id = {json.dumps(id_)}\n{rest}"
        if before is None:
            write_new_file(path, text)
        elif before != text:
            copy = root / (OLD_CONFIG_FILE if is_old(tomllib.loads(before)) else f"{CONFIG_FILE}.before-migrate")
            if not copy.exists():
                write_new_file(copy, before)
            replace_text_file(path, text, was=before)
        return before

    def _put_back(self, path: Path, before: str | None) -> None:
        written = read_text_file(path)
        if before is None:
            path.unlink(missing_ok=True)
        elif written is not None and written != before:
            replace_text_file(path, before, was=written)

    def _keep_leftovers(self, root: Path) -> Path | None:
        import msgspec

        if not self.old.leftovers:
            return None
        name = town_name_from(unaccented(self.old.name or "nameless"))
        path = open_state(root) / f"migrated-from-{name}.jsonl"
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
