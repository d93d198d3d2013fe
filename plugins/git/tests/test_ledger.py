"""The ledger: what it holds, that it only grows whatever is done to it, and the town that is made of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from tinytown.config import load_config
from tinytown.contracts import Finished, Outcome, Report, Round, Usage
from tinytown.errors import Refused, TinytownError, UsageError
from tinytown.protocol import Operation
from tinytown.town import Town
from tinytown_cli import administration
from tinytown_git.git import GitFailed
from tinytown_git.ledger.branch import Branch
from tinytown_git.ledger.lines import FORMAT, VERSION, Header, Ledger, to_line
from tinytown_git.ledger.masking import mask, secret_values
from tinytown_git.ledger.restoring import snapshot_of
from tinytown_git.ledger.service import LedgerService, LedgerWriter
from tinytown_git.settings import Settings
from tinytown_git.work import LEDGER_FIELD, PLUGIN
from tinytown_snapshots.checks import check
from tinytown_snapshots.lines import read_lines, to_bytes
from tinytown_snapshots.records import AgentRecord, TaskRecord
from tinytown_testing import check_service, open_sandbox
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.shell import Shell
from tinytown_testing.towns import KernelStarter, TownDirectory

from .conftest import Project
from .test_queue import WRITE, commits
from .test_rescue import shop as shop_project
from .test_workspace import opened, project_of, town

__all__ = ["shop_project", "town"]

pytestmark = pytest.mark.usefixtures("deadline")

BRANCH = "tinytown/ledger"


def writer(living: Town, **settings: Any) -> LedgerWriter:
    return LedgerWriter(Settings(ledger=True, **settings), living.config, living)


def lines(project: Project, commit: str = BRANCH) -> list[dict[str, Any]]:
    """All lines of the ledger, by git alone."""
    names = [name for name in project.git("ls-tree", "--name-only", commit).splitlines() if name != "README.md"]
    return [json.loads(line) for name in names for line in project.git("show", f"{commit}:{name}").splitlines()]


def of_type(project: Project, type_: str) -> list[dict[str, Any]]:
    return [line for line in lines(project) if line["type"] == type_]


def assert_it_only_grew(project: Project) -> None:
    """Each commit has all lines of the one before it, in order, and more behind them."""
    revisions = project.git("rev-list", "--reverse", "--first-parent", BRANCH).split()
    for before, after in pairwise(revisions):
        old, new = lines(project, before), lines(project, after)
        assert new[: len(old)] == old
        assert len(new) > len(old)


async def test_tasks_are_added_when_they_change_and_nothing_else_is_touched(town: TownDirectory) -> None:
    project = project_of(town)
    async with town.connect() as living:
        before, ledger = project.look(), writer(living)
        ann = await living.spawn("ann", cli="shell")
        first = await ann.assign("Write it\n\nall of it")
        assert await ledger.write() is not None
        assert await ledger.write() is None
        second = await living.add_task("then", needs=[first.id])
        await living.complete_task(first.id, "it is there")
        assert await ledger.write() is not None
        assert await ledger.write() is None
    assert project.look() == before
    assert project.git("log", "--format=%an|%s", BRANCH).splitlines() == [
        "Tinytown|Ledger: 2 records", "Tinytown|Ledger: 2 records",
    ]  # fmt: skip
    assert [line["type"] for line in lines(project)] == [
        "ledger",
        "agent",
        "task",
        "position",
        "task",
        "task",
        "position",
    ]
    states = {line["id"]: line["state"] for line in of_type(project, "task")}
    assert states == {first.id: "completed", second.id: "pending"}
    assert_it_only_grew(project)
    project.git("fsck", "--strict")


async def test_what_came_and_went_between_two_commits_leaves_no_trace_and_an_empty_town_no_branch(
    town: TownDirectory,
) -> None:
    project = project_of(town)

    async def come_and_go(living: Town) -> None:
        brief = await living.spawn("brief", cli="shell")
        task = await living.add_task("brief")
        await living.run(administration.delete_task(living.operations.keys, task.id))
        await living.run(administration.remove_agent(living.operations.keys, brief.id, force=True))

    async with town.connect() as living:
        ledger = writer(living)
        assert await ledger.write() is None
        await come_and_go(living)
        assert await ledger.write() is None
        assert project.git("branch", "--list", BRANCH) == ""
        stays = await living.spawn("stays", cli="shell")
        await ledger.write()
        await come_and_go(living)
        assert await ledger.write() is None
        await living.run(administration.remove_agent(living.operations.keys, stays.id, force=True))
        assert await ledger.write() is not None
    assert [line["type"] for line in lines(project)] == ["ledger", "agent", "position", "removed", "position"]
    assert project.git("log", "-1", "--format=%s", BRANCH) == "Ledger: 1 record"


async def test_the_task_of_the_doctor_is_no_work_of_the_town(town: TownDirectory) -> None:
    project = project_of(town)
    async with town.connect() as living:
        ledger = writer(living)
        doctor = await living.spawn("tt-doctor", cli="shell")
        task = await doctor.assign("say that all is well")
        assert await ledger.write() is None
        await living.complete_task(task.id, "well")
        assert await ledger.write() is None
        await living.add_task("real work")
        assert await ledger.write() is not None
    assert [line["type"] for line in lines(project)] == ["ledger", "task", "position"]


async def test_rounds_have_their_costs_and_merged_work_its_verdicts(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    town.configure(
        '[plugins.git]\nfetch = false\nledger = true\nledger_every_s = 0.05\nreview = "none"\n'
        '[plugins.git.checks]\ntest = "test -f README"'
    )
    project = project_of(town)
    project.commit({}, "settings")
    write = commits(WRITE)

    async def work(round_: Round, report: Report) -> Outcome:
        await write(round_, report)  # type: ignore[misc]
        return Finished(text="first line\nall done", usage=Usage(input_tokens=7, output_tokens=3, cost_usd=0.25))

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("one")).id)
    (ended,) = of_type(project, "round")
    assert (ended["outcome"], ended["agent"], ended["task"], ended["text"]) == ("finished", "ada", task.id, "all done")
    assert ended["usage"] == {"input_tokens": 7, "output_tokens": 3, "cost_usd": 0.25}
    verdicts = {line["kind"]: line for line in of_type(project, "verdict")}
    assert {kind: (each["passed"], each["by"]) for kind, each in verdicts.items()} == {
        "check": (True, "test"), "merge": (True, "main"), "gates": (True, "ada"),
    }  # fmt: skip
    assert project.git("log", "-1", "--format=%s", verdicts["merge"]["commit"]) == "Merge one"
    assert of_type(project, "task")[-1]["state"] == "completed"
    assert_it_only_grew(project)


async def test_a_refusal_is_a_verdict_with_its_reason(town: TownDirectory, scripted_backend: ScriptedBackend) -> None:
    town.configure(
        '[plugins.git]\nfetch = false\nledger = true\nledger_every_s = 0.05\nforbidden = ["secret"]', max_attempts=1
    )
    project = project_of(town)
    project.commit({}, "settings")
    scripted_backend.script = commits("echo x > secret; git add -A; git commit -qm x")
    async with opened(town) as living:
        ada = await living.spawn("ada")
        assert (await living.wait_for_task((await ada.assign("one")).id)).state == "failed"
    (refused,) = of_type(project, "verdict")
    assert (refused["kind"], refused["passed"]) == ("gates", False)
    assert "secret" in refused["reason"]


async def test_the_service_keeps_its_promises() -> None:
    async with open_sandbox() as sandbox:
        made = Project(sandbox.root, sandbox.base)
        made.git("init", "-q")
        settings = Settings(ledger=True, ledger_every_s=0.05)
        (await check_service(lambda: LedgerService(settings, sandbox.config), sandbox=sandbox)).raise_if_broken()


async def test_a_repository_without_commits_has_a_ledger_and_still_none(town_dir: TownDirectory) -> None:
    project = project_of(town_dir)
    project.git("init", "-q", "-b", "main")
    async with town_dir.connect() as living:
        await living.add_task("one")
        assert await writer(living).write() is not None
    assert len(of_type(project, "task")) == 1
    assert project.git("rev-parse", "-q", "--verify", "main", check=False) == ""
    assert project.git("symbolic-ref", "HEAD") == "refs/heads/main"


async def test_without_a_repository_the_town_says_why_there_is_no_ledger(town_dir: TownDirectory) -> None:
    async with town_dir.connect() as living:
        ledger = writer(living)
        await ledger.attempt()
        said = await living.run(living.operations.plugin_field(PLUGIN, LEDGER_FIELD))
        assert "is in no git repository" in said
        project_of(town_dir).git("init", "-q")
        await ledger.attempt()
        assert await living.run(living.operations.plugin_field(PLUGIN, LEDGER_FIELD)) is None


# -- a branch that somebody has changed ----------------------------------------------------------------------------


async def test_a_ledger_that_was_squashed_set_back_or_deleted_goes_on_and_lacks_nothing(town: TownDirectory) -> None:
    project = project_of(town)

    def states() -> dict[str, str]:
        return {line["id"]: line["state"] for line in of_type(project, "task")}

    async with town.connect() as living:
        ledger = writer(living)
        for number in range(3):
            await living.add_task(str(number))
            assert await ledger.write() is not None
        whole = states()
        squashed = project.git("commit-tree", "-m", "squashed", f"{BRANCH}^{{tree}}")
        project.git("update-ref", f"refs/heads/{BRANCH}", squashed)
        await living.add_task("3")
        assert await ledger.write() is not None
        assert len(states()) == 4
        assert_it_only_grew(project)
        project.git("update-ref", f"refs/heads/{BRANCH}", squashed)
        assert await ledger.write() is not None
        assert len(states()) == 4
        project.git("branch", "-D", BRANCH)
        assert await ledger.write() is not None
    assert len(states()) == 4
    assert whole.items() <= states().items()


async def test_a_branch_that_is_no_ledger_or_of_another_town_or_broken_is_left_alone(town: TownDirectory) -> None:
    project = project_of(town)
    async with town.connect() as living:
        ledger = writer(living)
        await living.add_task("one")
        project.git("branch", BRANCH, "main")
        with pytest.raises(Refused, match="which is no ledger"):
            await ledger.write()
        await ledger.attempt()
        assert "no ledger" in await living.run(living.operations.plugin_field(PLUGIN, LEDGER_FIELD))
        for content, expected in (
            (
                to_line(Header(format=FORMAT, version=VERSION, town="other", schema="2")).decode(),
                "ledger of the town 'other'",
            ),
            ('{"type":"task"}\n', "the ledger is invalid at 000001.jsonl:1"),
            ('{"type":"ledger","format":"tinytown-ledger","version":99,"town":"t","schema":"2"}\n', "version 99"),
            ('{"type":"ledger"', "the line does not end"),
        ):
            project.git("checkout", "-q", "--orphan", "made")
            project.commit({"000001.jsonl": content})
            project.git("checkout", "-q", "main")
            project.git("branch", "-qf", BRANCH, "made")
            tip = project.git("rev-parse", BRANCH)
            with pytest.raises(TinytownError, match=expected):
                await ledger.write()
            assert project.git("rev-parse", BRANCH) == tip
            project.git("branch", "-D", "made")


async def test_a_ledger_that_somebody_has_checked_out_waits(town: TownDirectory) -> None:
    project = project_of(town)
    async with town.connect() as living:
        ledger = writer(living)
        await living.add_task("one")
        await ledger.write()
        place = town.root.parent / f"{town.root.name}-ledger"
        project.git("worktree", "add", "-q", str(place), BRANCH)
        try:
            await living.add_task("two")
            with pytest.raises(Refused, match="is checked out in"):
                await ledger.write()
            assert project.git("status", "--porcelain", cwd=place) == ""
        finally:
            project.git("worktree", "remove", "--force", str(place))
        assert await ledger.write() is not None


@pytest.mark.parametrize(
    "name",
    ["", "-x", "--output=/tmp/x", "a..b", "a b", "/etc", "a/", "a//b", "HEAD", "a\nb", "a~1", "a@{1}", "x.lock", "tt"],
)
def test_a_branch_name_that_git_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="as ledger_branch"):
        Settings(ledger_branch=name)


async def test_a_name_that_another_branch_takes_or_that_stands_for_another_branch_moves_nothing_else(
    town: TownDirectory,
) -> None:
    project = project_of(town)
    async with town.connect() as living:
        await living.add_task("one")
        project.git("branch", "tinytown")  # a file where a directory would be
        with pytest.raises(GitFailed, match="tinytown"):
            await writer(living).write()
        project.git("branch", "-D", "tinytown")
        project.git("symbolic-ref", f"refs/heads/{BRANCH}", "refs/heads/main")
        main = project.git("rev-parse", "main")
        with pytest.raises(Refused, match="no ledger"):
            await writer(living).write()
        project.git("symbolic-ref", f"refs/heads/{BRANCH}", "refs/heads/victim")
        assert await writer(living).write() is not None
    assert project.git("rev-parse", "main") == main
    assert project.git("rev-parse", "-q", "--verify", "victim", check=False) == ""
    assert len(of_type(project, "task")) == 1


# -- cut off, and at once ------------------------------------------------------------------------------------------

#: Kills the git whose number is in the file ``kill-at``, and with ``kernel`` in the place of {victims} its kernel.
WRAPPER = """#!/bin/sh
case "$*" in *core.hooksPath=/dev/null*)
    echo "$*" >> {place}/commands
    if [ "$(wc -l < {place}/commands)" -eq "$(cat {place}/kill-at)" ]; then
        exec 3<&0
        {git} "$@" <&3 3<&- &
        sleep "0.00$(($(cat {place}/kill-at) % 7))"
        kill -9 $! {victims}
        exit 137
    fi
