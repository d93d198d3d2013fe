"""A merge adds what a town lacks, keeps what both have as the town has it, and says where they disagree."""

from __future__ import annotations

import pytest
from tinytown.errors import Refused
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Query
from tinytown.redis import BlockingClient
from tinytown_snapshots.records import Snapshot
from tinytown_snapshots.transfer import Restored

from plugins.snapshots.tests.conftest import another_town, loaded, saved, transfer
from plugins.snapshots.tests.test_round_trip import fill
from tests.protocol.conftest import Town


def merged(town: Town, snapshot: Snapshot) -> Restored:
    return transfer(town).restore(snapshot, merge=True)


def reasons(restored: Restored) -> dict[str, str]:
    return {each.id: each.reason for each in restored.conflicts}


def mail(town: Town, agent: str) -> list[str]:
    return [each.message.id for each in town.run(town.operations.peek(agent)).messages if each.message]


def test_what_is_there_already_is_left_alone(town: Town) -> None:
    fill(town)
    before = saved(town)
    restored = merged(town, loaded(before))
    assert (set(restored.added.values()), restored.conflicts) == ({0}, ())
    assert saved(town) == before


def test_what_plugins_keep_is_added_where_the_town_has_nothing_and_left_where_it_differs(
    client: BlockingClient, town: Town
) -> None:
    fill(town)
    other = another_town(client)
    other.run(other.operations.set_plugin_field("rules", "colours", "none"))
    restored = merged(other, loaded(saved(town)))
    assert restored.added["plugin_data"] == 1
    assert list(reasons(restored)) == ["rules:colours"]
    assert other.run(other.operations.plugin_data("rules")) == {"colours": "none"}
    assert other.run(other.operations.plugin_data("notes")) == {"n.1": "é"}


def test_into_another_town_everything_comes_behind_what_is_there(client: BlockingClient, town: Town) -> None:
    fill(town)
    other = another_town(client)
    other.run(other.operations.create_agent("zed", cli="shell"))
    other.run(other.operations.add_task("mine", task_id="mine", priority="high"))
    other.run(other.operations.send("supervisor", Query(question="first?"), message_id="first"))
    restored = merged(other, loaded(saved(town)))
    assert restored.conflicts == ()
    assert restored.added == {"agents": 3, "tasks": 7, "messages": 5, "dead_letters": 1, "plugin_data": 2}
    assert [each.name for each in other.run(other.operations.agents())] == ["zed", "ann", "ben", "cat"]
    assert [each.id for each in other.run(other.operations.tasks(state="backlog"))] == ["mine", "free"]
    assert mail(other, "supervisor") == ["first", "and"]
    assert mail(other, "ann") == ["why", "now.1", "later"]
    assert loaded(saved(other))  # it fits together


@pytest.mark.parametrize("sleeper_comes", [True, False])
def test_work_and_a_sleeper_that_a_merge_brings_together_are_not_left_to_each_other(
    client: BlockingClient, town: Town, sleeper_comes: bool
) -> None:
    other = another_town(client)
    sleeps, works = (town, other) if sleeper_comes else (other, town)
    ann = sleeps.run(sleeps.operations.create_agent("ann", cli="shell", role="dev"))
    sleeps.run(sleeps.operations.register_host("h", lease_ms=1000, details={"name": "here"}))
    (placed,) = sleeps.run(sleeps.operations.place_agents("h", ["shell"], count=1)).agents
    sleeps.run(sleeps.operations.release_agent(ann.id, placed.token or "", "suspended", reason="asleep"))
    works.run(works.operations.add_task("work", role="dev"))
    merged(other, loaded(saved(town)))
    assert other.command("ZSCORE", other.key("placement"), ann.id) is not None


def test_a_second_time_nothing_is_added_even_when_the_mail_was_read_meanwhile(
    client: BlockingClient, town: Town
) -> None:
    fill(town)
    other, snapshot = another_town(client), loaded(saved(town))
    other.run(other.operations.add_task("mine"))
    merged(other, snapshot)
    batch = other.run(other.operations.claim(SUPERVISOR_ID, token="c"))
    other.run(other.operations.ack(SUPERVISOR_ID, batch.deliveries))
    other.run(other.operations.settle_task("cancel", "bens"))
    restored = merged(other, snapshot)
    assert set(restored.added.values()) == {0}
    assert set(reasons(restored)) == {"bens"}
    assert mail(other, "supervisor") == []


