"""Gates for pull requests and CI runs, with a program in the place of `gh` that says what a file tells it to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown_beads.forge import look
from tinytown_beads.groups.record import PLUGIN, Group, as_value, field_of
from tinytown_gastown.formulas.service import GateReconciler
from tinytown_testing import Sandbox, check_service

DEADLINE_S = 60.0


@pytest.fixture
def gh(tmp_path: Path) -> Path:
    program = tmp_path / "gh"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat {tmp_path}/answer 2>/dev/null || exit 1\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("type_", "answer", "verdict"),
    [
        ("gh:pr", '{"state":"OPEN"}', "shut"),
        ("gh:pr", '{"state":"MERGED"}', "open"),
        ("gh:pr", '{"state":"CLOSED"}', "lost"),
        ("gh:run", '{"status":"in_progress","conclusion":""}', "shut"),
        ("gh:run", '{"status":"completed","conclusion":"success"}', "open"),
        ("gh:run", '{"status":"completed","conclusion":"failure"}', "lost"),
        ("gh:pr", "no JSON", "shut"),
        ("gh:pr", "[1]", "shut"),
        ("gh:run", "", "shut"),
    ],
)
async def test_what_the_forge_says(gh: Path, type_: str, answer: str, verdict: str) -> None:
    if answer:
        (gh.parent / "answer").write_text(answer)
    with trio.fail_after(DEADLINE_S):
        assert await look(str(gh), {"type": type_, "await_id": "#12"}, str(gh.parent)) == verdict


@pytest.mark.parametrize("word", ["", "--repo=evil", "1; rm -rf /", "a b", "-R"])
async def test_what_is_no_number_is_asked_of_nobody_but_a_person(gh: Path, word: str) -> None:
    assert await look(str(gh), {"type": "gh:pr", "await_id": word}, str(gh.parent)) == "lost"
    assert not (gh.parent / "asked").exists()


async def test_without_the_program_a_gate_stays_shut(tmp_path: Path) -> None:
    assert await look(str(tmp_path / "none"), {"type": "gh:pr", "id": "1"}, str(tmp_path)) == "shut"


async def test_a_merged_pull_request_lets_its_step_go_and_a_closed_one_is_asked_of_a_person(
    sandbox: Sandbox, gh: Path
) -> None:
    async with sandbox.open_town() as town:
        steps: dict[str, Any] = {}
        for name in ("merged", "closed"):
            table = {"formula": "f", "run": "g", "step": name, "gate": {"type": "gh:pr", "await_id": name}}
            steps[name] = await town.add_task(name, held="waits for pull request", meta={"formula": table})
        group = Group(
            name="g", created_at="2026-01-31T09:30:00.000Z", origin={"formula": "f"},
            tasks=tuple(task.id for task in steps.values()),
        )  # fmt: skip
        gh.write_text(
            '#!/bin/sh\ncase $3 in merged) echo \'{"state":"MERGED"}\';; *) echo \'{"state":"CLOSED"}\';; esac\n'
        )
        await town.run(town.operations.set_plugin_field(PLUGIN, field_of("g"), as_value(group)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(GateReconciler(str(gh), every_s=0.05).run, town)
            await town.wait_until(lambda: town.task(steps["merged"].id), lambda task: not task.held)
            await town.wait_until(lambda: town.task(steps["closed"].id), lambda task: task.meta["formula"].get("asked"))
            nursery.cancel_scope.cancel()
        (message,) = await town.inbox()
        assert steps["closed"].id in message.text


async def test_with_a_forge_it_keeps_what_a_service_promises(gh: Path) -> None:
    (gh.parent / "answer").write_text('{"state":"OPEN"}')
    with trio.fail_after(DEADLINE_S):
        report = await check_service(lambda: GateReconciler(str(gh), every_s=0.5))
    report.raise_if_broken()