esac
exec {git} "$@"
"""


@pytest.fixture
def kill_git_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Has the git command of this number killed from now on; how many there were so far."""
    git = shutil.which("git")
    assert git is not None
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    def kill_at(number: int, victims: str = "") -> int:
        commands = tmp_path / "commands"
        count = len(commands.read_text().splitlines()) if commands.exists() else 0
        commands.write_text("")
        (tmp_path / "kill-at").write_text(str(number))
        text = WRAPPER.replace("{git}", git).replace("{place}", str(tmp_path)).replace("{victims}", victims)
        if not program.exists() or program.read_text() != text:  # somebody may be reading it
            program.write_text(text)
            program.chmod(0o755)
        return count

    return kill_at


def assert_each_task_is_there_once(project: Project, count: int) -> None:
    reported = [(line["id"], line["state"]) for line in of_type(project, "task")]
    assert len(reported) == len(set(reported)) == count
    assert project.locks() == []
    project.git("fsck", "--strict")
    assert_it_only_grew(project)


@pytest.mark.parametrize("number", range(1, 13))
async def test_a_git_that_is_killed_costs_no_line_and_leaves_no_half(
    town: TownDirectory, kill_git_at: Callable[..., int], number: int
) -> None:
    project = project_of(town)
    kill_git_at(0)
    async with town.connect() as living:
        ledger = writer(living)
        await living.add_task("one")
        await ledger.write()
        await living.add_task("two")
        kill_git_at(number)
        with trio.move_on_after(20):
            with suppress(TinytownError, ValueError):
                await ledger.write()
        assert kill_git_at(0) >= min(number, 8)
        await ledger.write()
    assert_each_task_is_there_once(project, 2)


