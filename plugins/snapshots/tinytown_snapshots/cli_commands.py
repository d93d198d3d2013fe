"""``tt save``, ``restore`` and ``reset``: the whole town into a file, out of one, and away."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tinytown.client import TownClient
from tinytown.config import prepare_runtime_directory
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.files import read_text_file, replace_text_file
from tinytown.kernel import running_kernel
from tinytown.model.ids import new_id
from tinytown.model.text import counted
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand

if TYPE_CHECKING:
    from tinytown_snapshots.records import Snapshot
    from tinytown_snapshots.transfer import Restored

DEFAULT_FILE = "tinytown.jsonl"

_CONFLICTS_SHOWN = 20
#: A town of a hundred thousand tasks has about 60 MB.
_LIMIT_BYTES = 1 << 30
_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
_STREAM = Path("-")


@click.command(
    cls=TownCommand,
    examples=["tt save", "tt save backups/monday.jsonl", "tt save - | gzip > monday.jsonl.gz"],
)
@click.argument("file", required=False, type=_FILE)
@pass_cli_context
def save(context: CliContext, file: Path | None) -> None:
    """Write the town's agents, tasks and mail to FILE (- for standard output): JSON lines that git can show the differences of.

    The default is tinytown.jsonl beside tinytown.toml. An older snapshot there is replaced, any other file is left alone. An
    unchanged town gives an unchanged file. It holds no token, lease, password or address, but all texts: what people
    have written into tasks and mail is in it.
    """
    from tinytown_snapshots.lines import to_bytes

    if file == _STREAM and context.json:
        raise UsageError(
            "the snapshot and the answer cannot both go to standard output", hint="leave out --json, or name a file"
        )
    with context.open_town() as town:
        if file == _STREAM:
            sys.stdout.buffer.write(to_bytes(_snapshot_of(town)))
            return
        answer = save_town(town, file or town.root / DEFAULT_FILE)
    said = f"saved {in_words(answer)} to {answer['file']}"
    context.emit(answer, said if answer["changed"] else f"{said}, which has not changed")


def save_town(town: TownClient, path: Path) -> dict[str, Any]:
    """Write the snapshot of `town` to `path`; what `tt save --json` prints."""
    return write_snapshot(_snapshot_of(town), path)


def _snapshot_of(town: TownClient) -> Snapshot:
    from tinytown_snapshots.transfer import Transfer  # late, like all of it: `tt --help` does without

    return Transfer(town, town.operations).read().snapshot


def write_snapshot(snapshot: Snapshot, path: Path) -> dict[str, Any]:
    """Write `snapshot` to `path`, in place of an older one but of no other file; what was written, with counts."""
    from tinytown_snapshots.lines import is_snapshot, to_bytes

    text = to_bytes(snapshot).decode()
    before = read_text_file(path, limit_bytes=_LIMIT_BYTES)
    if before is not None and not is_snapshot(before):
        raise Refused(f"{path} is not a snapshot, and is left alone", hint="name another file", code="exists")
    if text != before:
        # What people write to agents is not for everybody on this machine.
        replace_text_file(path, text, was=before, mode=0o600, limit_bytes=_LIMIT_BYTES)
    counts = {"changed": text != before, "size_bytes": len(text.encode()), **snapshot.counts}
    return {"file": str(path.resolve()), **counts}


def read_snapshot(path: Path) -> Snapshot:
    """The checked snapshot in a file, or on standard input. Raises: NotFound; UsageError with code ``bad_snapshot``."""
    from tinytown_snapshots.checks import check
    from tinytown_snapshots.lines import gather, read_lines

    if path == _STREAM:
        raw = sys.stdin.buffer.read(_LIMIT_BYTES)
    elif (text := read_text_file(path, limit_bytes=_LIMIT_BYTES)) is None:
        raise NotFound(f"no snapshot at {path}", hint="tt save makes one")
    else:
        raw = text.encode()
    numbered = read_lines(raw)
    check(numbered)
    return gather(numbered)


@click.command(
    cls=TownCommand,
    examples=[
        "tt restore tinytown.jsonl",
        "tt restore tinytown.jsonl --merge --dry-run",
        "zcat monday.jsonl.gz | tt restore -",
    ],
)
@click.argument("file", type=_FILE)
@click.option("--merge", is_flag=True, help="Into a town that is not empty: add what is not there, change nothing.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@pass_cli_context
def restore(context: CliContext, file: Path, merge: bool, dry_run: bool) -> None:
    """Bring back what tt save wrote to FILE (- for standard input), into an empty town or, with --merge, into any.

    All of the file is read and checked before anything is written, and then it is in the town at once, or not at all.
    Agents that were running want a kernel again: tt start.
    """
    from tinytown_snapshots.transfer import Transfer

    snapshot = read_snapshot(file)
    with context.open_town() as town:
        town.caller.refuse_agents("cannot restore the town", "send the supervisor a message")
        restored = Transfer(town, town.operations).restore(snapshot, merge=merge, dry_run=dry_run)
    answer = {"file": str(file.resolve()), "merge": merge, "dry_run": dry_run, **restored_shape(restored)}
    context.emit(answer, restored_lines(answer))


def restored_shape(restored: Restored) -> dict[str, Any]:
    """What a restore did, as `tt restore --json` and `tt migrate --json` print it."""
    import msgspec

    shape: dict[str, Any] = msgspec.to_builtins(restored)
    return shape


def restored_lines(answer: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    lines = [f"{'would add' if answer['dry_run'] else 'added'} {in_words(answer['added'])}"]
    if any(answer["same"].values()):
        lines.append(f"there already: {in_words(answer['same'])}")
    conflicts = answer["conflicts"]
    if conflicts:
        lines.append(f"left out, and kept as the town has it: {len(conflicts)}")
    lines += [
        f"  {each['kind'].replace('_', ' ')} {each['id']}: {each['reason']}" for each in conflicts[:_CONFLICTS_SHOWN]
    ]
    if len(conflicts) > _CONFLICTS_SHOWN:
        lines.append(f"  and {len(conflicts) - _CONFLICTS_SHOWN} more: --json lists them")
    return lines


def in_words(counts: Mapping[str, Any]) -> str:
    """Counts as people say them: ``2 agents, 1 task, 0 messages, 0 dead letters``, and, where there is any, what plugins keep."""
    names = {"agents": "agent", "tasks": "task", "messages": "message", "dead_letters": "dead letter"}
    said = ", ".join(counted(counts[key], name) for key, name in names.items())
    return f"{said}, {counts['plugin_data']} kept by plugins" if counts["plugin_data"] else said


@click.command(cls=TownCommand, examples=["tt reset", "tt reset --force", "tt reset --agents-only --force"])
@click.option(
    "--agents-only", is_flag=True, help="Only the agents: tasks go onto the backlog, mail to the dead letters."
)
@click.option("--force", is_flag=True, help="Do it. Without, it is only said what would go.")
@click.option("--no-save", is_flag=True, help="Save no snapshot into .tt/ first.")
@pass_cli_context
def reset(context: CliContext, agents_only: bool, force: bool, no_save: bool) -> None:
    """Take everything out of the town: agents, tasks, mail, dead letters and events. Its settings and files stay.

    First it says what would go, and refuses. With --force a snapshot is saved into .tt/, and tt restore brings that back.
    No kernel may run the town meanwhile.
    """
    root = context.town_root()
    with context.open_town() as town:
        town.caller.refuse_agents("cannot reset the town", "send the supervisor a message")
        counts = _what_would_go(town, agents_only=agents_only)
        answer: dict[str, Any] = {"reset": False, "agents_only": agents_only, "saved": None, **counts}
        if not force and any(counts.values()):
            context.emit(answer, f"would go: {in_words(counts)}")
            raise Refused(
                f"nothing was taken out of town {town.config.name}",
                hint="--force does it, after saving a snapshot into .tt/",
                code="needs_force",
            )
        _refuse_kernels(town, root)
        if any(counts.values()) and not no_save:
            moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            answer["saved"] = save_town(town, prepare_runtime_directory(root) / f"before-reset-{moment}.jsonl")["file"]
        answer |= _remove_agents(town) if agents_only else _empty(town)
    answer["reset"] = True
    lines = [f"gone: {in_words(answer)}"]
    if answer["saved"]:
        lines.append(f"tt restore {answer['saved']} brings it back")
    context.emit(answer, lines)


def _what_would_go(town: TownClient, *, agents_only: bool) -> dict[str, int]:
    status = town.run(town.operations.status())
    counts = {
        "agents": len(status.agents),
        "tasks": sum(each.open_tasks for each in status.agents),
        "messages": sum(each.mail.total for each in status.agents),
        "dead_letters": 0,
        "plugin_data": 0,
    }
    if not agents_only:
        counts["tasks"] = sum(status.tasks.values())
        counts["messages"] += status.supervisor_mail.total
        counts["dead_letters"] = status.dead
        kept = town.run_all(
            [town.operations.plugin_data(plugin) for plugin in town.run(town.operations.plugins_with_data())]
        )
        counts["plugin_data"] = sum(map(len, kept))
    return counts


def _refuse_kernels(town: TownClient, root: Path) -> None:
    pid = running_kernel(root)
    hosts = town.run(town.operations.status(agents=False)).hosts
    if pid or hosts:
        where = f"as process {pid}" if pid else f"on {', '.join(sorted(host.name for host in hosts))}"
        raise Refused(f"a kernel runs this town, {where}", hint="tt stop ends it", code="kernel_running")


def _empty(town: TownClient) -> dict[str, int]:
    from tinytown_snapshots.transfer import Transfer

    return Transfer(town, town.operations).reset()._asdict()


def _remove_agents(town: TownClient) -> dict[str, int]:
    """One agent after another, as `tt remove --force` does; called again it goes on."""
    agents = town.run(town.operations.agents())
    if any(each.host for each in agents):
        # A kernel that is gone has still its name on them: whoever joins sweeps that away.
        host = new_id()
        town.run(town.operations.register_host(host, lease_ms=1000, details={"name": "tt reset"}))
        town.run(town.operations.deregister_host(host, reason="reset"))
        agents = town.run(town.operations.agents())
    dead = town.run(town.operations.status(agents=False)).dead
    for each in agents:
        town.run(town.operations.remove_agent(each.id, force=True))
    return {
        "agents": len(agents),
        "tasks": sum(each.open_tasks for each in agents),
        "messages": town.run(town.operations.status(agents=False)).dead - dead,
        "dead_letters": 0,
        "plugin_data": 0,
    }
