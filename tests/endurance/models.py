"""The one model behind all agents: what it answers, what it has seen, what it has charged, and how it fails.

It does what its prompts order: it runs the command of a task, writes to other agents, replies to questions, and ends with a
text. What it has done it knows from results of its tools, as a real one does. Of a request it keeps no more than the words that
are looked for, so that an hour of them fits into memory.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinytown_testing.models import ModelServer, Script
from tinytown_testing.models.requests import WAITING_TOOL, ModelRequest
from tinytown_testing.models.scripts import Reply

from .seats import Seat, whose

#: What each answer says that it used.
INPUT_TOKENS, OUTPUT_TOKENS = 1000, 10

#: In a prompt: a task's number, the seconds it takes, and an agent to write to with the word, or two dashes.
_TASK = re.compile(r"\[\[task (\d+) (\S+) (\S+) (\S+)\]\]")
#: In a prompt: a question's number and the id of its message.
_QUESTION = re.compile(r"\[\[question (\d+) ([0-9a-f-]+)\]\]")
_WORD = re.compile(r"letter-\d+|question-\d+")
#: What the town's tools and `tt` say of a message that was sent.
_SENT = re.compile(r"message [0-9a-f-]{36} to|message_id|already answered")
_RUNNING = re.compile(r"Process running with session ID (\d+)")
_COMMIT_MESSAGE = "commit message"
_EDIT = "done\n\n{name}\n```\n<<<<<<< SEARCH\n=======\n{text}\n>>>>>>> REPLACE\n```\n"
_TRIES = 8  # of a step whose tool fails


@dataclass(slots=True)
class Asked:
    """A request of a model: by whom, when, the words that were new in it, and whether all of its answer was sent.

    `what` is for whoever looks for a cause. `aside`: a CLI may leave it out of what it reports, as titles and the words of
    commits, or count it, as an answer that was begun and cut off.
    """

    agent: str
    at: float
    words: frozenset[str]
    what: str
    aside: bool = False
    answered: bool = False


@dataclass(slots=True)
class Step:
    """Something that a prompt orders: a `task`'s command, or a message with a `word`."""

    reply: Reply
    word: str = ""
    task: int = 0
    tries: int = 0


@dataclass(slots=True)
class Plan:
    """What is left to do of a prompt, and the text that the round ends with."""

    steps: list[Step]
    text: str


