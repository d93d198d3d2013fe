"""Every command of ``tt``, typed within a round: what the page on security says of it is what happens."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping

import pytest
from tinytown.model.messages import Informational
from tinytown.town import Town
from tinytown_testing.towns import TownDirectory

from tests.docs.test_security_page import all_commands, who_may
from tests.rights import driver

pytestmark = [pytest.mark.usefixtures("deadline"), pytest.mark.deadline_s(400)]

REFUSED = 4
#: What is not tried, because it takes the terminal, waits for what does not come, ends the round, or needs another system.
NOT_TRIED = {"top", "agent-tools", "group watch", "handoff", "demo", "migrate", "beads from-gastown"}

#: What is typed behind a command. The names in braces are tasks: the round's own, bob's, and free ones.
SAMPLES: Mapping[str, str] = {
    "spawn": "eve --cli shell",
    "interrupt": "bob",
    "resume": "bob",
    "close": "bob",
    "kill": "bob",
    "restart": "bob",
    "reclaim": "--from carl --to-backlog",
    "prune": "carl",
    "remove": "bob --force",
    "wait": "bob --timeout 0.1",
    "assign": "bob x",
    "task cancel": "{bobs2}",
    "task complete": "{bobs} --result x",
    "task current": "bob",
    "task export": "out.jsonl --format beads",
    "task fail": "{bobs} --reason x",
    "task hold": "{free} --reason x",
    "task import": "in.jsonl --format beads",
    "task release": "{held}",
    "task reopen": "{done} --reason x",
    "task requeue": "{free4}",
    "task result": "ffffffff",
    "task show": "{bobs}",
    "task why": "{bobs}",
    "backlog add": "x",
    "backlog assign-all": "bob",
    "backlog claim": "{free2} ada",
    "backlog remove": "{free3}",
    "send": "bob x --info",
    "dead drop": "all",
    "dead redrive": "all",
    "dead show": "x",
    "completion": "bash",
    "beads export": "beads.jsonl",
    "beads import": "in.jsonl",
    "beads sync": "out.jsonl",
    "group create": "g",
    "group add": "h {free}",
    "group remove": "i {free}",
    "group status": "h",
    "group close": "h --force",
    "remember": "x --key x",
    "forget": "x",
    "formula check": "feature",
    "formula run": "feature --var feature=x",
    "formula show": "feature",
    "sling": "{free} ada",
    "hook": "bob",
    "peek": "bob",
    "done": "{bobs} --result x",
    "nudge": "bob x",
    "escalate": "x",
    "dep add": "{free} {bobs}",
    "dep remove": "{free} {bobs}",
    "dep tree": "{free}",
    "config get": "default_cli",
    "config set": "default_cli echo",
    "config unset": "default_cli",
    "accounts unpark": "shell",
    "prompt": "ada",
    "answer": "x yes",
    "deny": "x",
    "trace": "{message}",
    "logs": "bob",
    "plan": "--init",
    "restore": "snapshot",
    "merge reject": "{bobs} --reason x",
    "merge retry": "{bobs}",
    "rescue restore": "x",
    "auth key create": "x",
    "auth key revoke": "x",
    "notify redeliver": "all",
    "notify drop": "all",
    "reset": "--force",
    "uninstall": "--force",
    "plugin new": "x --kind gate",
    "plugin test": "echo",
    "plugin record": "shell --program true --situation answer",
    "plugins install": "git --dry-run",
}


async def prepare(town: Town) -> dict[str, str]:
    """Whom and what the commands are about: bob, who is paused, carl, who is stopped, groups and tasks, by name -> id."""
    bob, carl = await town.spawn("bob"), await town.spawn("carl")
    make = town.operations
    for agent in (bob, carl):
        await agent.interrupt()
    await town.run(make.add_task("carls", agent="carl"))
    await carl.kill(now=True)
    ids: dict[str, str] = {}
    for name in ("bobs", "bobs2", "done"):
        ids[name] = (await town.run(make.add_task(name, agent="bob"))).task.id
    for name in ("free", "free2", "free3", "free4"):
        ids[name] = (await town.run(make.add_task(name))).task.id
    ids["held"] = (await town.run(make.add_task("held", held="x"))).task.id
    await town.run(make.settle_task("complete", ids["done"], text="x"))
    ids["message"] = (await town.run(make.send("bob", Informational(summary="x")))).message_id
    return ids


def as_a_person(town_dir: TownDirectory, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "tinytown", *words], cwd=town_dir.root, check=True, capture_output=True, timeout=60
    )


@pytest.mark.parametrize("caller", ["agent", "conductor"])
async def test_a_command_within_a_round_does_what_the_page_says(town_dir: TownDirectory, caller: str) -> None:
    table = '[roles.lead]\nauthority = "conductor"\n[plugins.authority]\nspawn = ["shell"]\n'
    town_dir.configure(f'default_cli = "shell"\nauto_claim = false\n{table}', timeout_s=380.0)
    (town_dir.root / "in.jsonl").write_text("")
    names = [name for name in all_commands() if name not in NOT_TRIED]
    async with town_dir.open() as town:
        ada = await town.spawn("ada", role="lead" if caller == "conductor" else "")
        ids = await prepare(town)
        as_a_person(town_dir, "group", "create", "h")
        as_a_person(town_dir, "group", "create", "i", ids["free"])
        as_a_person(town_dir, "save", "snapshot")
        settings = (town_dir.root / "tinytown.toml").read_text()
        typed = [[*name.split(), *shlex.split(SAMPLES.get(name, "").format_map(ids))] for name in names]
        requests = town_dir.root / "commands.json"
        requests.write_text(json.dumps(typed))
        task = await ada.assign(shlex.join([sys.executable, driver.__file__, str(requests)]))
        ended = await town.wait_for_task(task.id)
        agents = {agent.name: agent.desired_state for agent in await town.agents()}
        assert not (await town.status()).frozen
    assert (town_dir.root / "tinytown.toml").read_text() == settings
    assert agents == {"ada": "running", "bob": "paused", "carl": "stopped"} | (
        {"eve": "running"} if caller == "conductor" else {}
    )
    assert ended.state == "completed", ended.reason
    answers = dict(zip(names, json.loads(requests.with_suffix(".answers").read_text()), strict=True))
    allowed = {"every agent", "conductors"} if caller == "conductor" else {"every agent"}
    expected = {name: who_may()[name] in allowed for name in names}
    wrong = {name: answers[name] for name in names if (answers[name][0] != REFUSED) != expected[name]}
    assert wrong == {}, json.dumps(wrong)
    broken = {
        name: answers[name] for name in SAMPLES.keys() & answers if expected[name] and answers[name][0] not in (0, 1, 3)
    }
    assert broken == {}, json.dumps(broken)  # 1: a problem was found, 3: there is no such letter
