"""Gates that came with a bead file open by themselves where a program can tell, and what waits for them continues."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trio
from tinytown.town import Town
from tinytown_beads.bead import stamp
from tinytown_beads.converter import BeadConverter
from tinytown_beads.gates import BeadGateReconciler
from tinytown_beads.json_text import encode
from tinytown_testing import Sandbox, check_service

DEADLINE_S = 60.0


async def bring_in(town: Town, *records: dict[str, Any]) -> None:
    lines = "".join(
        encode({"title": record["id"], "status": "open", "priority": 2, **record}) + "\n" for record in records
    )
    for arguments in BeadConverter().read(lines.encode()).tasks:
        await town.run(town.operations.add_task(**arguments))


def gate(id_: str, type_: str, **fields: Any) -> dict[str, Any]:
    return {"id": id_, "issue_type": "gate", "await_type": type_, **fields}


def waiting(id_: str, need: str) -> dict[str, Any]:
    return {
        "id": id_,
        "issue_type": "task",
        "dependencies": [{"issue_id": id_, "depends_on_id": need, "type": "blocks"}],
    }


async def test_it_keeps_what_a_service_promises() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_service(lambda: BeadGateReconciler(every_s=0.5))
    report.raise_if_broken()


async def test_a_timer_opens_at_its_time_and_what_waits_for_it_goes_on(sandbox: Sandbox) -> None:
    ago = stamp(datetime.now(UTC) - timedelta(hours=1))
    hour_ns = 3_600_000_000_000
    async with sandbox.open_town() as town:
        await bring_in(
            town,
            gate("g-now", "timer", created_at=ago, timeout=hour_ns + 2_000_000_000),
            gate("g-later", "timer", created_at=ago, timeout=2 * hour_ns),
            gate("g-person", "human", created_at=ago),
            gate("g-never", "timer", created_at=ago),
            waiting("a", "g-now"), waiting("b", "g-later"),
        )  # fmt: skip
        async with trio.open_nursery() as nursery:
            nursery.start_soon(BeadGateReconciler().run, town)
            opened = await town.wait_for_task("g-now")
            nursery.cancel_scope.cancel()
        assert (opened.state, opened.result) == ("completed", "gate opened: timer")
        assert (await town.task("a")).state == "pending"
        for id_ in ("g-later", "g-person", "g-never", "b"):
            assert (await town.task(id_)).state == "blocked"


async def test_a_merged_pull_request_opens_its_gate(sandbox: Sandbox, tmp_path: Path) -> None:
    gh = tmp_path / "gh"
    gh.write_text('#!/bin/sh\ncase $3 in 12) echo \'{"state":"MERGED"}\';; *) echo \'{"state":"OPEN"}\';; esac\n')
    gh.chmod(0o755)
    async with sandbox.open_town() as town:
        await bring_in(town, gate("g-12", "gh:pr", await_id="12"), gate("g-13", "gh:pr", await_id="13"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(BeadGateReconciler(str(gh), every_s=0.1).run, town)
            await town.wait_for_task("g-12")
            nursery.cancel_scope.cancel()
        assert (await town.task("g-13")).state == "blocked"
