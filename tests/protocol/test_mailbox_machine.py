"""The mailbox against a model of it: whatever is called in whatever order, both say the same."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Confirmation, Informational, Query, TaskOrder
from tinytown.model.results import Delivery
from tinytown_cli import administration
from tinytown_cli.blocking_client import BlockingClient

from tests.protocol.conftest import MACHINE, BareTown, fresh_town

HOUR_MS = 3_600_000
MAX_DELIVERIES = 3
PRIORITIES = ("urgent", "high", "normal", "low")
BODIES = {
    "t": TaskOrder(description="do"),
    "q": Query(question="why?"),
    "i": Informational(summary="so"),
    "c": Confirmation(),
}

picks = st.lists(st.integers(0, 999), max_size=4)


@dataclass
class Mail:
    id: str
    kind: str
    rank: int
    seq: int
    box: str
    place: str = "queued"
    due: bool = False  # a delayed message whose time has come, or a leased one whose lease has run out
    deliveries: int = 0
    token: str = "-"

    @property
    def order(self) -> tuple[int, int]:
        return self.rank, self.seq


@dataclass
class Claim:
    token: str
    ids: list[str] = field(default_factory=list)


def machine(client: BlockingClient) -> type[RuleBasedStateMachine]:
    class MailboxMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.town: BareTown = fresh_town(client, max_deliveries=MAX_DELIVERIES)
            self.mail: dict[str, Mail] = {}
            self.given: list[tuple[str, Delivery]] = []
            self.claims: dict[str, Claim] = {}
            self.gone: set[str] = set()
            self.count = 0

        @initialize()
        def people(self) -> None:
            agent = self.town.run(self.town.operations.create_agent("alice", cli="shell"))
            self.boxes = {"alice": agent.id, "supervisor": SUPERVISOR_ID}

        def of(self, box: str, place: str) -> list[Mail]:
            return sorted((m for m in self.mail.values() if m.box == box and m.place == place), key=lambda m: m.order)

        def pick(self, numbers: list[int], box: str) -> list[Delivery]:
            """Deliveries of `box` that were once handed out, fresh and stale ones."""
            given = [delivery for name, delivery in self.given if name == box]
            return [given[-1 - number % min(len(given), 8)] for number in numbers] if given else []

        def holds(self, delivery: Delivery) -> Mail | None:
            mail = self.mail.get(delivery.member[1:])
            return mail if mail and mail.place == "leased" and mail.token == delivery.token else None

        def forget(self, mail: Mail) -> None:
            del self.mail[mail.id]
            self.gone.add(mail.id)

        def give_back(self, mail: Mail, *, counts: bool = True, delayed: bool = False) -> str:
            mail.due = False
            if counts and mail.deliveries >= MAX_DELIVERIES:
                mail.place = "dead"
                return "dead"
            mail.deliveries -= not counts
            mail.token, mail.place = "-", "delayed" if delayed else "queued"
            return "queued"

        # -- what people and kernels do

        @rule(
            box=st.sampled_from(["alice", "supervisor"]),
            mails=st.lists(
                st.tuples(st.sampled_from(sorted(BODIES)), st.sampled_from(PRIORITIES)), min_size=1, max_size=6
            ),
            delayed=st.booleans(),
        )
        def send(self, box: str, mails: list[tuple[str, str]], delayed: bool) -> None:
            for kind, priority in mails:
                self.count += 1
                mail = Mail(f"m{self.count}", kind, PRIORITIES.index(priority), self.count, box)
                operation = self.town.operations.send(
                    box,
                    BODIES[kind],
                    priority=priority,  # type: ignore[arg-type]
                    message_id=mail.id,
                    not_before_ms=self.later() if delayed else 0,
                )
                assert self.town.run(operation).new
                mail.place = "delayed" if delayed else "queued"
                self.mail[mail.id] = mail

        def later(self) -> int:
            seconds = self.town.command("TIME")[0]
            return int(seconds) * 1000 + HOUR_MS

        @precondition(lambda self: self.mail or self.gone)
        @rule(number=st.integers(0, 999), box=st.sampled_from(["alice", "supervisor"]))
        def send_again(self, number: int, box: str) -> None:
            known = sorted(self.gone.union(self.mail))
            message_id = known[number % len(known)]
            assert not self.town.run(self.town.operations.send(box, BODIES["q"], message_id=message_id)).new

        @rule(box=st.sampled_from(["alice", "supervisor"]), count=st.integers(0, 5), acks=picks)
        def claim(self, box: str, count: int, acks: list[int]) -> None:
            self.count += 1
            token, given = f"c{self.count}", self.pick(acks, box)
            batch = self.town.run(
                self.town.operations.claim(self.boxes[box], token=token, count=count, lease_ms=HOUR_MS, acks=given)
            )
            for delivery in given:
                if mail := self.holds(delivery):
                    self.forget(mail)
            for mail in self.of(box, "leased"):
                if mail.due:
                    self.give_back(mail)
            for mail in self.of(box, "delayed"):
                if mail.due:
                    mail.place, mail.due = "queued", False
            taken: list[Mail] = []
            for mail in self.of(box, "queued")[:count]:
                if mail.kind == "t" and any(other.kind == "t" for other in taken):
                    break
                mail.place, mail.token = "leased", token
                mail.deliveries += 1
                taken.append(mail)
            assert [(d.member, d.deliveries) for d in batch.deliveries] == [
                (m.kind + m.id, m.deliveries) for m in taken
            ]
            assert all(d.message and d.message.id == m.id for d, m in zip(batch.deliveries, taken, strict=True))
            if taken:
                self.claims[box] = Claim(token, [mail.id for mail in taken])
            self.given += [(box, delivery) for delivery in batch.deliveries]

        @precondition(lambda self: self.claims)
        @rule(number=st.integers(0, 9))
        def claim_again_with_the_same_token(self, number: int) -> None:
            box = sorted(self.claims)[number % len(self.claims)]
            last = self.claims[box]
            still = [m for m in map(self.mail.get, last.ids) if m and m.place == "leased" and m.token == last.token]
            if not still:  # whoever has settled all of it has had the answer: this would be a new claim
                return
            batch = self.town.run(
                self.town.operations.claim(self.boxes[box], token=last.token, count=3, lease_ms=HOUR_MS)
            )
            assert [(d.member[1:], d.deliveries) for d in batch.deliveries] == [(m.id, m.deliveries) for m in still]

        @rule(box=st.sampled_from(["alice", "supervisor"]), numbers=picks)
        def ack(self, box: str, numbers: list[int]) -> None:
            given = self.pick(numbers, box)
            answers = self.town.run(self.town.operations.ack(self.boxes[box], given))
            for delivery, answer in zip(given, answers, strict=True):
                mail = self.holds(delivery)
                assert answer == (mail is not None)
                if mail:
                    self.forget(mail)

        @rule(box=st.sampled_from(["alice", "supervisor"]), numbers=picks, delayed=st.booleans(), counts=st.booleans())
        def nack(self, box: str, numbers: list[int], delayed: bool, counts: bool) -> None:
            given = self.pick(numbers, box)
            answers = self.town.run(
                self.town.operations.nack(self.boxes[box], given, delay_ms=HOUR_MS if delayed else 0, counts=counts)
            )
            for delivery, answer in zip(given, answers, strict=True):
                mail = self.holds(delivery)
                assert answer == (self.give_back(mail, counts=counts, delayed=delayed) if mail else "stale")

        @rule(box=st.sampled_from(["alice", "supervisor"]), numbers=picks)
        def renew(self, box: str, numbers: list[int]) -> None:
            given = self.pick(numbers, box)
            answers = self.town.run(self.town.operations.renew(self.boxes[box], given, lease_ms=HOUR_MS))
            for delivery, answer in zip(given, answers, strict=True):
                mail = self.holds(delivery)
                assert answer == (mail is not None)
                if mail:
                    mail.due = False

        @rule(box=st.sampled_from(["alice", "supervisor"]), numbers=picks)
        def bury(self, box: str, numbers: list[int]) -> None:
            given = self.pick(numbers, box)
            held = []
            for delivery in given:
                if mail := self.holds(delivery):
                    mail.place = "dead"
                    held.append(mail)
            fates = self.town.run(self.town.operations.dead_letter(self.boxes[box], given, reason="unreadable"))
            assert fates.count("dead") == len(held)

        @precondition(lambda self: any(mail.place == "dead" for mail in self.mail.values()))
        @rule(number=st.integers(0, 999), everything=st.booleans(), again=st.booleans())
        def redrive_or_drop(self, number: int, everything: bool, again: bool) -> None:
            dead = sorted((m for m in self.mail.values() if m.place == "dead"), key=lambda m: m.id)
            chosen = dead if everything else [dead[number % len(dead)]]
            verb = administration.redrive if again else administration.drop
            gone = self.town.run(verb(self.town.operations.keys, "all" if everything else chosen[0].id))
            assert sorted(gone) == [mail.id for mail in chosen]
            for mail in chosen:
                if again:
                    mail.place, mail.deliveries, mail.token, mail.due = "queued", 0, "-", False
                else:
                    self.forget(mail)

        @rule(box=st.sampled_from(["alice", "supervisor"]), number=st.integers(0, 999), everything=st.booleans())
        def remove(self, box: str, number: int, everything: bool) -> None:
            free = self.of(box, "queued") + self.of(box, "delayed")
            chosen = free if everything or not free else [free[number % len(free)]]
            if not free:
                everything = True
            message = "all" if everything else chosen[0].id
            gone = self.town.run(administration.remove_message(self.town.operations.keys, box, message))
            assert sorted(gone) == sorted(mail.id for mail in chosen)
            for mail in chosen:
                self.forget(mail)

        # -- what time does

        @rule(box=st.sampled_from(["alice", "supervisor"]), place=st.sampled_from(["leased", "delayed"]))
        def time_passes(self, box: str, place: str) -> None:
            key = self.town.key(f"mail:{self.boxes[box]}:{'leases' if place == 'leased' else 'delayed'}")
            for mail in self.of(box, place):
                self.town.command("ZADD", key, 1, mail.kind + mail.id)
                mail.due = True

        # -- what always holds

        @invariant()
        def every_message_is_where_the_model_has_it(self) -> None:
            if not self.mail and not self.gone:
                return
            dump = self.town.dump()

            def members(key: str) -> list[str]:
                return list(dump.get(key, ("zset", {}))[1])

            for box, agent_id in self.boxes.items():
                queued, leased, delayed = (self.of(box, place) for place in ("queued", "leased", "delayed"))
                assert members(f"mail:{agent_id}:queue") == [m.kind + m.id for m in queued]
                assert sorted(members(f"mail:{agent_id}:leases")) == sorted(m.kind + m.id for m in leased)
                assert sorted(members(f"mail:{agent_id}:delayed")) == sorted(m.kind + m.id for m in delayed)
                bodies = dump.get(f"mail:{agent_id}:bodies", ("hash", {}))[1]
                assert sorted(bodies) == sorted(m.id for m in queued + leased + delayed)
                lines = dump.get(f"mail:{agent_id}:state", ("hash", {}))[1]
                for mail in queued + leased + delayed:
                    line = lines.get(mail.kind + mail.id, "0 0 -").split()
                    assert line[1:3] == [str(mail.deliveries), mail.token]
                    assert len(line) == (4 if mail.place == "leased" else 3)
                assert set(lines) <= {m.kind + m.id for m in queued + leased + delayed}
            assert sorted(members("dead")) == sorted(m.id for m in self.mail.values() if m.place == "dead")
            assert not self.gone & set(self.mail)

        @invariant()
        def the_counts_are_those_of_the_model(self) -> None:
            if not self.count:
                return
            status = self.town.run(self.town.operations.status())
            for box, counts in (("alice", status.agents[0].mail), ("supervisor", status.supervisor_mail)):
                there = [mail for mail in self.mail.values() if mail.box == box and mail.place != "dead"]
                assert counts.queued == len(self.of(box, "queued"))
                assert counts.leased == len(self.of(box, "leased"))
                assert counts.delayed == len(self.of(box, "delayed"))
                assert counts.urgent == sum(mail.rank == 0 for mail in there)
                kinds = [counts.tasks, counts.queries, counts.informational, counts.confirmations]
                assert kinds == [sum(mail.kind == kind for mail in there) for kind in "tqic"]

    return MailboxMachine


def test_a_mailbox_does_what_its_model_does(client: BlockingClient) -> None:
    run_state_machine_as_test(machine(client), settings=MACHINE)
