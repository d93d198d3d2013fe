"""Gates and the merge queue in a town: what is merged, what goes back, and that nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from tinytown.contracts import Failed, Finished, Outcome, Report, Round
from tinytown.model.tasks import Task
from tinytown.town import Town
from tinytown_git.work import Records, Work
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.towns import TownDirectory

from .conftest import run_in_round
from .test_workspace import opened, project_of, town

__all__ = ["town"]

pytestmark = pytest.mark.usefixtures("deadline")


def commits(script: str) -> Callable[[Round, Report], object]:
    """A backend's script: the shell script runs in the worktree, with the words of the task in ``$TASK``."""

    async def run(round_: Round, report: Report) -> Outcome:
        if round_.task is None:
            return Finished(text="read")
        words = round_.task.description.replace("'", "")
        await trio.to_thread.run_sync(run_in_round, f"TASK='{words}'\n{script}", round_)
        return Finished(text="done")

    return run


WRITE = 'echo "$TASK" > "$TASK" && git add -A && git commit -qm "$TASK"'


async def finished(living: Town, *tasks: Task) -> list[Task]:
    return [await living.wait_for_task(task.id) for task in tasks]


async def record(living: Town, task: Task) -> Work:
    found = await Records(living.operations, living.run).read(task.id)
    assert found is not None
    return found


async def test_finished_work_is_merged_and_the_checkout_follows(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    scripted_backend.script = commits(WRITE)
    project = project_of(town)
    async with opened(town) as living:
        ada, ben = [await living.spawn(name) for name in ("ada", "ben")]
        first, second = await ada.assign("one"), await ben.assign("two")
        third = await living.add_task("three", agent=ada.id, needs=[first.id, second.id])
        tasks = await finished(living, first, second, third)
        work = await record(living, third)
    assert [task.state for task in tasks] == ["completed"] * 3
    assert (work.stage, work.place, work.reported) == ("merged", "refs/heads/main", True)
    assert sorted(path.name for path in project.root.iterdir() if not path.name.startswith(".")) == [
        "README", "one", "three", "tinytown.toml", "two",
    ]  # fmt: skip
    assert project.git("status", "--porcelain") == ""
    # What a task needs is there when its work begins.
    assert project.git("ls-tree", "--name-only", work.base).split()[2:] == ["one", "tinytown.toml", "two"]
    said = project.git("log", "-1", "--format=%s|%(trailers:key=Tinytown-Task,valueonly)", "main")
    assert said == f"Merge three|{third.id}"


async def test_what_an_agent_leaves_uncommitted_is_committed_in_its_name(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    scripted_backend.script = commits("echo x > new; echo y >> README; echo z > ignored.log; git add README")
    project = project_of(town)
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("Write it\n\nall of it")).id)
        work = await record(living, task)
        worktree = project.state / "ada" / task.id
        assert project.git("status", "--porcelain", cwd=worktree) == ""
    assert project.git("show", "-s", "--format=%an <%ae> %s", work.commit) == "ada <ada@tinytown.invalid> Write it"
    assert project.git("show", "--name-only", "--format=", work.commit).split() == ["README", "new"]
    assert project.git("show", "main:new") == "x"


