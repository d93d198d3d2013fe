"""``tt save``, ``restore`` and ``reset``: save the whole town to a file, restore it, and empty it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.identity import inside_a_round
from tinytown.kernel import running_kernel
from tinytown.model.ids import new_id
from tinytown.model.text import counted
from tinytown.state import mark_data, open_state
from tinytown_cli import administration
from tinytown_cli.client import TownClient
from tinytown_cli.command_call import forward
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.text_files import read_text_file, replace_text_file
from tinytown_cli.town_state import uninstall_town

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
    scope="town.write",
    local_options=["file"],
)
@click.argument("file", required=False, type=_FILE)
@pass_cli_context
def save(context: CliContext, file: Path | None) -> None:
    """Save the town's agents, tasks and mail to FILE (- for standard output) as JSON lines that diff well in git.

    The default is tinytown.jsonl beside tinytown.toml. An older snapshot is replaced; any other file is refused. An
    unchanged town gives an unchanged file. It holds no token, lease, password or address, but all texts of tasks and
    mail.
    """
    from tinytown_snapshots.lines import to_bytes

    if file == _STREAM and context.json:
        raise UsageError(
            "the snapshot and the JSON report cannot both go to standard output",
            hint="leave out --json, or name a file",
        )
    with context.open_town() as town:
        if file == _STREAM:
            sys.stdout.buffer.write(to_bytes(_snapshot_of(town)))
            return
        with context.progress("saving"):
            answer = save_town(town, file or town.root / DEFAULT_FILE)
    summary = f"saved {in_words(answer)} to {answer['file']}"
    context.emit(answer, summary if answer["changed"] else f"{summary} (unchanged)")


def save_town(town: TownClient, path: Path) -> dict[str, Any]:
    """Write the snapshot of `town` to `path`; the report of `tt save --json`."""
    return write_snapshot(_snapshot_of(town), path)


def _snapshot_of(town: TownClient) -> Snapshot:
    from tinytown_snapshots.transfer import Transfer  # late: `tt --help` does not need it

    return Transfer(town, town.operations).read().snapshot


def write_snapshot(snapshot: Snapshot, path: Path) -> dict[str, Any]:
    """Write `snapshot` to `path`; the path with counts. Raises: Refused if there is a file that is not a snapshot."""
    from tinytown_snapshots.lines import is_snapshot, to_bytes

    text = to_bytes(snapshot).decode()
    before = read_text_file(path, limit_bytes=_LIMIT_BYTES)
    if before is not None and not is_snapshot(before):
        raise Refused(f"{path} exists and is not a snapshot", hint="name another file", code="exists")
    if text != before:
        # Texts of tasks and mail are not for other users of this machine.
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
        raise NotFound(f"no snapshot at {path}", hint="tt save writes one")
    else:
        raw = text.encode()
    numbered = read_lines(raw)
    check(numbered)
    return gather(numbered)


def _unless_from_git(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if (value is None) != bool(context.params.get("from_git")):
        if value is None:
            raise click.MissingParameter(ctx=context, param=parameter)
        raise click.UsageError("FILE and --from-git exclude each other", context)
    return value


@click.command(
    cls=TownCommand,
    examples=[
        "tt restore tinytown.jsonl",
        "tt restore tinytown.jsonl --merge --dry-run",
        "zcat monday.jsonl.gz | tt restore -",
        "tt restore --from-git",
    ],
)
@click.argument("file", type=_FILE, required=False, callback=_unless_from_git)
@click.option(
    "--from-git", is_flag=True, is_eager=True, help="Not a file: agents and tasks from the ledger in git (tt ledger)."
)
@click.option(
    "--merge", is_flag=True, help="Restore into a town that is not empty: add what is missing, change nothing."
)
@click.option("--dry-run", is_flag=True, help="Show what would be restored, and change nothing.")
@pass_cli_context
def restore(context: CliContext, file: Path | None, from_git: bool, merge: bool, dry_run: bool) -> None:
    """Restore a snapshot from FILE (- for standard input) into an empty town or, with --merge, into any town.

    The whole file is checked before anything is written; the restore is atomic. Agents that were running start again with
    the next kernel: tt start. A town whose data is gone begins again from the snapshot.
    """
    from tinytown_snapshots.transfer import Transfer

    if file is None:
        forward(context, "ledger restore", merge=merge, dry_run=dry_run)
        return
    snapshot = read_snapshot(file)
    root = context.town_root()
    if not dry_run and not inside_a_round():
        mark_data(root, has_data=False)  # data that is gone does not have to be there
    with context.open_town() as town:
        town.caller.refuse_agents("cannot restore the town", "send the supervisor a message")
        with context.progress("restoring"):
            restored = Transfer(town, town.operations).restore(snapshot, merge=merge, dry_run=dry_run)
    answer = {"file": str(file.resolve()), "merge": merge, "dry_run": dry_run, **restored_shape(restored)}
    context.emit(answer, restored_lines(answer))


def restored_shape(restored: Restored) -> dict[str, Any]:
    """The report of a restore, as `tt restore --json` and `tt migrate --json` print it."""
    import msgspec

    shape: dict[str, Any] = msgspec.to_builtins(restored)
    return shape


def restored_lines(answer: Mapping[str, Any]) -> list[str]:
    """The report for people."""
    lines = [f"{'would add' if answer['dry_run'] else 'added'} {in_words(answer['added'])}"]
    if any(answer["same"].values()):
        lines.append(f"already there: {in_words(answer['same'])}")
    conflicts = answer["conflicts"]
    if conflicts:
        lines.append(f"conflicts, not restored: {len(conflicts)}")
    lines += [
        f"  {conflict['kind'].replace('_', ' ')} {conflict['id']}: {conflict['reason']}"
        for conflict in conflicts[:_CONFLICTS_SHOWN]
    ]
    if len(conflicts) > _CONFLICTS_SHOWN:
        lines.append(f"  and {len(conflicts) - _CONFLICTS_SHOWN} more: --json lists them")
    return lines


def in_words(counts: Mapping[str, Any]) -> str:
    """Counts as text: ``2 agents, 1 task, 0 messages, 0 dead letters``, and plugin data if there is any."""
    names = {"agents": "agent", "tasks": "task", "messages": "message", "dead_letters": "dead letter"}
    text = ", ".join(counted(counts[key], name) for key, name in names.items())
    return f"{text}, {counted(counts['plugin_data'], 'plugin record')}" if counts["plugin_data"] else text


@click.command(cls=TownCommand, examples=["tt reset", "tt reset --force", "tt reset --agents-only --force"])
@click.option(
    "--agents-only", is_flag=True, help="Remove only the agents: tasks go to the backlog, mail to the dead letters."
)
@click.option("--force", is_flag=True, help="Remove it. Without --force, only show what would be removed.")
@click.option(
    "--everything", is_flag=True, help="Also remove the town's files from this machine, as tt uninstall does."
)
@click.option("--no-save", is_flag=True, help="Do not save a snapshot first.")
@pass_cli_context
def reset(context: CliContext, agents_only: bool, force: bool, everything: bool, no_save: bool) -> None:
    """Remove everything from the town: agents, tasks, mail, dead letters and events. Settings and files are kept.

    Without --force it only shows what would be removed. With --force it first saves a snapshot, which tt restore restores.
    No kernel may run the town meanwhile.
    """
    if everything:
        if agents_only:
            raise UsageError("expected either --everything or --agents-only")
        uninstall_town(context, force=force)
        return
    root = context.town_root()
    with context.open_town() as town:
        town.caller.refuse_agents("cannot reset the town", "send the supervisor a message")
        counts = _counts_to_remove(town, agents_only=agents_only)
        answer: dict[str, Any] = {"reset": False, "agents_only": agents_only, "saved": None, **counts}
        if not force and any(counts.values()):
            context.emit(answer, f"would remove: {in_words(counts)}")
            raise Refused(
                f"nothing was removed from town {town.config.name}",
                hint="--force removes it, after saving a snapshot",
                code="needs_force",
            )
        _refuse_kernels(town, root)
        if any(counts.values()) and not no_save:
            moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            answer["saved"] = save_town(town, open_state(root) / f"before-reset-{moment}.jsonl")["file"]
        answer |= _remove_agents(town) if agents_only else _empty(town)
    answer["reset"] = True
    lines = [f"removed: {in_words(answer)}"]
    if answer["saved"]:
        lines.append(f"to undo: tt restore {answer['saved']}")
    context.emit(answer, lines)


def _counts_to_remove(town: TownClient, *, agents_only: bool) -> dict[str, int]:
    from tinytown_snapshots.functions import plugins_with_data

    status = town.run(town.operations.status())
    counts = {
        "agents": len(status.agents),
        "tasks": sum(agent.open_tasks for agent in status.agents),
        "messages": sum(agent.mail.total for agent in status.agents),
        "dead_letters": 0,
        "plugin_data": 0,
    }
    if not agents_only:
        counts["tasks"] = sum(status.tasks.values())
        counts["messages"] += status.supervisor_mail.total
        counts["dead_letters"] = status.dead
        plugin_data = town.run_all(
            [town.operations.plugin_data(plugin) for plugin in town.run(plugins_with_data(town.operations.keys))]
        )
        counts["plugin_data"] = sum(map(len, plugin_data))
    return counts


def _refuse_kernels(town: TownClient, root: Path) -> None:
    pid = running_kernel(root)
    hosts = town.run(town.operations.status(agents=False)).hosts
    if pid or hosts:
        where = f"as process {pid}" if pid else f"on {', '.join(sorted(host.name for host in hosts))}"
        raise Refused(f"a kernel runs this town, {where}", hint="run tt stop", code="kernel_running")


def _empty(town: TownClient) -> dict[str, int]:
    from tinytown_snapshots.transfer import Transfer

    return Transfer(town, town.operations).reset()._asdict()


def _remove_agents(town: TownClient) -> dict[str, int]:
    """Remove the agents one by one, as `tt remove --force` does; after an interruption, repeating it continues."""
    agents = town.run(town.operations.agents())
    if any(agent.host for agent in agents):
        # They still have the host of a kernel that ended: registering a host clears that.
        host = new_id()
        town.run(town.operations.register_host(host, lease_ms=1000, details={"name": "tt reset"}))
        town.run(town.operations.deregister_host(host, reason="reset"))
        agents = town.run(town.operations.agents())
    dead = town.run(town.operations.status(agents=False)).dead
    for agent in agents:
        town.run(administration.remove_agent(town.operations.keys, agent.id, force=True))
    return {
        "agents": len(agents),
        "tasks": sum(agent.open_tasks for agent in agents),
        "messages": town.run(town.operations.status(agents=False)).dead - dead,
        "dead_letters": 0,
        "plugin_data": 0,
    }
