"""The database of `bd` beside a bead file: what changed in it since the last sync, and what a sync has to change there. Pure.

A sync has three sides. The lines of the file and the records of the database are merged first, field by field, with the
records of the last sync as their base; the result is synced with the town, and what then differs is pushed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tinytown_beads.bd_versions import Dialect
from tinytown_beads.bead import MOMENT_KEYS, moment, stamp
from tinytown_beads.fields import DROPPED_KEYS, INFRA_TYPES, ISSUE_KEYS, STATUSES, normal_type
from tinytown_beads.json_text import ABSENT, as_list, as_object, decode, encode
from tinytown_beads.lines import Line, extend, read_lines, with_changes

#: Fields that `bd` computes, or that say only that something else changed.
_NO_NEWS = frozenset({"_type", "updated_at", "dependency_count", "dependent_count", "comment_count", *DROPPED_KEYS})
#: Fields that change together.
_STATUS_KEYS = ("status", "closed_at", "close_reason", "started_at")
_SET_KEYS = ("labels", "dependencies", "comments")
_DEFAULTS: Mapping[str, Any] = {"status": "open", "priority": 0}
_TITLE_LIMIT_BYTES = 500

Records = Mapping[str, Line]


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """The database at the last sync: its records, the beads that it did not have, and what its ids begin with."""

    identity: str
    prefix: str
    records: Records
    lacking: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Pulled:
    """The lines of the file with the changes of the database.

    `deleted` were removed from the database since the last sync, and with it from the lines. `lacking` are beads of the file that
    the database does not have and that are not pushed: it had them once, or nobody knows whether it had.
    """

    lines: list[Line]
    records: Records
    deleted: frozenset[str]
    lacking: frozenset[str]


@dataclass(slots=True)
class Push:
    """The changes of the database: records to import, and commands after that. `refused` are beads that it would not take."""

    records: list[bytes] = field(default_factory=list[bytes])
    commands: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    refused: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def ids(self) -> frozenset[str]:
        """The beads that are changed."""
        imported = {str((as_object(decode(record)) or {}).get("id", "")) for record in self.records}
        return frozenset(imported | {words[2] if words[0] == "dep" else words[1] for words in self.commands})


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The types and statuses that a database accepts beyond those built in, and, if it checks them, the prefixes of ids."""

    types: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset()


def pull(
    lines: Sequence[Line],
    known: Sequence[Line],
    exported: Sequence[Line],
    state: DatabaseState | None,
    dialect: Dialect,
) -> Pulled:
    """Merge the records that the database has now into the lines of the file; `known` are the lines of the last sync."""
    known_beads = _beads(known)
    records = _beads(exported)
    before: Mapping[str, Line] = state.records if state else {}
    kept: list[Line] = []
    deleted: set[str] = set()
    lacking = {key for key in (*state.lacking, *before) if key not in records} if state else set[str]()
    for line in lines:
        if line.bead is None:
            kept.append(line)
        elif line.key in records:
            kept.append(_merged(line, known_beads.get(line.key), before.get(line.key), records[line.key], dialect))
        elif line.key in before and _unchanged(line, known_beads.get(line.key)):
            deleted.add(line.key)
        else:
            if line.bead.ephemeral or (state is None and records):
                lacking.add(line.key)
            kept.append(line)
    here = {line.key for line in lines if line.kind in ("bead", "tombstone")}
    extend(kept, (line for key, line in records.items() if key not in here and _belongs_in_file(line)))
    return Pulled(kept, records, frozenset(deleted), frozenset(lacking))


def _belongs_in_file(line: Line) -> bool:
    """Whether a plain export has this record: no wisp, no template, nothing that runs a Gastown town."""
    bead = line.bead
    return bead is not None and not (bead.ephemeral or bead.flag("is_template") or bead.issue_type in INFRA_TYPES)


