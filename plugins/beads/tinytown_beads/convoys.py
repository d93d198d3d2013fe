"""Open convoys of a bead file as groups of the town, under their own id. Created once; later changes belong to the town."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from tinytown.errors import Refused
from tinytown_cli.public import TownClient

from tinytown_beads.bead import Bead, stamp
from tinytown_beads.description import field_of
from tinytown_beads.groups.record import Group
from tinytown_beads.groups.town import add_group
from tinytown_beads.merge import last_part
from tinytown_beads.reconcile import Reconciliation, TownState
from tinytown_beads.task_as_bead import task_id_for
from tinytown_beads.view import tag_of

TRACKS = "tracks"


def convoy_groups(reconciliation: Reconciliation) -> list[Group]:
    """The groups for the open convoys of a reconciled file."""
    return groups_for(reconciliation.beads.values(), reconciliation.mapped.task_ids, reconciliation.town)


def groups_for(beads: Iterable[Bead], task_ids: Mapping[str, str], town: TownState) -> list[Group]:
    """The groups for the open convoys among `beads` that track at least one task of `task_ids`."""
    groups: list[Group] = []
    for bead in beads:
        if bead.kind != "convoy" or bead.closed:
            continue
        # What is in another database is tracked as ``external:project:id``.
        tracked = [edge.target.rpartition(":")[2] for edge in bead.edges if edge.type == TRACKS]
        members = [target for target in tracked if target in task_ids]
        if members:
            owner = town.agent_for(last_part(field_of(bead.text("description"), "owner")))
            groups.append(
                Group(
                    name=tag_of(task_id_for(bead)),
                    created_at=stamp(datetime.now(UTC)),
                    owner=owner.name if owner else "supervisor",
                    description=bead.title,
                    tasks=tuple(dict.fromkeys(task_ids[member] for member in members)),
                    origin={"format": "beads", "id": bead.id},
                )
            )
    return groups


def create_groups(town: TownClient, groups: Iterable[Group]) -> list[str]:
    """Create the groups that do not exist yet; returns their names."""
    made: list[str] = []
    for group in groups:
        try:
            add_group(town, group)
        except Refused:
            continue
        made.append(group.name)
    return made
