"""Groups over the blocking client: read with their members, and changed without lost updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinytown.errors import NotFound, Refused, TinytownError, UsageError
from tinytown.model.tasks import Task
from tinytown_cli.public import TownClient

from tinytown_beads.groups.progress import Progress, progress_of
from tinytown_beads.groups.record import PLUGIN, Group, as_value, field_of, groups_in, read_group

_TRIES = 50


def find_group(town: TownClient, name: str) -> Group:
    """The group `name`. Raises: NotFound."""
    return read_group(name, town.run(town.operations.plugin_field(PLUGIN, field_of(name))))


def all_groups(town: TownClient) -> tuple[Group, ...]:
    """Every group, oldest first."""
    data = town.run(town.operations.plugin_data(PLUGIN))
    return groups_in(data)


def add_group(town: TownClient, group: Group) -> None:
    """Store a new group. Raises: Refused with code ``exists``."""
    if not town.run(town.operations.set_plugin_field(PLUGIN, field_of(group.name), as_value(group), expected=None)):
        raise Refused(
            f"group {group.name!r} already exists",
            hint=f"tt group add {group.name} TASK adds tasks to it",
            code="exists",
        )


def change_group(town: TownClient, name: str, change: Callable[[Group], Group | None]) -> Group | None:
    """Replace a group by the result of `change`, None to delete it; retried if another process was faster."""
    field = field_of(name)
    for _ in range(_TRIES):
        value = town.run(town.operations.plugin_field(PLUGIN, field))
        changed = change(read_group(name, value))
        new = None if changed is None else as_value(changed)
        if town.run(town.operations.set_plugin_field(PLUGIN, field, new, expected=value)):
            return changed
    raise Refused(f"group {name!r} is being changed by other processes", hint="try again", code="changing")


def known_tasks(town: TownClient, ids: Sequence[str]) -> list[Task | None]:
    """The tasks with exactly these ids, None for a missing one."""
    tasks: list[Task | None] = []
    for id_, answer in zip(ids, town.client.run_all([town.operations.task(id_) for id_ in ids]), strict=True):
        if isinstance(answer, TinytownError) and not isinstance(answer, NotFound | UsageError):
            raise answer
        tasks.append(answer if isinstance(answer, Task) and answer.id == id_ else None)
    return tasks


def find_progress(town: TownClient, group: Group) -> Progress:
    """The progress of a group."""
    return progress_of(group, known_tasks(town, group.tasks))