def _merged(ours: Line, known: Line | None, before: Line | None, theirs: Line, dialect: Dialect) -> Line:
    """A line with what changed in the database. In a field that both changed the newer record wins."""
    if before is not None and before.text == theirs.text:
        return ours
    mine, new = _record(ours), _record(theirs)
    base = _record(before) if before is not None else mine
    they_are_newer = _newer(theirs, ours)
    if before is None and not they_are_newer:
        # Nobody knows who took a member away, so nobody did.
        return with_changes(
            ours,
            {
                key: _merged_items(key, mine.get(key), None, new.get(key))
                for key in _SET_KEYS
                if _items(key, new.get(key)).keys() - _items(key, mine.get(key)).keys()
            },
        )
    news = {
        key
        for key in ISSUE_KEYS
        if key not in _NO_NEWS and dialect.keeps(key) and not _same(key, base.get(key), new.get(key))
    }
    mine_before = _record(known) if known is not None else base
    contested = {key for key in news if not _same(key, mine.get(key), mine_before.get(key))}
    if contested.intersection(_STATUS_KEYS):
        contested |= news.intersection(_STATUS_KEYS)
    changes: dict[str, Any] = {}
    for key in news:
        if key in _SET_KEYS and before is not None:
            changes[key] = _merged_items(key, mine.get(key), base.get(key), new.get(key)) or ABSENT
        elif key not in contested or they_are_newer:
            changes[key] = new.get(key, ABSENT)
    changes = {key: value for key, value in changes.items() if not _same(key, mine.get(key), _plain(value))}
    if changes and they_are_newer:
        changes["updated_at"] = new.get("updated_at", ABSENT)
    return with_changes(ours, changes)


def plan_push(
    lines: Sequence[Line],
    known: Sequence[Line],
    pulled: Pulled,
    state: DatabaseState | None,
    dialect: Dialect,
    vocabulary: Callable[[], Vocabulary],
    now: datetime,
) -> Push:
    """What brings the database to the lines. What changed on neither side since the last sync is left alone."""
    push = Push()
    before: Mapping[str, Line] = state.records if state else {}
    known_beads = _beads(known)
    known_memories = {line.raw.strip() for line in known if line.kind == "memory"}
    words: Vocabulary | None = None
    for line in lines:
        if line.kind == "memory" and state is not None and line.raw.strip() not in known_memories:
            push.records.append(line.ended().raw)
        if line.bead is None or line.key in pulled.lacking:
            continue
        theirs = pulled.records.get(line.key)
        base = before.get(line.key)
        if (
            theirs
            and base
            and base.text == theirs.text
            and line.key in known_beads
            and _unchanged(line, known_beads[line.key])
        ):
            continue
        record = _record(line)
        difference = _difference(record, _record(theirs), dialect) if theirs is not None else None
        if difference is not None and not difference:
            continue
        plain = record.get("issue_type", "task") in dialect.types and record.get("status", "open") in STATUSES
        if not plain or (theirs is None and dialect.own_ids):
            words = words or vocabulary()
        if problem := _refusal(record, words or Vocabulary(), dialect.types, _record(theirs)):
            push.refused[line.key] = problem
            continue
        if difference is None or difference.imports:
            push.records.append(_pushed(record, theirs, dialect, now))
        if difference is not None:
            push.commands += difference.commands
    return push


def _beads(lines: Iterable[Line]) -> Records:
    return {line.key: line for line in lines if line.bead}


def _unchanged(line: Line, known: Line | None) -> bool:
    return known is None or known.text == line.text


@dataclass(slots=True)
class _Difference:
    """What an import changes, and what takes a command."""

    imports: bool = False
    commands: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])

    def __bool__(self) -> bool:
        return self.imports or bool(self.commands)


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any], dialect: Dialect) -> _Difference:
    """How a record has to change. An import adds labels, edges and comments, and never takes one away."""
    difference = _Difference()
    flags = dict(dialect.updates)
    updates: list[str] = []
    for key in ISSUE_KEYS:
        if key in _NO_NEWS or key not in dialect.kept_on_update or _same(key, ours.get(key), theirs.get(key)):
            continue
        if key in flags:
            if ours.get("status") != "closed":
                updates += [flags[key], _as_word(ours.get(key))]
        elif key in _SET_KEYS:
            kept, old = _items(key, ours.get(key)), _items(key, theirs.get(key))
            difference.imports = difference.imports or bool(kept.keys() - old.keys())
            gone = [item for identity, item in old.items() if identity not in kept]
            if key == "labels":
                updates += [word for label in gone for word in ("--remove-label", str(label))]
            elif key == "dependencies":
                difference.commands += _edge_commands(gone, kept.values())
        else:
            difference.imports = True
    mine, other = str(ours.get("status") or "open"), str(theirs.get("status") or "open")
    if dialect.hides_deferral and other == "deferred" != mine and "--defer" not in updates:
        updates += ["--defer", ""]
    if (
        dialect.keeps_reasons
        and mine == "closed"
        and not _same("", ours.get("close_reason"), theirs.get("close_reason"))
    ):
        difference.commands.append(("close", str(ours["id"]), "--reason", str(ours.get("close_reason") or "")))
    if updates:
        if "--defer" in updates:
            # Without it a date of deferral sets the status, and taking it away restores one.
            updates += ["--status", mine]
        difference.commands.insert(0, ("update", str(ours["id"]), *updates))
    return difference


