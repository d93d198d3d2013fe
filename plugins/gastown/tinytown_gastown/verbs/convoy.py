"""``tt convoy``: groups of tasks in the words of Gastown, where a convoy has a title instead of a name."""

from __future__ import annotations

import re

import click
from tinytown.errors import UsageError
from tinytown.model.tasks import Task
from tinytown.model.text import counted
from tinytown_beads.groups.commands import group
from tinytown_beads.groups.progress import group_shape
from tinytown_beads.groups.record import Group, field_of, now
from tinytown_beads.groups.town import add_group, all_groups, find_progress
from tinytown_cli.public import TASK, CliContext, TownClient, TownGroup, pass_cli_context

from tinytown_gastown.verbs.addresses import find_recipient

#: The commands of ``tt group`` that a convoy has too.
_SHARED = ("add", "remove", "list", "status", "watch", "close")


@click.group(cls=TownGroup, examples=["tt convoy create 'Feature X' gt-abc12", "tt convoy status feature-x"])
def convoy() -> None:
    """Groups of tasks, as convoys. tt group is the same, with a name instead of a title."""


@convoy.command(
    "create", examples=["tt convoy create 'Feature X' gt-abc12 gt-def34 --notify mayor/"], scope="town.write"
)
@click.argument("title")
@click.argument("tasks", nargs=-1, type=TASK, metavar="[TASK...]")
@click.option("--owner", default="", metavar="ADDRESS", help="Who is notified.  [default: the caller]")
@click.option("--notify", multiple=True, metavar="ADDRESS", help="Also notify this one.")
@click.option("--from-epic", default="", type=TASK, metavar="TASK", help="The parts of this task.")
@click.option("--owned", is_flag=True, help="Has no effect.")
@click.option("--merge", "--base-branch", "--molecule", "setting", help="Has no effect: there is no merge queue.")
@pass_cli_context
def create(
    context: CliContext, title: str, tasks: tuple[str, ...], owner: str, notify: tuple[str, ...], from_epic: str, owned: bool,
    setting: str | None,
) -> None:  # fmt: skip
    """Create a convoy called TITLE with these tasks. Its name, for the other commands, is made of the title."""
    with context.open_town() as town:
        members: list[Task] = town.run_all([town.operations.task(word) for word in tasks])
        if from_epic:
            epic = town.run(town.operations.task(from_epic))
            members += [task for task in town.run(town.operations.tasks(limit=100_000)) if task.parent == epic.id]
        made = Group(
            name=_free_name(town, title),
            created_at=now(),
            owner=find_recipient(town, owner) if owner else town.caller.address,
            notify=tuple(find_recipient(town, word) for word in notify),
            description=title if _slug(title) != title else "",
            tasks=tuple(dict.fromkeys(task.id for task in members)),
        )
        add_group(town, made)
        progress = find_progress(town, made)
    context.emit(
        group_shape(progress),
        f"convoy {made.name} tracks {counted(len(made.tasks), 'task')} (tt convoy status {made.name})",
    )


def _slug(title: str) -> str:
    return "-".join(re.findall(r"[A-Za-z0-9._]+", title)).strip("-.").lower()[:50]


def _free_name(town: TownClient, title: str) -> str:
    """A name from the words of a title that no group has. Raises: UsageError for a title without letters and digits."""
    stem = _slug(title)
    if not stem:
        raise UsageError(f"expected a title with letters or digits, got {title[:60]!r}")
    taken = {each.name for each in all_groups(town)}
    name = (
        stem
        if stem not in taken
        else next(f"{stem}-{n}" for n in range(2, len(taken) + 3) if f"{stem}-{n}" not in taken)
    )
    field_of(name)
    return name


for _name in _SHARED:
    convoy.add_command(group.commands[_name])