def test_an_agent_whose_name_is_taken_stays_away_with_its_work(client: BlockingClient, town: Town) -> None:
    fill(town)
    other = another_town(client)
    other.run(other.operations.create_agent("ANN", cli="shell"))
    restored = merged(other, loaded(saved(town)))
    why = reasons(restored)
    assert [each.name for each in other.run(other.operations.agents())] == ["ANN", "ben", "cat"]
    assert "taken here, by ANN" in why[loaded(saved(town)).agents[0].id]
    assert "its agent ann" in why["now"]
    assert "its agent ann" in why["next"]
    assert "its mailbox" in why["why"]
    assert other.run(other.operations.task("bens")).assigned_to == "ben"
    assert mail(other, "ANN") == []
    assert loaded(saved(other))


def test_a_task_whose_need_went_another_way_here_stays_away(client: BlockingClient, town: Town) -> None:
    run, calls = town.run, town.operations
    run(calls.add_task("one", task_id="one"))
    run(calls.add_task("two", task_id="two", needs=["one"]))
    run(calls.add_task("three", task_id="three", needs=["two"]))
    snapshot = loaded(saved(town))
    other = another_town(client)
    other.run(other.operations.add_task("one", task_id="one"))
    other.run(other.operations.settle_task("complete", "one"))
    why = reasons(merged(other, snapshot))
    assert "differs" in why["one"]
    assert why["two"] == "it needs one, which is completed here"
    assert why["three"] == "it needs two, which could not be brought along"
    assert [each.id for each in other.run(other.operations.tasks())] == ["one"]


def test_a_task_of_the_snapshot_is_freed_by_a_need_that_was_here(client: BlockingClient, town: Town) -> None:
    town.run(town.operations.add_task("one", task_id="one"))
    other = another_town(client)
    merged(other, loaded(saved(town)))
    town.run(town.operations.add_task("two", task_id="two", needs=["one"]))
    assert merged(other, loaded(saved(town))).added["tasks"] == 1
    assert other.run(other.operations.task("two")).state == "blocked"
    other.run(other.operations.settle_task("complete", "one"))
    assert other.run(other.operations.task("two")).state == "pending"


def test_a_town_that_changes_between_looking_and_writing_is_looked_at_again(
    client: BlockingClient, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(town)
    other = another_town(client)
    other.run(other.operations.add_task("mine"))
    mover = transfer(other)
    put, times = mover.moving.put, []

    def meddling(*args: object) -> object:
        times.append(1)
        if len(times) == 1:
            other.run(other.operations.create_agent("ann", cli="shell"))
        return put(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(mover.moving, "put", meddling)
    restored = mover.restore(loaded(saved(town)), merge=True)
    assert len(times) > 1
    assert "taken here, by ann" in " ".join(reasons(restored).values())
    assert not [key for key in other.dump() if "unlisted" in key]


def test_a_reset_is_refused_while_a_kernel_takes_part(town: Town) -> None:
    fill(town)
    before = saved(town)
    with pytest.raises(Refused):
        transfer(town).reset()
    assert saved(town) == before


def test_a_reset_leaves_settings_and_counters_and_no_other_town_is_touched(client: BlockingClient, town: Town) -> None:
    fill(town)
    other = another_town(client)
    fill(other)
    before = saved(other)
    town.run(town.operations.deregister_host("h1", reason="stopped"))
    tokens = town.command("GET", town.key("tokens"))
    assert transfer(town).reset()._asdict() == {
        "agents": 3,
        "tasks": 7,
        "messages": 5,
        "dead_letters": 1,
        "plugin_data": 2,
    }
    assert set(town.dump()) == {"meta", "seq", "tokens", "events"}
    assert town.command("GET", town.key("tokens")) == tokens
    assert [each["type"] for each in town.events()] == ["town_reset"]
    assert saved(other) == before
