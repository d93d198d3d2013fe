"""Towns on a real server, and the way from a town to a snapshot and back."""

from __future__ import annotations

import pytest
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Query
from tinytown_snapshots.checks import check
from tinytown_snapshots.lines import gather, read_lines, to_bytes
from tinytown_snapshots.records import Snapshot
from tinytown_snapshots.transfer import Transfer
from tinytown_testing.bare_town import BareTown


@pytest.fixture
def town(bare_town: BareTown, deadline: None) -> BareTown:
    """A new town, alone on the server of the session."""
    return bare_town


def transfer(town: BareTown, *, page: int = 1000) -> Transfer:
    return Transfer(town.client, town.operations, page=page)


def saved(town: BareTown, *, page: int = 1000) -> bytes:
    """The town as a file."""
    return to_bytes(transfer(town, page=page).read().snapshot)


def loaded(content: bytes) -> Snapshot:
    """The snapshot in a file, checked."""
    numbered = read_lines(content)
    check(numbered)
    return gather(numbered)


HOUR_MS = 3_600_000


def fill(town: BareTown) -> dict[str, str]:
    """Add records of every kind; ann has leased all her mail and works on `now`. The id and the token of ann."""
    calls, run = town.operations, town.run
    ann = run(calls.create_agent("ann", cli="shell", role="dev", tags=["x"], max_rounds=3))
    run(calls.create_agent("ben", cli="other", parent="ann"))
    run(calls.create_agent("cat", cli="other"))
    run(calls.set_desired_state("cat", "stopped", reason="not needed"))
    run(calls.set_desired_state("ben", "paused"))
    run(calls.register_host("h1", lease_ms=HOUR_MS, details={"name": "here"}))
    run(calls.add_task("first", agent="ann", task_id="now", tags=["a", "b"], meta={"git": {"files": []}}))
    run(calls.add_task("then", needs=["now"], agent="ann", task_id="next", origin={"at": "a\nb"}))
    run(calls.add_task("second\nline", agent="ben", task_id="bens", title="two"))
    run(calls.add_task("soon", role="dev", task_id="free", priority="high"))
    run(calls.add_task("not yet", agent="ben", task_id="held", held="wait", held_until="2100-01-01T00:00:00Z"))
    run(calls.add_task("failing", task_id="failed"))
    run(calls.settle_task("fail", "failed", text="it was too hard"))
    run(calls.add_task("hopeless", needs=["failed"], task_id="hopeless"))
    run(calls.send("ann", Query(question="why?"), priority="urgent", message_id="why"))
    run(calls.send("ann", Query(question="later?"), not_before_ms=9_999_999_999_999, message_id="later"))
    run(calls.set_plugin_field("rules", "colours", {"sky": ["blue"], "sea": []}))
    run(calls.set_plugin_field("notes", "n.1", "é"))
    run(calls.send("supervisor", Query(question="and?"), message_id="and"))
    run(calls.send("supervisor", Query(question="x"), message_id="ill", priority="urgent"))
    ill = run(calls.claim(SUPERVISOR_ID, token="ill"))
    run(calls.dead_letter(SUPERVISOR_ID, ill.deliveries, reason="unreadable"))
    fence = run(calls.place_agents("h1", ["shell"], count=1)).agents[0].token or ""
    run(calls.claim(ann.id, token="claim", fence=fence, count=8, lease_ms=HOUR_MS))
    run(calls.start_task(ann.id, fence, "now", "run"))
    run(calls.start_round(ann.id, fence, "run", "now"))
    return {"ann": ann.id, "fence": fence}