async def test_a_task_without_changes_is_completed_without_a_merge(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    project = project_of(town)
    tip = project.git("rev-parse", "main")
    async with opened(town) as living:
        ada = await living.spawn("ada")
        assert (await living.wait_for_task((await ada.assign("think")).id)).state == "completed"
    assert project.git("rev-parse", "main") == tip


async def test_a_conflict_goes_back_to_its_author_with_both_sides_and_is_merged_when_resolved(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    attempts: list[str] = []
    both = trio.Event()

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        name = round_.task.description
        attempts.append(name)
        if attempts.count(name) == 1:
            await trio.to_thread.run_sync(run_in_round, f"echo {name} > README; git commit -qam {name}", round_)
            if len(attempts) == 2:
                both.set()
            await both.wait()
        else:
            assert "conflicts in README" in round_.prompt
            assert "git merge main" in round_.prompt
            script = "git merge main || echo both > README; git commit -qam resolved"
            await trio.to_thread.run_sync(run_in_round, script, round_)
        return Finished(text="done")

    scripted_backend.script = work
    project = project_of(town)
    async with opened(town) as living:
        ada, ben = [await living.spawn(name) for name in ("ada", "ben")]
        tasks = await finished(living, await ada.assign("one"), await ben.assign("two"))
        works = [await record(living, task) for task in tasks]
    assert [task.state for task in tasks] == ["completed", "completed"]
    assert len(attempts) == 3
    assert (project.root / "README").read_text() == "both\n"
    assert {work.commit for work in works} <= project.named_commits()


async def test_a_conflict_that_is_never_resolved_fails_the_task_and_keeps_the_work(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    town.configure("[plugins.git]\nfetch = false", max_attempts=1)
    project = project_of(town)

    async def work(round_: Round, report: Report) -> Outcome:
        await trio.to_thread.run_sync(run_in_round, "echo mine > README; git commit -qam mine", round_)
        await trio.to_thread.run_sync(project.commit, {"README": "theirs"}, "meanwhile")
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("work")).id)
    assert task.state == "failed"
    assert "On main:" in (task.reason or "")
    assert project.git("show", f"tt/ada/{task.id}:README") == "mine"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('forbidden = ["infra", "*.lock"]', "no task may change a.lock, infra/deep/file"),
        ("max_files = 2", "the task changes 3 files, at most 2"),
        ("max_lines = 2", "the task changes 3 lines, at most 2"),
        ('uncommitted = "refuse"', "uncommitted changes"),
        ('checks = { test = "echo it breaks >&2; exit 7" }', "the check 'test' failed: exit status 7\nit breaks"),
        ("checks = { test = 'sleep 60' }\ncheck_timeout_s = 0.2", "did not end within 0.2 s"),
    ],
)
async def test_a_gate_refuses_with_its_evidence(
    town: TownDirectory, scripted_backend: ScriptedBackend, settings: str, said: str
) -> None:
    town.configure(f"[plugins.git]\nfetch = false\n{settings}", max_attempts=1)
    project = project_of(town)
    tip = project.git("rev-parse", "main")
    scripted_backend.script = commits("mkdir -p infra/deep; echo x > infra/deep/file; echo x > a.lock; echo x > b")
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("work")).id)
    assert task.state == "failed"
    assert said in (task.reason or "")
    assert project.git("rev-parse", "main") == tip
    assert project.git("worktree", "list").count("\n") == 1  # none of a check is left


async def test_work_without_commits_is_refused_where_commits_are_required(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    town.configure('[plugins.git]\nfetch = false\ncommits = "required"', max_attempts=1)
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("pretend")).id)
    assert task.state == "failed"
    assert "there is no change on the branch" in (task.reason or "")


