"""Messages that nobody can read, and those of an older Tinytown: none is lost, none stops the others."""

from __future__ import annotations

import msgspec
import pytest
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Query, Unknown
from tinytown_cli import administration

from tests.protocol.conftest import BareTown

UNREADABLE = {
    "binary": b"\x00\xff\xfe\x80garbage",
    "truncated": b'{"id":"m","from":"ann","to":"supervisor","type":"query","question":"wh',
    "empty": b"",
    "a list": b"[1,2,3]",
    "null": b"null",
    "of a wrong shape": b'{"id":"m","type":"query","question":7}',
    "without a type": b'{"id":"m","question":"why?"}',
    "nested without end": b'{"id":"m","type":"new","more":' + b"[" * 100_000,
    "nested deeply": b'{"id":"m","type":"new","more":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no UTF-8": b'{"id":"m","type":"query","question":"x\xe9"}',
}


def put(town: BareTown, body: bytes, name: str = "m") -> None:
    """What another program, or a damaged disk, may leave in a mailbox."""
    town.run(town.operations.send("supervisor", Query(question="?"), message_id=name))
    town.command("HSET", town.key(f"mail:{SUPERVISOR_ID}:bodies"), name, body)


@pytest.mark.parametrize("what", UNREADABLE)
def test_an_unreadable_message_is_delivered_raw_and_can_be_buried_and_looked_at(town: BareTown, what: str) -> None:
    raw = UNREADABLE[what]
    put(town, raw)
    town.run(town.operations.send("supervisor", Query(question="and?"), message_id="next"))
    (lying, _) = town.run(town.operations.peek("supervisor")).messages
    assert (lying.raw, lying.message) == (raw, None)
    batch = town.run(town.operations.claim(SUPERVISOR_ID, token="c", count=5))
    bad, good = batch.deliveries
    assert (bad.raw, bad.message, bad.member) == (raw, None, "qm")
    assert good.message
    assert town.run(town.operations.dead_letter(SUPERVISOR_ID, [bad], reason="its body cannot be decoded")) == ("dead",)
    (letter,) = town.run(administration.dead_letters(town.operations.keys))
    assert (letter.id, letter.raw, letter.message, letter.reason) == ("m", raw, None, "its body cannot be decoded")
    town.run(administration.redrive(town.operations.keys, "m"))
    again = town.run(town.operations.claim(SUPERVISOR_ID, token="d", count=5))
    assert [(delivery.raw, delivery.deliveries) for delivery in again.deliveries] == [(raw, 1)]


def test_a_body_that_is_gone_is_delivered_as_nothing_and_can_be_buried(town: BareTown) -> None:
    put(town, b"x")
    town.command("HDEL", town.key(f"mail:{SUPERVISOR_ID}:bodies"), "m")
    (delivery,) = town.run(town.operations.claim(SUPERVISOR_ID, token="c")).deliveries
    assert (delivery.raw, delivery.message) == (b"", None)
    assert town.run(town.operations.dead_letter(SUPERVISOR_ID, [delivery], reason="it has no body")) == ("dead",)


def test_a_kind_that_this_version_does_not_know_is_delivered_whole(town: BareTown) -> None:
    raw = b'{"id":"m","from":"ann","to":"supervisor","type":"vote","motion":{"yes":[],"no":2},"priority":"high"}'
    put(town, raw)
    (delivery,) = town.run(town.operations.claim(SUPERVISOR_ID, token="c")).deliveries
    assert delivery.message
    assert (delivery.message.type, delivery.message.category, delivery.message.priority) == (
        "vote",
        "informational",
        "high",
    )
    assert isinstance(delivery.message.body, Unknown)
    assert msgspec.json.decode(delivery.message.body.raw)["motion"] == {"yes": [], "no": 2}


@pytest.mark.parametrize("what", UNREADABLE)
def test_an_unreadable_message_that_nobody_buries_ends_with_the_dead_letters(town: BareTown, what: str) -> None:
    put(town, UNREADABLE[what])
    for number in range(5):
        batch = town.run(town.operations.claim(SUPERVISOR_ID, token=f"c{number}"))
        (outcome,) = town.run(town.operations.nack(SUPERVISOR_ID, batch.deliveries, reason="cannot read it"))
    assert outcome == "dead"
    assert town.run(administration.dead_letters(town.operations.keys))[0].deliveries == 5


def test_one_spoilt_record_does_not_hide_the_other_agents(town: BareTown) -> None:
    """A foreign hand has deleted one agent's record and written nonsense into another's."""
    gone, odd, fine = (town.run(town.operations.create_agent(name, cli="echo")) for name in ("gone", "odd", "fine"))
    base = town.operations.keys.base
    town.client.command("DEL", f"{base}:agent:{gone.id}")
    town.client.command("HSET", f"{base}:agent:{odd.id}", "rounds_completed", "many")
    listed = {agent.name: agent for agent in town.run(town.operations.agents())}
    assert listed["fine"].id == fine.id
    assert listed["odd"].state == "error"
    assert "cannot be read" in (listed["odd"].reason or "")
    assert {agent.name for agent in town.run(town.operations.status()).agents} >= {"odd", "fine"}


def test_mail_of_a_removed_agent_keeps_its_priority_among_the_dead_letters(town: BareTown) -> None:
    town.run(town.operations.create_agent("ann", cli="echo"))
    town.run(town.operations.send("ann", Query(question="how far?"), priority="low", message_id="low-one"))
    town.run(town.operations.set_desired_state("ann", "stopped"))
    town.run(administration.remove_agent(town.operations.keys, "ann", force=True))
    score = float(town.command("HGET", town.key("dead:low-one"), "score"))
    assert score >= 3 * 2**50
