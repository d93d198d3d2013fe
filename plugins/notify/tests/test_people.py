"""Notifications in a real town, through Apprise's address for JSON: who is notified of what, when, and what stays secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from tinytown.contracts import Failed
from tinytown.errors import ConfigError
from tinytown.model.messages import Informational, Query, TaskOrder
from tinytown.town import Town
from tinytown_notify import queue
from tinytown_notify.news import News, merged
from tinytown_notify.people import ApprisePerson
from tinytown_notify.queue import ChannelStatus
from tinytown_testing import ReceivedRequest, Receiver
from tinytown_testing.scripted_backend import ScriptedBackend, answers
from tinytown_testing.towns import TownDirectory

pytestmark = [
    pytest.mark.usefixtures("deadline", "quick_retries"),
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),  # of what Apprise imports for mail
]

DEADLINE_S = 60.0


def address(receiver: Receiver, path: str = "") -> str:
    return f"json://127.0.0.1:{receiver.port}/{path}"


def reported(receiver: Receiver) -> list[tuple[str, str]]:
    """Titles and texts, in order."""
    return [(request.json["title"], request.json["message"]) for request in receiver.taken]


async def ask(town: Town, agent: str, question: str, **details: Any) -> str:
    return (await town.send("supervisor", Query(question=question), sender=agent, **details)).message_id


async def wait_for_status(
    town: Town, condition: Callable[[ChannelStatus], bool], channel: str = "default"
) -> ChannelStatus:
    with trio.fail_after(DEADLINE_S):
        while True:
            for status in await town.run(queue.statuses(town.operations.keys)):
                if status.name == channel and condition(status):
                    return status
            await trio.sleep(0.02)


async def test_a_person_hears_of_a_question_with_one_line_of_settings(
    town_dir: TownDirectory, receiver: Receiver
) -> None:
    town_dir.configure(f'[plugins.notify]\nurls = "{address(receiver)}"\n')
    async with town_dir.open() as town:
        await town.spawn("rita", cli="echo")
        await town.send("supervisor", Informational(summary="nothing to do"), sender="rita")
        message = await ask(town, "rita", "is it good to merge?\nI think so.")
        await receiver.wait_for(1)
        await ask(town, "rita", "may I?\n(its round waits: tt answer 6d2c 1)")
        await receiver.wait_for(2)
    assert reported(receiver) == [
        (
            "t: rita asks",
            f'is it good to merge?\nI think so.\n\nanswer with: tt send rita "..." --reply-to {message}',
        ),
        ("t: rita asks", "may I?\n(its round waits: tt answer 6d2c 1)"),
    ]


async def test_defaults_are_what_needs_a_person(
    town_dir: TownDirectory, receiver: Receiver, scripted_backend: ScriptedBackend
) -> None:
    scripted_backend.script = answers(Failed(reason="no such branch", retryable=False))
    town_dir.configure(f'[plugins.notify]\nurls = ["{address(receiver)}"]\n')
    async with town_dir.open() as town:
        ada = await town.spawn("ada", cli="scripted")
        await town.send("supervisor", TaskOrder(description="give me access"), sender="ada")
        await receiver.wait_for(1)
        task = await ada.assign("merge it", title="the merge")
        assert (await town.wait_for_task(task.id)).state == "failed"
        await receiver.wait_for(2)
        await town.run(town.operations.emit("budget_spent", {"budget": "day_usd", "spent": "2", "limit": "1"}))
        await receiver.wait_for(3)
        doctor = await town.spawn(
            "tt-doctor", cli="scripted", tags=("tt-doctor",)
        )  # what tt doctor tries out is no news
        assert (await town.wait_for_task((await doctor.assign("is all well?")).id)).state == "failed"
        await town.add_task("and that", title="more")
        await town.cancel_task((await town.tasks(state="backlog"))[0].id)
        await receiver.wait_for(4)
    wants, failed, budget, done = reported(receiver)
    assert wants[0] == "t: ada wants something"
    assert failed[0] == "t: a task failed"
    assert failed[1].startswith("the merge: no such branch")
    assert failed[1].endswith("no task is open: 1 failed")
    assert budget == ("t: budget spent", "budget day_usd is spent: 2 of 1")
    assert done == ("t: all work is done", "no task is open: 2 failed, 1 cancelled")


async def test_rules_choose_by_event_agent_task_and_priority_and_have_words_of_their_own(
    town_dir: TownDirectory, receiver: Receiver
) -> None:
    with Receiver() as other:
        town_dir.configure(
            f"""
            [plugins.notify]
            urls = "{address(receiver)}"
            [[plugins.notify.rules]]
            events = ["question"]
            agents = ["ri*"]
            priorities = ["urgent", "high"]
            title = "{{agent}} ({{priority}})"
            body = "{{text}}"
            [[plugins.notify.rules]]
            name = "releases"
            events = ["task_added"]
            tasks = ["release *"]
            priorities = ["high"]
            urls = ["{address(other, "a")}", "{address(other, "b")}"]
            body = "{{title}}!"
            """
        )
        async with town_dir.open() as town:
            for agent in ("rita", "bob"):
                await town.spawn(agent, cli="echo")
            await ask(town, "bob", "not from him", priority="urgent")
            await ask(town, "rita", "not so important")
            await ask(town, "rita", "now", priority="urgent")
            await town.add_task("x", title="release 1", priority="high")
            await town.add_task("x", title="release 2", priority="low")
            await town.add_task("x", title="another", priority="high")
            await receiver.wait_for(1)
            await other.wait_for(2)
            names = {status.name for status in await town.run(queue.statuses(town.operations.keys))}
    assert reported(receiver) == [("rita (urgent)", "now")]
    assert sorted(request.path for request in other.taken) == ["/a", "/b"]
    assert reported(other) == [("t: task added", "release 1!")] * 2
    assert names == {"rule-1", "releases-1", "releases-2"}


async def test_what_comes_too_often_is_told_at_once_later(town_dir: TownDirectory, receiver: Receiver) -> None:
    town_dir.configure(f'[plugins.notify]\nurls = "{address(receiver)}"\nat_most_every_s = 1.5\n')
    async with town_dir.open() as town:
        await town.spawn("rita", cli="echo")
        await ask(town, "rita", "first")
        await receiver.wait_for(1)
        for number in range(3):
            await ask(town, "rita", f"more {number}")
        await receiver.wait_for(2)
        await wait_for_status(town, lambda status: not status.queued and status.delivered == 4)
    title, text = reported(receiver)[1]
    assert title == "t: 3 notifications"
    assert [f"more {number}" in text for number in range(3)] == [True] * 3


async def test_in_quiet_hours_and_until_a_digest_everything_waits_also_for_the_next_kernel(
    town_dir: TownDirectory, receiver: Receiver
) -> None:
    never = f'[plugins.notify]\nurls = "{address(receiver)}"\n'
    town_dir.configure(
        f'{never}quiet = "00:00-23:59"\n[[plugins.notify.rules]]\n[[plugins.notify.rules]]\nquiet = ""\n'
    )
    async with town_dir.open() as town:
        await town.spawn("rita", cli="echo")
        await ask(town, "rita", "are you asleep?")
        await wait_for_status(town, lambda status: status.delivered == 1, "rule-2")
        await wait_for_status(town, lambda status: status.queued == 1, "rule-1")
    assert len(receiver.taken) == 1
    town_dir.configure(never + "[[plugins.notify.rules]]\n")
    async with town_dir.open() as town:
        await receiver.wait_for(2)
    assert reported(receiver)[0] == reported(receiver)[1]


async def test_a_service_that_is_away_is_tried_again(town_dir: TownDirectory, receiver: Receiver) -> None:
    def misbehave(request: ReceivedRequest) -> int | None:
        return 503 if len(receiver.seen) == 1 else 200

    receiver.behave = misbehave
    town_dir.configure(f'[plugins.notify]\nurls = "{address(receiver, "k3y")}"\n')
    async with town_dir.open() as town:
        await town.spawn("rita", cli="echo")
        await ask(town, "rita", "hello?")
        await receiver.wait_for(1)
        await wait_for_status(town, lambda status: status.delivered == 1 and status.failure is None)
    assert len(receiver.seen) == 2


async def test_addresses_come_from_variables_and_files_and_are_nowhere_to_be_seen(
    town_dir: TownDirectory, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PHONE", f"json://ann:pa55word@127.0.0.1:{receiver.port}/t0ken")
    (town_dir.root / "address").write_text(address(receiver, "fr0mfile") + "\n")
    town_dir.configure('[plugins.notify]\nurls = ["env:PHONE", "file:address", "env:ABSENT", "file:gone"]\n')
    receiver.behave = lambda request: 200 if request.path == "/fr0mfile" else 401
    async with town_dir.open() as town:
        await town.spawn("rita", cli="echo")
        await ask(town, "rita", "hello?")
        await receiver.wait_for(1)
        refused = await wait_for_status(town, lambda status: status.failure is not None, "default-1")
        absent = await wait_for_status(town, lambda status: status.failure is not None, "default-3")
        gone = await wait_for_status(town, lambda status: status.failure is not None, "default-4")
        kept = json.dumps(town_dir.events) + str(refused) + caplog.text
    assert receiver.taken[0].path == "/fr0mfile"
    assert "401" in str(refused.failure)
    assert absent.failure == "the variable ABSENT is not set; set ABSENT before the kernel starts, or use file:PATH"
    assert "gone: No such file or directory" in str(gone.failure)
    assert [secret for secret in ("pa55word", "t0ken", "fr0mfile") if secret in kept] == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "the slack:// address has a secret in it"),
        ("nosuch://host", "expected an address of a service that Apprise knows, got nosuch://"),
    ],
)
def test_a_secret_in_the_settings_and_an_unknown_service_are_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ApprisePerson(url, literal=True)
    assert message in str(caught.value)
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in str(caught.value)


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    with Receiver() as other:
        receiver.behave = lambda _: (307, {"location": other.url})
        person = ApprisePerson(address(receiver) + "?redirect=yes", literal=True)
        with pytest.raises(Exception, match="307"):
            person.send(News(title="a", body="b"))
        assert (len(receiver.seen), len(other.seen)) == (1, 0)


def test_many_notifications_are_cut_to_what_one_can_read() -> None:
    news = [News(title=f"t: {number}", body="text") for number in range(45)]
    assert merged(news[:1], "t") == news[0]
    one = merged(news, "t")
    assert one.title == "t: 45 notifications"
    assert one.body.startswith("0\ntext\n\n1\ntext")
    assert one.body.endswith("and 25 more; see: tt events")