class Models(Script):
    """The model, and the port at which it is asked.

    `work` is the command of a task, `done` has the tasks whose command has come to its end. While `trouble` is set everybody
    gets it. `seen`: (agent, word) -> when a request that had the word was answered for the first time. `written`: words that
    agents have written to others. `strangers`: protocol and model of requests that are nobody's.
    """

    def __init__(self, seats: Sequence[Seat], work: str, done: Collection[int]) -> None:
        super().__init__()
        self.trouble: Reply | None = None
        self.asked: list[Asked] = []
        self.seen: dict[tuple[str, str], float] = {}
        self.written: set[str] = set()
        self.strangers: list[str] = []
        self.port = 0
        self._seats = seats
        self._work = work
        self._done = done
        self._plans: dict[str, Plan] = {}
        self._guard = threading.Lock()
        self._server: ModelServer | None = None

    # -- the port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def listen(self) -> None:
        """Listen, on the same port as before."""
        if self._server is None:
            self._server = _Server(self, self.port)
            self._server.__enter__()
            self.port = self._server.port

    def refuse(self) -> None:
        """Listen no more: connections are refused."""
        if self._server is not None:
            self._server.__exit__()
            self._server = None

    # -- answers

    def choose(self, request: ModelRequest) -> Reply:
        with self._guard:
            reply = self.trouble or self._answer(request)
        seat = whose(self._seats, request.api, request.model)
        if _is_cut(reply) and not (request.streams and seat and seat.sees_cuts):
            reply = {"drop": "start"}
        return {**reply, "usage": {"input": INPUT_TOKENS, "output": OUTPUT_TOKENS}}

    def _answer(self, request: ModelRequest) -> Reply:
        seat = whose(self._seats, request.api, request.model)
        if seat is None or request.running is not None:
            return super().choose(request)
        if not request.tools:
            return _answer_without_tools(seat, request)
        has_orders = _TASK.search(request.prompt) or _QUESTION.search(request.prompt)
        plan = self._plans.get(seat.name)
        if has_orders and (plan is None or request.turn == 0):
            plan = self._plans[seat.name] = self._plan(seat, request.prompt)
        if plan is None or not (has_orders or seat.takes_mail):
            return {"text": "noted"}
        # To some, mail in the middle of a round is a turn of the person's: what was ordered before continues.
        if not has_orders and (session := self._running_session(request)) is not None:
            return {"tool": {"name": WAITING_TOOL, "input": {"session_id": session, "chars": ""}}}
        if plan.steps and plan.steps[0].tries and self._is_done(plan.steps[0], request):
            self.written.add(plan.steps.pop(0).word)
        if plan.steps and plan.steps[0].tries < _TRIES:
            plan.steps[0].tries += 1
            return plan.steps[0].reply
        del self._plans[seat.name]
        return {"text": plan.text}

    def _is_done(self, step: Step, request: ModelRequest) -> bool:
        if step.task:
            return step.task in self._done
        return request.ends_with_tool_result and _SENT.search(request.tool_text) is not None

    def _plan(self, seat: Seat, prompt: str) -> Plan:
        tasks, questions = _TASK.findall(prompt), _QUESTION.findall(prompt)
        plan = Plan([], "done " + " ".join(f"answer-{number}" for number, _ in questions))
        if not tasks:
            return plan  # a round without a task answers by its final text
        number, seconds, to, word = tasks[-1]
        if to != "-":
            plan.steps.append(Step(_tool("send", to=to, text=word, kind="info"), word))
        plan.steps.append(Step({"shell": f"{self._work} {number} {seat.name} {seconds}"}, task=int(number)))
        for question, message in questions:
            text = f"answer-{question}"
            command = f"{sys.executable} -m tinytown send supervisor {text} --info --reply-to {message}"
            reply = _tool("reply", message=message, text=text) if seat.sees_tools else {"shell": command}
            plan.steps.append(Step(reply, text))
        return plan

    def _running_session(self, request: ModelRequest) -> int | None:
        """The session of a command that still runs beside its model, which had mail meanwhile."""
        tasks, sessions = _TASK.findall(request.raw), _RUNNING.findall(request.raw)
        if WAITING_TOOL not in request.tools or not tasks or not sessions or int(tasks[-1][0]) in self._done:
            return None
        return int(sessions[-1])

    # -- what it has seen

    def note(self, entry: Mapping[str, Any]) -> int:
        """Keep a request; its number, from 1."""
        seat = whose(self._seats, str(entry.get("api")), str(entry.get("model")))
        reply = entry.get("reply") or {}
        words = _WORD.findall(json.dumps(entry["body"])) if seat and reply else ()
        what = f"turn {entry.get('turn')} of {_brief(str(entry.get('prompt')))}: {json.dumps(reply)[:200]}"
        with self._guard:
            if "api" in entry and seat is None:
                self.strangers.append(f"{entry['api']} {entry['model']}")
            agent = seat.name if seat else ""
            new = frozenset(word for word in words if (agent, word) not in self.seen)
            aside = _is_cut(reply) or bool(seat and _is_aside(seat, entry))
            self.asked.append(Asked(agent, time.time(), new, what, aside))
            return len(self.asked)

    def note_answered(self, number: int) -> None:
        """Keep that all of an answer was sent."""
        with self._guard:
            asked = self.asked[number - 1]
            asked.answered = True
            for word in asked.words:
                self.seen.setdefault((asked.agent, word), time.time())


def _is_aside(seat: Seat, entry: Mapping[str, Any]) -> bool:
    """Whether a request offers no tools of a CLI that has some, or is for a smaller model: those of titles and commits."""
    return (seat.has_shell and not entry["tools"]) or entry["model"] != (seat.model or entry["model"])


def _is_cut(reply: Reply) -> bool:
    """Whether an answer begins and does not come to its end."""
    return "stream" in (reply.get("drop"), reply.get("hang"))


def _tool(name: str, **given: str) -> Reply:
    return {"mcp": {"server": "town", "tool": name, "input": given}}


def _answer_without_tools(seat: Seat, request: ModelRequest) -> Reply:
    """What a title, a summary or the words of a commit are asked for; and the work of a CLI whose models only write."""
    if _COMMIT_MESSAGE in request.system:
        return {"text": "Add a file"}
    if (tasks := _TASK.findall(request.prompt)) and not seat.has_shell:
        number = tasks[-1][0]
        return {"text": _EDIT.format(name=f"task-{number}.txt", text=f"task {number}")}
    return {"text": "noted"}


def _brief(prompt: str) -> str:
    orders = " ".join(found[0] for found in re.finditer(r"\[\[.*?\]\]", prompt))
    return f"{orders} {prompt[-60:]!r}"


class _Server(ModelServer):
    """The server of a `Models`, which keeps what it is asked."""

    def __init__(self, models: Models, port: int) -> None:
        self._models = models
        super().__init__(port=port)
        self.script = models

    def note(self, entry: dict[str, Any]) -> int:
        return self._models.note(entry)

    def note_answered(self, number: int, usage: Mapping[str, int]) -> None:
        self._models.note_answered(number)
