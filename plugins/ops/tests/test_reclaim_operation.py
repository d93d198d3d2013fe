"""What reclaiming moves, and that a repeated call moves it once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tinytown.errors import Refused, UsageError
from tinytown.model.messages import Query, TaskOrder
from tinytown_cli.client import TownClient, open_town_client
from tinytown_ops.doctor.reclaim_operation import reclaim_from
from tinytown_testing.sandbox import changed_environment
from tinytown_testing.shell import Shell


@pytest.fixture
def town(tt: Shell) -> Iterator[TownClient]:
    """A town with ann, who has two tasks and mail, and ben."""
    tt("init", "--name", "reclaimed")
    home = {"XDG_STATE_HOME": tt.variables["XDG_STATE_HOME"]}
    with changed_environment(home), open_town_client(tt.directory) as town:
        for name in ("ann", "ben"):
            town.run(town.operations.create_agent(name, cli="echo"))
        town.run(town.operations.add_task("one", agent="ann", task_id="one"))
        town.run(town.operations.add_task("two", agent="ann", task_id="two", held="wait"))
        yield town


def inbox(town: TownClient, agent: str) -> list[str]:
    return [entry.message.id for entry in town.run(town.operations.peek(agent)).messages if entry.message]


def test_tasks_and_mail_are_moved_to_another_agent(town: TownClient) -> None:
    town.run(town.operations.send("ann", Query(question="why?"), message_id="why"))
    reclaimed = town.run(reclaim_from(town.operations.keys, "ann", tasks_to="ben", mail_to="ben"))
    assert (set(reclaimed.tasks), reclaimed.messages, reclaimed.made) == ({"one", "two"}, ("why",), ())
    assert {task.assigned_to for task in town.run(town.operations.tasks())} == {"ben"}
    assert (inbox(town, "ann"), set(inbox(town, "ben"))) == ([], {"why", "one.2"})


def test_orders_in_free_text_become_backlog_tasks_and_other_mail_is_kept(town: TownClient) -> None:
    town.run(town.operations.send("ann", TaskOrder(description="paint it"), message_id="paint"))
    town.run(town.operations.send("ann", Query(question="why?"), message_id="why"))
    reclaimed = town.run(reclaim_from(town.operations.keys, "ann", tasks_to="", mail_to=""))
    assert (reclaimed.messages, reclaimed.made) == ((), ("paint",))
    assert town.run(town.operations.task("paint")).state == "pending"
    assert inbox(town, "ann") == ["why"]


def test_a_repeated_call_gives_the_same_answer_and_changes_nothing(town: TownClient) -> None:
    operation = reclaim_from(town.operations.keys, "ann", tasks_to="")
    first = town.run(operation)
    town.run(town.operations.assign_task("one", "ann"))
    assert town.run(operation) == first
    assert town.run(town.operations.task("one")).assigned_to == "ann"


def test_mail_whose_id_the_receiver_has_is_not_moved(town: TownClient) -> None:
    for agent in ("ann", "ben"):
        town.run(town.operations.send(agent, Query(question=f"are you {agent}?"), message_id="twice"))
        town.client.command("DEL", town.operations.keys.trace("twice"))  # its history has expired
    town.run(town.operations.send("ann", Query(question="and?"), message_id="once"))
    assert town.run(reclaim_from(town.operations.keys, "ann", mail_to="ben")).messages == ("once",)
    assert (inbox(town, "ann"), inbox(town, "ben")) == (["one.1", "twice"], ["twice", "once"])


def test_the_agent_itself_and_stopped_agents_are_refused_as_receivers(town: TownClient) -> None:
    with pytest.raises(UsageError, match="another agent"):
        town.run(reclaim_from(town.operations.keys, "ann", tasks_to="ann"))
    town.run(town.operations.set_desired_state("ben", "stopped"))
    with pytest.raises(Refused, match="stopped"):
        town.run(reclaim_from(town.operations.keys, "ann", tasks_to="ben"))