def _edge_commands(gone: Iterable[Any], wanted: Iterable[Any]) -> list[tuple[str, ...]]:
    """The commands that remove edges. A pair has one edge, so another type for it is added after that."""
    again = {(edge["issue_id"], edge["depends_on_id"]): str(edge.get("type") or "blocks") for edge in wanted}
    commands: list[tuple[str, ...]] = []
    for edge in gone:
        pair = (str(edge["issue_id"]), str(edge["depends_on_id"]))
        commands.append(("dep", "remove", *pair))
        if pair in again:
            commands.append(("dep", "add", *pair, "--type", again[pair]))
    return commands


def _pushed(record: Mapping[str, Any], theirs: Line | None, dialect: Dialect, now: datetime) -> bytes:
    """A record as it is imported: newer than the database's, so that it is not skipped as stale."""
    pushed = {key: value for key, value in record.items() if dialect.keeps(key)}
    if "issue_type" in pushed:
        pushed["issue_type"] = normal_type(pushed["issue_type"])
    mine = moment(str(record.get("updated_at") or "")) or now
    other = moment(str(_record(theirs).get("updated_at") or ""))
    if other is not None and other >= mine:
        pushed["updated_at"] = stamp(other + timedelta(seconds=1))  # theirs may have decimals
    if dialect.numbers_comments and (comments := as_list(pushed.get("comments"))):
        numbered = [as_object(comment) or {} for comment in comments]
        pushed["comments"] = [
            {key: value for key, value in comment.items() if key != "id" or isinstance(value, int)}
            for comment in numbered
        ]
    return encode(pushed).encode() + b"\n"


_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_TEXT_KEYS = (
    "description", "design", "acceptance_criteria", "notes", "spec_id", "assignee", "owner", "created_by", "close_reason",
    "external_ref", "source_system", "sender", "wisp_type", "await_type", "await_id", "mol_type", "work_type", "payload",
)  # fmt: skip


def _refusal(record: Mapping[str, Any], words: Vocabulary, types: frozenset[str], theirs: Mapping[str, Any]) -> str:
    """Why `bd` would refuse a record, and with it everything that is imported together; empty if it would not."""
    if not theirs and words.prefixes and not any(record["id"].startswith(f"{word}-") for word in words.prefixes):
        return f"this version of bd takes only ids that begin with {' or '.join(sorted(words.prefixes))}-"
    status, type_ = record.get("status") or "open", normal_type(record.get("issue_type") or "task")
    if len(str(record["title"]).encode("utf-8", "replace")) > _TITLE_LIMIT_BYTES:
        return f"bd takes titles of up to {_TITLE_LIMIT_BYTES} bytes"
    if type_ not in types | words.types and type_ != theirs.get("issue_type"):
        return f"bd does not know the type {type_[:60]!r}; add it with bd config set types.custom"
    if (status not in STATUSES or status == "tombstone") and status not in words.statuses:
        return f"bd does not know the status {status[:60]!r}; add it with bd config set status.custom"
    if record.get("closed_at") and status != "closed":
        return f"it has closed_at and the status {status}"
    minutes = record.get("estimated_minutes", 0)
    if minutes is not None and (not isinstance(minutes, int) or isinstance(minutes, bool) or minutes < 0):
        return "expected estimated_minutes to be a whole number of at least 0"
    if record.get("ephemeral") and record.get("no_history"):
        return "ephemeral and no_history exclude each other"
    for key in MOMENT_KEYS:
        value = record.get(key)
        if value is not None and not (isinstance(value, str) and _MOMENT.fullmatch(value)):
            return f"expected {key} to be a time such as 2026-01-14T09:30:00Z"
    for key in _TEXT_KEYS:
        if not isinstance(record.get(key, ""), str | None):
            return f"expected {key} to be a text"
    return ""