async def _wait_and_cancel(kernel: Any, scope: trio.CancelScope) -> None:
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(kernel.wait)
    scope.cancel()


@pytest.mark.deadline_s(300)
async def test_a_kernel_that_is_killed_at_any_git_command_of_the_ledger_is_followed_by_one_that_goes_on(
    town: TownDirectory, start_kernel: KernelStarter, kill_git_at: Callable[..., int]
) -> None:
    town.configure('[plugins.git]\nworkspace = "shared"\nledger = true\nledger_every_s = 0.02')
    project = project_of(town)
    project.commit({}, "settings")
    added = 0
    async with town.connect() as living:
        for number in range(1, 11):
            kill_git_at(0, "$PPID")
            kernel = start_kernel()
            kill_git_at(number, "$PPID")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_and_cancel, kernel, nursery.cancel_scope)
                while True:  # one commit has fewer commands than the last kernels live to see
                    with trio.CancelScope(shield=True):
                        await living.add_task(str(number))
                        added += 1
                    await trio.sleep(1.0)
        kill_git_at(0)
        await writer(living).write()
    assert_each_task_is_there_once(project, added)
    (await project.repository()).remove_quarantines(0)
    assert list((project.root / ".git" / "objects").glob("tinytown-*")) == []


async def test_two_that_write_at_once_write_each_line_once(town: TownDirectory) -> None:
    project = project_of(town)
    async with town.connect() as living:
        hosts = [writer(living), writer(living)]
        for number in range(5):
            await living.add_task(str(number))
            async with trio.open_nursery() as nursery:
                for host in hosts:
                    nursery.start_soon(host.write)
            await hosts[number % 2].write()
    assert_each_task_is_there_once(project, 5)