async def test_checks_run_on_what_is_claimed_and_again_on_the_merged_result(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    """Each task passes alone, and together the files are too many: the one that comes last goes back."""
    town.configure(
        "[plugins.git]\nfetch = false\n[plugins.git.checks]\ntest = 'test $(ls part-* | wc -l) -le 2; ls >&2'\n"
        "count = 'test $(ls part-* | wc -l) -le 2'",
        max_attempts=1,
    )
    gathered, names = trio.Event(), set[str]()

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        name = round_.task.description
        names.add(name)
        await trio.to_thread.run_sync(run_in_round, f"echo {name} > part-{name}", round_)
        if len(names) == 4:
            gathered.set()
        await gathered.wait()
        return Finished(text="done")

    scripted_backend.script = work
    project = project_of(town)
    async with opened(town) as living:
        agents = [await living.spawn(f"agent{number}") for number in range(4)]
        tasks = await finished(living, *[await agent.assign(f"t{number}") for number, agent in enumerate(agents)])
    assert sorted(task.state for task in tasks) == ["completed", "completed", "failed", "failed"]
    assert len(list(project.root.glob("part-*"))) == 2
    reasons = [task.reason or "" for task in tasks if task.state == "failed"]
    assert all("merged with what is there by now, the check 'count' failed" in reason for reason in reasons)


async def test_a_check_that_fails_on_the_branch_itself_pauses_the_queue_and_costs_nobody(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    town.configure("[plugins.git]\nfetch = false\n[plugins.git.checks]\ntest = 'test ! -e broken'")
    project = project_of(town)

    async def work(round_: Round, report: Report) -> Outcome:
        await trio.to_thread.run_sync(run_in_round, "echo x > work", round_)
        await trio.to_thread.run_sync(project.commit, {"broken": "x"}, "break it")
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await ada.assign("work")
        records = Records(living.operations, living.run)
        _, state = await living.wait_until(records.all, lambda found: bool(found[1].paused))
        assert "fails on the branch itself" in state.paused
        assert (await living.task(task.id)).state == "verifying"
        project.git("rm", "-q", "broken")
        project.commit({}, "fix it")
        assert await records.change_queue(state, type(state)())
        assert (await living.wait_for_task(task.id)).state == "completed"


async def test_work_waits_on_a_branch_while_a_person_edits_the_same_file_and_follows_then(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    scripted_backend.script = commits('echo "$TASK" >> README; echo x > "$TASK"; git add -A; git commit -qm "$TASK"')
    project = project_of(town)
    (project.root / "README").write_text("a person is at it\n")
    before = project.look()
    async with opened(town) as living:
        ada = await living.spawn("ada")
        records = Records(living.operations, living.run)
        tasks = await finished(living, await ada.assign("one"))
        tasks += await finished(living, await ada.assign("two"))
        assert [task.state for task in tasks] == ["completed", "completed"]
        assert project.look() == before
        assert project.git("show", "tt/merged:README").split() == ["hello", "one", "two"]
        _, state = await records.all()
        assert (state.target, state.collected) == ("refs/heads/main", "refs/heads/tt/merged")
        said = await living.run(living.operations.plugin_field("git", "notice"))
        assert "merged work waits on tt/merged for main: it would overwrite uncommitted work" in said
        assert "uncommitted work" in state.reason
        # What a person commits meanwhile is merged with it.
        project.git("checkout", "-q", "README")
        project.commit({"mine": "x"}, "by hand")
        await living.wait_until(records.all, lambda found: not found[1].collected)
        notice = living.operations.plugin_field("git", "notice")
        await living.wait_until(lambda: living.run(notice), lambda said: said is None)  # written a moment later
    assert (project.root / "README").read_text().split() == ["hello", "one", "two"]
    assert project.git("status", "--porcelain") == ""
    assert project.git("branch", "--list", "tt/merged") == ""
    assert (project.root / "mine").exists()


async def test_a_stale_base_is_shown_until_the_person_has_pulled(
    town: TownDirectory, scripted_backend: ScriptedBackend, tmp_path: Path
) -> None:
    town.configure("[plugins.git]")
    scripted_backend.script = commits(WRITE)
    project, origin = project_of(town), tmp_path / "origin"
    project.git("clone", "-q", str(project.root), str(origin))
    project.git("remote", "add", "origin", str(origin))
    project.git("fetch", "-q")
    project.git("branch", "-q", "-u", "origin/main")
    project.commit({"theirs": "1"}, "theirs", cwd=origin)

    async with opened(town) as living:
        ada = await living.spawn("ada")

        async def said() -> str | None:
            return await living.run(living.operations.plugin_field("git", "notice"))

        await finished(living, await ada.assign("one"))
        await living.wait_until(said, lambda text: bool(text))
        assert await said() == "new work begins from a stale base: main lacks 1 commit of origin/main: git pull"
        project.git("add", "-A")
        project.git("commit", "-qm", "settings")
        project.git("pull", "-q", "--no-rebase", "--no-edit")
        await finished(living, await ada.assign("two"))
        await living.wait_until(said, lambda text: text is None)
        origin.rename(tmp_path / "gone")
        await finished(living, await ada.assign("three"))
        text = await living.wait_until(said, lambda text: bool(text))
        assert "origin/main could not be fetched: git fetch: " in (text or "")
    assert project.git("show", "main:three") == "three"


async def test_a_person_may_merge_by_hand_what_waits(town: TownDirectory, scripted_backend: ScriptedBackend) -> None:
    scripted_backend.script = commits('echo "$TASK" >> README')
    project = project_of(town)
    (project.root / "README").write_text("a person is at it\n")
    async with opened(town) as living:
        ada = await living.spawn("ada")
        await finished(living, await ada.assign("one"))
        project.git("stash", "-q")
        project.git("merge", "-q", "--ff-only", "tt/merged", check=False)  # the queue may have been quicker
        records = Records(living.operations, living.run)
        await living.wait_until(records.all, lambda found: not found[1].collected)
        tasks = await finished(living, await ada.assign("two"))
    assert tasks[0].state == "completed"
    assert (project.root / "README").read_text().split() == ["hello", "one", "two"]


@pytest.mark.parametrize("strategy", ["squash", "rebase"])
async def test_squashed_and_rebased_work_keeps_its_own_commits_on_a_ref(
    town: TownDirectory, scripted_backend: ScriptedBackend, strategy: str
) -> None:
    town.configure(f'[plugins.git]\nfetch = false\nstrategy = "{strategy}"')
    scripted_backend.script = commits(f"{WRITE}; echo more > more; {WRITE.replace('echo', 'echo again')}")
    project = project_of(town)
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("one")).id)
        work = await record(living, task)
    assert task.state == "completed"
    assert project.git("rev-list", "--count", "--merges", "main") == "0"
    assert work.commit in project.named_commits()


async def test_with_branches_work_stays_where_it_is(town: TownDirectory, scripted_backend: ScriptedBackend) -> None:
    town.configure('[plugins.git]\nfetch = false\nmerge = "branch"')
    scripted_backend.script = commits(WRITE)
    project = project_of(town)
    tip = project.git("rev-parse", "main")
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("one")).id)
    assert task.state == "completed"
    assert project.git("rev-parse", "main") == tip
    assert project.git("show", f"tt/ada/{task.id}:one") == "one"