def state_after(
    lines: Iterable[Line], pulled: Pulled, push: Push, exported: Sequence[Line], identity: str, prefix: str
) -> DatabaseState:
    """The state to store: `exported` is the database after the push of `lines`.

    What was not pushed keeps the record that was merged, so that a change made in between is news at the next sync.
    """
    wanted, after = _beads(lines), _beads(exported)
    records = dict(pulled.records)
    for key in push.ids:
        if key in after and (key not in records or _is_ours(after[key], wanted[key], records[key])):
            records[key] = after[key]
    return DatabaseState(identity, prefix, records, pulled.lacking)


def _is_ours(after: Line, wanted: Line, merged: Line) -> bool:
    """Whether a record in the database is what was pushed: each field is the wanted one, the former one, or was dropped."""
    ours, old = _record(wanted), _record(merged)
    return all(
        not value or key in _NO_NEWS or _same(key, value, ours.get(key)) or _same(key, value, old.get(key))
        for key, value in _record(after).items()
    )


def _record(line: Line | None) -> Mapping[str, Any]:
    return line.bead.record if line is not None and line.bead is not None else {}


def _plain(value: Any) -> Any:
    return None if value is ABSENT else value


def _newer(one: Line, other: Line) -> bool:
    mine, theirs = moment(str(_record(other).get("updated_at"))), moment(str(_record(one).get("updated_at")))
    return not mine or (theirs is not None and theirs > mine)


def _same(key: str, ours: Any, theirs: Any) -> bool:
    """Whether two values of a field are one for the database: times to the second, empty as absent, sets without order."""
    if key in _SET_KEYS:
        return _items(key, ours).keys() == _items(key, theirs).keys()
    if isinstance(ours, str) and isinstance(theirs, str) and key in MOMENT_KEYS:
        return ours == theirs or moment(ours) == moment(theirs)
    if key == "issue_type":
        return normal_type(ours or "task") == normal_type(theirs or "task")
    default = _DEFAULTS.get(key)
    if key != "estimated_minutes":
        ours, theirs = ours or default, theirs or default
    return bool(ours == theirs)


def _items(key: str, value: Any) -> dict[Hashable, Any]:
    """The members of a set by what identifies them in the database."""
    items = as_list(value) or []
    if key == "labels":
        return {str(item): item for item in items}
    tables = [table for item in items if (table := as_object(item)) is not None]
    names = ("issue_id", "depends_on_id", "type") if key == "dependencies" else ("author", "text")
    return {tuple(str(table.get(name) or "") for name in names): table for table in tables}


def _merged_items(key: str, ours: Any, base: Any, theirs: Any) -> list[Any]:
    """Our members, without those that they removed, and with those that they added."""
    mine, old, new = _items(key, ours), _items(key, base), _items(key, theirs)
    kept = [item for identity, item in mine.items() if identity in new or identity not in old]
    return kept + [item for identity, item in new.items() if identity not in old and identity not in mine]


def _as_word(value: Any) -> str:
    return "" if value is None else str(value)


def read_state(content: bytes) -> DatabaseState | None:
    """The state in a file that `write_state` wrote; None if it is damaged."""
    head, _, rest = content.partition(b"\n")
    try:
        about = msgspec.json.decode(head, type=_Head)
    except ValueError:
        return None
    if about.version != _VERSION:
        return None
    return DatabaseState(
        about.identity,
        about.prefix,
        {line.key: line for line in read_lines(rest) if line.bead},
        frozenset(about.lacking),
    )


def write_state(state: DatabaseState) -> bytes:
    """The state as a file: a head, and the records as they were exported."""
    head = _Head(version=_VERSION, identity=state.identity, prefix=state.prefix, lacking=tuple(sorted(state.lacking)))
    return b"".join([msgspec.json.encode(head), b"\n", *(line.ended().raw for line in state.records.values())])


_VERSION = 1


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    identity: str
    prefix: str
    lacking: tuple[str, ...] = ()
