"""Constants of the bead format: keys in wire order, statuses, types and edges with their meaning. Tables only.

Source: the interchange format of beads (``bd export`` and ``bd import``).
"""

from __future__ import annotations

from typing import Literal

#: The keys of an issue in the order in which they are written.
ISSUE_KEYS: tuple[str, ...] = tuple(
    "_type id title description design acceptance_criteria notes spec_id status priority issue_type assignee owner "
    "estimated_minutes created_at created_by updated_at started_at closed_at close_reason closed_by_session due_at "
    "defer_until external_ref source_system metadata compaction_level compacted_at compacted_at_commit original_size "
    "labels dependencies comments sender ephemeral no_history wisp_type pinned is_template bonded_from await_type "
    "await_id timeout waiters source_formula source_location mol_type work_type event_kind actor target payload "
    "dependency_count dependent_count comment_count parent".split()
)

#: The keys of an edge, likewise.
EDGE_KEYS: tuple[str, ...] = ("issue_id", "depends_on_id", "type", "created_at", "created_by", "metadata", "thread_id")

#: Keys that are accepted by `bd import` and stored nowhere, so that its export lacks them.
DROPPED_KEYS: tuple[str, ...] = (
    "closed_by_session",
    "bonded_from",
    "source_formula",
    "source_location",
    "parent",
)
#: Keys that `bd import` stores for a bead that it does not know, and leaves as they are for one that it knows.
FIRST_IMPORT_KEYS: tuple[str, ...] = tuple(
    "spec_id owner created_at created_by due_at defer_until source_system compaction_level compacted_at "
    "compacted_at_commit original_size sender ephemeral no_history wisp_type pinned is_template await_type await_id "
    "timeout waiters mol_type work_type event_kind actor target payload".split()
)

Category = Literal["active", "wip", "done", "frozen"]

#: The built-in statuses. A town may have others; those of Gastown are frozen.
STATUSES: dict[str, Category] = {
    "open": "active",
    "in_progress": "wip",
    "blocked": "wip",
    "hooked": "wip",
    "closed": "done",
    "deferred": "frozen",
    "pinned": "frozen",
    "tombstone": "done",
}

#: Edges that make a bead wait for another.
BLOCKING_EDGES = frozenset({"blocks", "conditional-blocks"})
PARENT_EDGE = "parent-child"
CHILDREN_EDGE = "waits-for"

#: Types without work, which `bd ready` leaves out unless the type is asked for.
NOT_READY_TYPES = frozenset({"merge-request", "gate", "molecule", "message", "agent", "role", "rig"})

#: The types that `bd` accepts without configuration, and those that Gastown configures.
CORE_TYPES: tuple[str, ...] = (
    "bug", "feature", "task", "epic", "chore", "decision", "message", "molecule", "gate", "spike", "story", "milestone", "event",
)  # fmt: skip
GASTOWN_TYPES: tuple[str, ...] = (
    "agent", "role", "rig", "convoy", "slot", "queue", "event", "message", "molecule", "gate", "merge-request",
)  # fmt: skip

#: Types that a plain export leaves out: they run a Gastown town.
INFRA_TYPES = frozenset({"agent", "rig", "role", "message"})

#: Types that keep the state of a Gastown town and are no work.
STATE_TYPES = frozenset({"agent", "role", "rig", "convoy", "slot", "queue", "event", "message", "merge-request"})

#: A town may say the type of a bead by such a label instead.
TYPE_LABELS: dict[str, str] = {
    "gt:agent": "agent",
    "gt:role": "role",
    "gt:rig": "rig",
    "gt:convoy": "convoy",
    "gt:message": "message",
    "gt:merge-request": "merge-request",
    "gt:queue": "queue",
    "gt:channel": "queue",
    "gt:group": "queue",
    "gt:slot": "slot",
    "gt:merge-slot": "slot",
    "gt:event": "event",
    "gt:sling-context": "event",
    "gt:escalation": "escalation",
}

#: Other spellings of types, as `bd` knows them on its command line.
TYPE_ALIASES: dict[str, str] = {
    "enhancement": "feature",
    "feat": "feature",
    "dec": "decision",
    "adr": "decision",
    "investigation": "spike",
    "timebox": "spike",
    "user-story": "story",
    "user_story": "story",
    "ms": "milestone",
    "mr": "merge-request",
    "mol": "molecule",
}


def normal_type(word: str) -> str:
    """A type in the spelling of `bd`."""
    return TYPE_ALIASES.get(word.lower(), word)