async def test_a_round_that_fails_submits_nothing(town: TownDirectory, scripted_backend: ScriptedBackend) -> None:
    town.configure("[plugins.git]\nfetch = false", max_attempts=1)

    async def work(round_: Round, report: Report) -> Outcome:
        await trio.to_thread.run_sync(run_in_round, "echo x > half; git add -A; git commit -qm half", round_)
        return Failed(reason="no")

    scripted_backend.script = work
    project = project_of(town)
    tip = project.git("rev-parse", "main")
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("one")).id)
    assert task.state == "failed"
    assert project.git("rev-parse", "main") == tip
    assert project.git("show", f"tt/ada/{task.id}:half") == "x"


@pytest.mark.deadline_s(150)
async def test_twenty_agents_that_finish_at_once_lose_no_commit(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    """Overlapping files, commits that are dropped on the way, and work that is not committed; counted by git alone."""
    town.configure("[plugins.git]\nfetch = false", max_attempts=2)
    gathered, made = trio.Event(), dict[str, set[str]]()
    script = (
        'n=${TASK#t}; echo "$TASK" > "file-$((n % 7))"; git add -A; git commit -q --allow-empty -m "$TASK"; git rev-parse HEAD;'
        'echo more >> "own-$TASK"; git add -A; git commit -q --allow-empty -m "dropped $TASK"; git rev-parse HEAD;'
        'git reset -q --hard HEAD^; echo kept > "own-$TASK"; echo loose > "loose-$TASK"; git add "own-$TASK";'
        'git commit -q --allow-empty -m "more $TASK"; git rev-parse HEAD'
    )

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        name = round_.task.description
        said = await trio.to_thread.run_sync(run_in_round, f"TASK={name}\n{script}", round_)
        made.setdefault(name, set()).update(said.split())
        if len(made) == 20:
            gathered.set()
        await gathered.wait()
        return Finished(text="done")

    scripted_backend.script = work
    project = project_of(town)
    async with opened(town) as living:
        agents = [await living.spawn(f"agent{number}") for number in range(20)]
        tasks = await finished(living, *[await agent.assign(f"t{number}") for number, agent in enumerate(agents)])
        works, _ = await Records(living.operations, living.run).all()
    assert {task.state for task in tasks} <= {"completed", "failed"}
    completed = [task for task in tasks if task.state == "completed"]
    assert len(completed) >= 7  # one for each file
    everything = set[str]().union(*made.values(), (work.commit for work in works))
    assert len(everything) > 60
    assert everything - project.named_commits() == set()
    on_main = set(project.git("rev-list", "main").split())
    assert all(work.commit in on_main for work in works if work.stage == "merged")
    names = set(project.git("ls-tree", "--name-only", "main").split())
    assert {f"loose-{task.description}" for task in completed} <= names
    assert project.git("status", "--porcelain") == " M tinytown.toml"  # by this test
    project.git("fsck", "--strict")
