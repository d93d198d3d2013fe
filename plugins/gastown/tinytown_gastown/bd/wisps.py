"""Wisps: ephemeral issues, kept as records in the town's data. Nobody is assigned to them, and no bead file has them.

Agents create and close them within a round, such as the steps of a patrol, so they are no tasks of the town. Closed ones are
removed after a while, by whoever writes next.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tinytown.errors import LimitReached, TinytownError
from tinytown_beads.bead import moment
from tinytown_beads.json_text import as_object
from tinytown_cli.public import TownClient

#: The name under which the commands of bd keep values in the town.
DATA = "bd"
_FIELD = "wisp."
_MOST = 1000
#: How long a closed wisp is kept, by its type.
_HOURS = {
    "heartbeat": 6, "ping": 6, "patrol": 24, "gc_report": 24, "recovery": 168, "error": 168, "escalation": 168,
}  # fmt: skip

Record = dict[str, Any]


def read_wisps(town: TownClient) -> dict[str, Record]:
    """The wisps of a town by their ids."""
    data = town.run(town.operations.plugin_data(DATA))
    wisps = {field.removeprefix(_FIELD): as_object(value) for field, value in data.items() if field.startswith(_FIELD)}
    return {
        id_: record
        for id_, record in wisps.items()
        if record is not None and record.get("id") == id_ and record.get("title")
    }


def write_wisps(
    town: TownClient, records: Sequence[Record], known: Mapping[str, Record], *, gone: Collection[str] = ()
) -> None:
    """Write new or changed wisps, and remove those that are `gone` or have expired.

    Raises: LimitReached for too many; TinytownError.
    """
    expired = [id_ for id_, record in known.items() if _is_expired(record, datetime.now(UTC))]
    if records and len(known) - len(expired) + len(records) > _MOST:
        raise LimitReached(f"the town has {len(known)} wisps", hint="remove some with tt-bd mol burn, or close them")
    set_field = town.operations.set_plugin_field
    calls = [set_field(DATA, _FIELD + str(record["id"]), record) for record in records]
    calls += [set_field(DATA, _FIELD + id_, None) for id_ in dict.fromkeys((*gone, *expired))]
    for answer in town.client.run_all(calls):
        if isinstance(answer, TinytownError):
            raise answer


def _is_expired(record: Record, now: datetime) -> bool:
    closed = moment(str(record.get("closed_at") or ""))
    return closed is not None and now - closed > timedelta(hours=_HOURS.get(str(record.get("wisp_type")), 24))
