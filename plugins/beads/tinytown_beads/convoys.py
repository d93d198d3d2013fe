"""Convoys of a bead file as groups of the town: what they track, under their own name. Made once; then they are the town's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from tinytown.command_line import TownLink
from tinytown.errors import Refused

from tinytown_beads.bead import stamp
from tinytown_beads.gastown.description import field_of
from tinytown_beads.groups.record import Group
from tinytown_beads.groups.town import add_group
from tinytown_beads.meeting import Meeting
from tinytown_beads.merging import last_part
from tinytown_beads.own_beads import task_id_for
from tinytown_beads.views import tag_of

TRACKS = "tracks"


def convoys_in(meeting: Meeting) -> list[Group]:
    """The groups that the open convoys of a file stand for: those with at least one member that is a task."""
    groups: list[Group] = []
    for bead in meeting.beads.values():
        if bead.kind != "convoy" or bead.closed:
            continue
        members = [edge.target for edge in bead.edges if edge.type == TRACKS and edge.target in meeting.mapped.task_ids]
        if members:
            owner = meeting.town.agent_for(last_part(field_of(bead.text("description"), "owner")))
            groups.append(
                Group(
                    name=tag_of(task_id_for(bead)),
                    created_at=stamp(datetime.now(UTC)),
                    owner=owner.name if owner else "supervisor",
                    description=bead.title,
                    tasks=tuple(dict.fromkeys(meeting.mapped.task_ids[member] for member in members)),
                    origin={"format": "beads", "id": bead.id},
                )
            )
    return groups


def make_groups(town: TownLink, groups: Iterable[Group]) -> list[str]:
    """Make those that are not there; their names."""
    made: list[str] = []
    for group in groups:
        try:
            add_group(town, group)
        except Refused:
            continue
        made.append(group.name)
    return made
