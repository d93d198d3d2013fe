"""A forge that a plugin of another distribution brings: it is asked until it answers, and whatever it does costs nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tinytown.model.tasks import Task
from tinytown.town import Town
from tinytown_git.work import Work
from tinytown_testing.installed import install_plugin
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.towns import TownDirectory

from .test_proposals import recorded, with_origin
from .test_queue import WRITE, commits
from .test_workspace import opened, town

__all__ = ["town"]

pytestmark = pytest.mark.usefixtures("deadline")

#: As a stranger writes it: of ours it imports the contract and the hook alone. The files beside the town are what it talks to.
HUB = """
import json
from pathlib import Path

from tinytown.hookspecs import hookimpl
from tinytown_git.forge import Forge, Proposal, RequestState

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_git_forges(root):
    return [Hub(root.parent / (root.name + "-hub"))]


class Hub(Forge):
    name = "hub"

    def __init__(self, place: Path) -> None:
        self.place = place

    async def propose(self, proposal: Proposal) -> str:
        if (self.place / "down").exists():
            raise RuntimeError("the hub is down")
        members = {name: getattr(proposal, name) for name in proposal.__struct_fields__}
        with (self.place / "requests").open("a") as file:
            file.write(json.dumps(members) + "\\n")
        return "hub:1"

    async def state(self, address: str) -> RequestState:
        assert address == "hub:1"
        return (self.place / "state").read_text()
"""


@pytest.fixture
def hub(town: TownDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stranger's forge keeps its requests and says what became of them."""
    place = town.root.parent / f"{town.root.name}-hub"
    place.mkdir()
    (place / "state").write_text("open")
    site = tmp_path / "site"
    site.mkdir()
    install_plugin(site, "hub", HUB)
    monkeypatch.syspath_prepend(str(site))  # pyright: ignore[reportUnknownMemberType]
    monkeypatch.delitem(sys.modules, "tinytown_hub", raising=False)
    return place


@pytest.fixture(autouse=True)
def _without_leftovers(town: TownDirectory) -> object:
    yield
    place = town.root.parent / f"{town.root.name}-hub"
    for file in place.glob("*"):
        file.unlink()
    if place.exists():
        place.rmdir()


async def reached(living: Town, task: Task, stage: str, reason: str = "") -> Work:
    found = await living.wait_until(
        lambda: recorded(living, task), lambda now: now is not None and now.stage == stage and reason in now.reason
    )
    assert found is not None
    return found


async def test_work_is_proposed_on_a_strangers_forge_and_completed_when_it_says_merged(
    town: TownDirectory, scripted_backend: ScriptedBackend, hub: Path, tmp_path: Path
) -> None:
    scripted_backend.script = commits(WRITE)
    project, origin = with_origin(town, tmp_path, 'forge = "hub"')
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await ada.assign("one")
        work = await reached(living, task, "proposed")
        assert (work.place, (await living.task(task.id)).state) == ("hub:1", "verifying")
        (hub / "state").write_text("merged")
        assert (await living.wait_for_task(task.id)).state == "completed"
    (request,) = [json.loads(line) for line in (hub / "requests").read_text().splitlines()]
    branch = f"tt/ada/{task.id}"
    assert request | {"body": ""} == {
        "task": task.id, "agent": "ada", "title": "one", "body": "", "branch": branch, "base": "main", "remote": "origin",
        "commit": work.commit,
    }  # fmt: skip
    assert f"Tinytown-Task: {task.id}" in request["body"]
    assert project.git("rev-parse", branch, cwd=origin) == work.commit


async def test_a_strangers_forge_that_raises_is_asked_again_and_the_reason_is_told(
    town: TownDirectory, scripted_backend: ScriptedBackend, hub: Path, tmp_path: Path
) -> None:
    scripted_backend.script = commits(WRITE)
    with_origin(town, tmp_path, 'forge = "hub"')
    (hub / "down").touch()
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await ada.assign("one")
        await reached(living, task, "queued", "the hub is down")
        (hub / "down").unlink()
        (hub / "state").write_text("what?")
        await reached(living, task, "proposed", "expected open, merged or closed from the forge hub, got 'what?'")
        (hub / "state").write_text("closed")
        await living.wait_until(lambda: living.task(task.id), lambda now: now.attempts > 1)


@pytest.mark.parametrize(("answer", "said"), [("None", "got None"), ("7", "got 7"), ("''", "got ''")])
async def test_an_address_that_is_none_does_not_cost_the_record_of_the_work(
    town: TownDirectory, scripted_backend: ScriptedBackend, hub: Path, tmp_path: Path, answer: str, said: str
) -> None:
    scripted_backend.script = commits(WRITE)
    module = tmp_path / "site" / "tinytown_hub.py"
    module.write_text(HUB.replace('return "hub:1"', f"return {answer}"))
    with_origin(town, tmp_path, 'forge = "hub"')
    async with opened(town) as living:
        ada = await living.spawn("ada")
        await reached(living, await ada.assign("one"), "queued", said)


async def test_a_forge_that_hangs_is_given_up_and_asked_again(
    town: TownDirectory, scripted_backend: ScriptedBackend, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinytown_git.proposals._FORGE_S", 0.2)
    scripted_backend.script = commits(WRITE)
    module = tmp_path / "site" / "tinytown_hub.py"
    module.write_text(HUB.replace('raise RuntimeError("the hub is down")', "import trio; await trio.sleep_forever()"))
    with_origin(town, tmp_path, 'forge = "hub"')
    (hub / "down").touch()
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await ada.assign("one")
        await reached(living, task, "queued", "the forge hub did not answer within 0.2 s")
        (hub / "down").unlink()
        (hub / "state").write_text("merged")
        assert (await living.wait_for_task(task.id)).state == "completed"


async def test_a_forge_that_no_plugin_brings_is_named_with_those_that_are_there(
    town: TownDirectory, scripted_backend: ScriptedBackend, hub: Path, tmp_path: Path
) -> None:
    scripted_backend.script = commits(WRITE)
    with_origin(town, tmp_path, 'forge = "lab"')
    async with opened(town) as living:
        ada = await living.spawn("ada")
        work = await reached(living, await ada.assign("one"), "queued", "lab")
    assert "hub" in work.reason