async def test_another_host_goes_on_where_the_first_one_stopped(
    town: TownDirectory, start_kernel: KernelStarter
) -> None:
    town.configure('[plugins.git]\nworkspace = "shared"\nledger = true\nledger_every_s = 0.02')
    project = project_of(town)
    project.commit({}, "settings")

    async def written(living: Town, count: int) -> None:
        with trio.fail_after(60):
            while len(project.git("show", f"{BRANCH}:000001.jsonl", check=False).splitlines()) < count:  # noqa: ASYNC110
                await trio.sleep(0.02)

    async with town.connect() as living:
        await living.add_task("one")
        first = start_kernel()
        await written(living, 3)
        first.kill()
        await living.add_task("two")
        second = start_kernel()
        await written(living, 5)
        assert second.stop() == 0
    assert_each_task_is_there_once(project, 2)


async def test_events_that_are_gone_leave_a_mark_and_no_task_behind(town: TownDirectory) -> None:
    project = project_of(town)
    async with town.connect() as living:
        ledger = writer(living)
        await living.add_task("one")
        await ledger.write()
        for number in range(3):
            await living.add_task(str(number))
        await living.run(Operation(("XTRIM", living.operations.keys.events, "MAXLEN", 1), int))
        await ledger.write()
    assert len(of_type(project, "gap")) == 1
    assert len(of_type(project, "task")) == 4


