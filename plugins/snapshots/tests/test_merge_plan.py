"""A merge adds what a town lacks, keeps what is in both as the town has it, and reports conflicts."""

from __future__ import annotations

import pytest
from tinytown.errors import Refused
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Query
from tinytown_cli.blocking_client import BlockingClient
from tinytown_snapshots.records import Snapshot
from tinytown_snapshots.transfer import Restored
from tinytown_testing.bare_town import BareTown, add_town

from .conftest import fill, loaded, saved, transfer


def merged(town: BareTown, snapshot: Snapshot) -> Restored:
    return transfer(town).restore(snapshot, merge=True)


def reasons(restored: Restored) -> dict[str, str]:
    return {item.id: item.reason for item in restored.conflicts}


def mail(town: BareTown, agent: str) -> list[str]:
    return [item.message.id for item in town.run(town.operations.peek(agent)).messages if item.message]


def test_records_that_the_town_has_are_not_changed(town: BareTown) -> None:
    fill(town)
    before = saved(town)
    restored = merged(town, loaded(before))
    assert (set(restored.added.values()), restored.conflicts) == ({0}, ())
    assert saved(town) == before


def test_plugin_data_is_added_if_missing_and_kept_if_it_differs(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    other = add_town(server_client)
    other.run(other.operations.set_plugin_field("rules", "colours", "none"))
    restored = merged(other, loaded(saved(town)))
    assert restored.added["plugin_data"] == 1
    assert list(reasons(restored)) == ["rules:colours"]
    assert other.run(other.operations.plugin_data("rules")) == {"colours": "none"}
    assert other.run(other.operations.plugin_data("notes")) == {"n.1": "é"}


def test_added_records_come_after_those_of_the_town(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    other = add_town(server_client)
    other.run(other.operations.create_agent("zed", cli="shell"))
    other.run(other.operations.add_task("mine", task_id="mine", priority="high"))
    other.run(other.operations.send("supervisor", Query(question="first?"), message_id="first"))
    restored = merged(other, loaded(saved(town)))
    assert restored.conflicts == ()
    assert restored.added == {"agents": 3, "tasks": 7, "messages": 5, "dead_letters": 1, "plugin_data": 2}
    assert [item.name for item in other.run(other.operations.agents())] == ["zed", "ann", "ben", "cat"]
    assert [item.id for item in other.run(other.operations.tasks(state="backlog"))] == ["mine", "free"]
    assert mail(other, "supervisor") == ["first", "and"]
    assert mail(other, "ann") == ["why", "now.1", "later"]
    assert loaded(saved(other))  # it is consistent


@pytest.mark.parametrize("suspended_is_merged", [True, False])
def test_a_suspended_agent_and_work_for_it_that_meet_in_a_merge_are_placed(
    server_client: BlockingClient, town: BareTown, suspended_is_merged: bool
) -> None:
    other = add_town(server_client)
    sleeps, works = (town, other) if suspended_is_merged else (other, town)
    ann = sleeps.run(sleeps.operations.create_agent("ann", cli="shell", role="dev"))
    sleeps.run(sleeps.operations.register_host("h", lease_ms=1000, details={"name": "here"}))
    (placed,) = sleeps.run(sleeps.operations.place_agents("h", ["shell"], count=1)).agents
    sleeps.run(sleeps.operations.release_agent(ann.id, placed.token or "", "suspended", reason="asleep"))
    works.run(works.operations.add_task("work", role="dev"))
    merged(other, loaded(saved(town)))
    assert other.command("ZSCORE", other.key("placement"), ann.id) is not None


def test_a_repeated_merge_adds_nothing_even_if_the_mail_was_read(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    other, snapshot = add_town(server_client), loaded(saved(town))
    other.run(other.operations.add_task("mine"))
    merged(other, snapshot)
    batch = other.run(other.operations.claim(SUPERVISOR_ID, token="c"))
    other.run(other.operations.ack(SUPERVISOR_ID, batch.deliveries))
    other.run(other.operations.settle_task("cancel", "bens"))
    restored = merged(other, snapshot)
    assert set(restored.added.values()) == {0}
    assert set(reasons(restored)) == {"bens"}
    assert mail(other, "supervisor") == []


def test_an_agent_whose_name_is_taken_is_left_out_with_its_work(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    other = add_town(server_client)
    other.run(other.operations.create_agent("ANN", cli="shell"))
    restored = merged(other, loaded(saved(town)))
    reasons_by_id = reasons(restored)
    assert [item.name for item in other.run(other.operations.agents())] == ["ANN", "ben", "cat"]
    assert "taken in the town by ANN" in reasons_by_id[loaded(saved(town)).agents[0].id]
    assert "its agent ann" in reasons_by_id["now"]
    assert "its agent ann" in reasons_by_id["next"]
    assert "its mailbox" in reasons_by_id["why"]
    assert other.run(other.operations.task("bens")).assigned_to == "ben"
    assert mail(other, "ANN") == []
    assert loaded(saved(other))


def test_a_task_whose_need_has_another_state_is_left_out(server_client: BlockingClient, town: BareTown) -> None:
    run, calls = town.run, town.operations
    run(calls.add_task("one", task_id="one"))
    run(calls.add_task("two", task_id="two", needs=["one"]))
    run(calls.add_task("three", task_id="three", needs=["two"]))
    snapshot = loaded(saved(town))
    other = add_town(server_client)
    other.run(other.operations.add_task("one", task_id="one"))
    other.run(other.operations.settle_task("complete", "one"))
    reasons_by_id = reasons(merged(other, snapshot))
    assert "other content" in reasons_by_id["one"]
    assert reasons_by_id["two"] == "it needs one, which is completed in the town"
    assert reasons_by_id["three"] == "it needs two, which is not restored"
    assert [item.id for item in other.run(other.operations.tasks())] == ["one"]


def test_a_task_of_the_snapshot_is_unblocked_by_a_need_of_the_town(
    server_client: BlockingClient, town: BareTown
) -> None:
    town.run(town.operations.add_task("one", task_id="one"))
    other = add_town(server_client)
    merged(other, loaded(saved(town)))
    town.run(town.operations.add_task("two", task_id="two", needs=["one"]))
    assert merged(other, loaded(saved(town))).added["tasks"] == 1
    assert other.run(other.operations.task("two")).state == "blocked"
    other.run(other.operations.settle_task("complete", "one"))
    assert other.run(other.operations.task("two")).state == "pending"


def test_a_town_that_changes_between_reading_and_writing_is_read_again(
    server_client: BlockingClient, town: BareTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(town)
    other = add_town(server_client)
    other.run(other.operations.add_task("mine"))
    restore = transfer(other)
    put, times = restore.functions.put, []

    def put_after_a_change(*args: object) -> object:
        times.append(1)
        if len(times) == 1:
            other.run(other.operations.create_agent("ann", cli="shell"))
        return put(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(restore.functions, "put", put_after_a_change)
    restored = restore.restore(loaded(saved(town)), merge=True)
    assert len(times) > 1
    assert "taken in the town by ann" in " ".join(reasons(restored).values())
    assert not [key for key in other.dump() if "unlisted" in key]


def test_a_reset_is_refused_while_a_kernel_runs_the_town(town: BareTown) -> None:
    fill(town)
    before = saved(town)
    with pytest.raises(Refused):
        transfer(town).reset()
    assert saved(town) == before


def test_a_reset_keeps_settings_and_counters_and_other_towns(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    other = add_town(server_client)
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
    assert [item["type"] for item in town.events()] == ["town_reset"]
    assert saved(other) == before