async def test_a_new_file_is_begun_when_the_last_one_is_large(
    town: TownDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinytown_git.ledger.branch._FILE_BYTES", 2_000)
    project = project_of(town)
    async with town.connect() as living:
        for number in range(8):
            await living.add_task(str(number))
            await writer(living).write()  # anew each time, so that all of it is read
    names = project.git("ls-tree", "--name-only", BRANCH).split()
    assert names == ["000001.jsonl", "000002.jsonl", "README.md"]
    assert_each_task_is_there_once(project, 8)


# -- secrets -------------------------------------------------------------------------------------------------------


async def test_secrets_do_not_reach_the_ledger(town: TownDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_API_KEY", 'abc"def-0123456789')
    monkeypatch.setenv("SHOP_MODE_KEY", "completed")
    secrets = [
        "sk-ant-api03-AAAABBBBCCCCDDDD", "ghp_0123456789abcdefghijklmnop", "AKIAIOSFODNN7EXAMPLE", "hunter2secret",
        "MIIEpAIBAAKCAQEA", 'abc"def-0123456789',
    ]  # fmt: skip
    text = (
        f"Use {secrets[0]}, {secrets[1]} and {secrets[2]} at https://ann:{secrets[3]}@example.org/x\n"
        f"-----BEGIN RSA PRIVATE KEY-----\n{secrets[4]}\n-----END RSA PRIVATE KEY-----\nor {secrets[5]}."
    )
    project = project_of(town)
    async with town.connect() as living:
        task = await living.add_task(text)
        await living.complete_task(task.id, f"used {secrets[0]}")
        await writer(living).write()
    whole = project.git("show", f"{BRANCH}:000001.jsonl")
    for secret in secrets:
        assert secret not in whole
        assert json.dumps(secret)[1:-1] not in whole
    (line,) = of_type(project, "task")
    assert line["description"] == "Use ***, *** and *** at https://***@example.org/x\n***\nor ***."
    assert (line["state"], line["result"]) == ("completed", "used ***")


def test_masking_leaves_ordinary_lines_alone() -> None:
    line = to_line(TaskRecord(seq=1, id="x", description="the task-sk and https://example.org:80/a@b", state="pending",
                              priority="normal", created_at="", updated_at=""))  # fmt: skip
    assert (
        mask(line, secret_values({"A_TOKEN": "short", "B_KEY": "/path/to/it", "C_KEY": "plainword", "D": "x" * 20}))
        == line
    )


# -- a town from its ledger ----------------------------------------------------------------------------------------


def _task(id_: str, seq: int, **members: Any) -> TaskRecord:
    moment = "2026-01-31T09:30:00.125Z"
    given = {"state": "pending", "priority": "normal", "created_at": moment, "updated_at": moment, "description": id_}
    return TaskRecord(id=id_, seq=seq, **{**given, **members})


def _ledger(*records: Any) -> Ledger:
    ledger = Ledger(whole=True)
    for record in (Header(format=FORMAT, version=VERSION, town="t", schema="2"), *records):
        ledger.add(to_line(record).rstrip(b"\n"))
    return ledger


def test_what_a_ledger_lost_does_not_keep_a_town_from_being_made_of_it() -> None:
    agent = AgentRecord(
        seq=1, id="a1", name="ada", cli="x", desired_state="running", created_at="2026-01-31T09:30:00.125Z"
    )
    again = msgspec.structs.replace(agent, id="a2", name="Ada")
    other = msgspec.structs.replace(agent, id="b1", name="ben", nickname="ada")
    ledger = _ledger(
        agent, again, other,
        _task("gone", 1, state="assigned", agent_id="a1", assigned_to="ada", order="gone.3", orders=3),
        _task("hers", 1, state="assigned", agent_id="b1", assigned_to="ben", order="hers.1", orders=1),
        _task("judged", 2, state="verifying", agent_id="b1", assigned_to="ben", orders=2),
        _task("waits", 2, state="blocked", needs=("hers", "lost"), open_needs=("hers", "lost"), reason="needs hers"),
        _task("free", 3, state="blocked", needs=("lost",), open_needs=("lost",), reason="needs lost"),
        _task("held", 4, state="blocked", held="wait"),
    )  # fmt: skip
    snapshot = snapshot_of(ledger)
    check(read_lines(to_bytes(snapshot)))
    assert [agent.id for agent in snapshot.agents] == ["a2", "b1"]
    assert {task.id: (task.state, task.order) for task in snapshot.tasks} == {
        "gone": ("pending", ""), "hers": ("assigned", "hers.1"), "judged": ("assigned", "judged.2"),
        "waits": ("blocked", ""), "free": ("pending", ""), "held": ("blocked", ""),
    }  # fmt: skip
    assert [message.id for message in snapshot.messages] == ["hers.1", "judged.2"]


def test_needs_that_form_a_cycle_are_refused() -> None:
    with pytest.raises(UsageError, match="form a cycle"):
        snapshot_of(_ledger(_task("a", 1, needs=("b",)), _task("b", 2, needs=("a",))))


@pytest.fixture
def shop(shop_project: Project, tt: Shell) -> Shell:
    """A repository with a town, without a kernel."""
    return tt


async def _write_in(shop: Shell, monkeypatch: pytest.MonkeyPatch, *, delete: str = "") -> None:
    """Write the ledger of the shell's town, as its kernel would, after a task was deleted."""
    from tinytown.town import connect_town

    monkeypatch.setenv("XDG_STATE_HOME", shop.variables["XDG_STATE_HOME"])
    monkeypatch.setenv("TINYTOWN_HOME", shop.variables["TINYTOWN_HOME"])
    async with connect_town(shop.directory, load_config(shop.directory)) as living:
        if delete:
            await living.run(administration.delete_task(living.operations.keys, delete))
        await writer(living).write()


async def test_a_fresh_clone_gets_the_agents_and_tasks_back(
    shop: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shop("spawn", "ada", "--cli", "shell", "--role", "dev")
    first = shop("assign", "ada", "first", "--json").json["task_id"]
    second = shop("backlog", "add", "second", "--needs", first, "--json").json["task_id"]
    third = shop("backlog", "add", "third", "--json").json["task_id"]
    shop("task", "complete", third, "--result", "done")
    fourth = shop("backlog", "add", "fourth", "--json").json["task_id"]
    await _write_in(shop, monkeypatch)
    await _write_in(shop, monkeypatch, delete=fourth)
    project = Project(shop.directory, tmp_path)
    assert shop("ledger", "--json").json["tasks"] == 3
    assert shop("ledger", "show", "--at", f"{BRANCH}~1", "--json").json["tasks"] == 4
    clone = tmp_path / "clone"
    project.git("clone", "-q", str(shop.directory), str(clone))
    text = (clone / "tinytown.toml").read_text()
    (clone / "tinytown.toml").write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith("id =")) + "\n"
    )
    try:
        shown = shop("ledger", cwd=clone).out
        assert "refs/remotes/origin/tinytown/ledger" in shown
        assert "1 agent, 3 tasks" in shown
        assert shop("ledger", "restore", "--dry-run", "--json", cwd=clone).json["added"]["tasks"] == 3
        history = shop("history", "--from-git", "--json", cwd=clone).json
        assert history == shop("ledger", "history", "--json", cwd=clone).json
        assert history["ref"] == "refs/remotes/origin/tinytown/ledger"
        assert shop("restore", "--from-git", "--json", cwd=clone).json["added"] == {
            "agents": 1, "tasks": 3, "messages": 1, "dead_letters": 0, "plugin_data": 0,
        }  # fmt: skip
        states = {task["id"]: task["state"] for task in shop("task", "list", "--json", cwd=clone).json["tasks"]}
        assert states == {first: "assigned", second: "blocked", third: "completed"}
        assert "not empty" in shop("ledger", "restore", cwd=clone, code=4).err
        assert shop("ledger", "restore", "--merge", "--json", cwd=clone).json["same"]["tasks"] == 3
        for words in (("restore",), ("restore", "x.jsonl", "--from-git"), ("history", "ada", "--from-git")):
            shop(*words, cwd=clone, code=2)
    finally:
        shop("stop", cwd=clone)


async def test_history_is_read_without_a_server_and_by_task(
    shop: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "there is no ledger" in shop("ledger", code=3).err
    shop("backlog", "add", "first")
    await _write_in(shop, monkeypatch)
    shop("stop")
    assert shop("ledger", "history").out == "nothing yet\n"
    assert shop("ledger", "history", "--at", "--output=x", code=3).err.startswith("error: there is no commit")
    project = Project(shop.directory, tmp_path)
    branch = Branch(await project.repository(), BRANCH)
    tip = await branch.tip()
    reported = (
        b'{"type":"round","round_id":"r1","outcome":"finished","agent":"ada","task":"1f3a","ended_at":"2026-01-31T09:30:00Z",'
        b'"usage":{"cost_usd":0.5},"text":"all done"}\n'
        b'{"type":"verdict","kind":"review","task":"1f3a","passed":false,"at":"2026-01-31T09:31:00Z","by":"bea","reason":"no"}\n'
        b'{"type":"verdict","kind":"gates","task":"2b","passed":true,"at":"2026-01-31T09:32:00Z"}\n'
    )
    assert await branch.append(tip, reported, "more") is not None
    out = shop("ledger", "history", "--task", "1f3a").out.splitlines()
    assert [line.split()[2:6] for line in out[1:]] == [
        ["round", "1f3a", "ada", "finished"],
        ["review", "1f3a", "bea", "refused"],
    ]
    assert "$0.50" in out[1]
    assert [each["kind"] for each in shop("ledger", "history", "-n", "1", "--json").json["entries"]] == ["gates"]
