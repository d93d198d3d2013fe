"""What every agent backend promises of its sessions and outcomes (B1 to B24), and how each promise is tried.

The rounds here are those that a kernel gives: a real process supervisor, real directories, one session for many rounds. What only
the maker of a backend can bring about comes from `BackendScenarios`; without it a backend is held to the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection

import trio
from tinytown.concurrency import open_background
from tinytown.contracts import Finished, Lost, Outcome, RateLimited, Round, Unauthorized, Unavailable
from tinytown.errors import BackendUnavailable
from tinytown.kernel import log_path, run_directory

from tinytown_testing.backend_trial import (
    LONG_S,
    BackendTrial,
    ReportRecorder,
    SessionTrial,
    outcome_text,
    started_or_after,
)
from tinytown_testing.leaks import snapshot_files
from tinytown_testing.promises import Broken, Contract, NotApplicable, raised
from tinytown_testing.scenarios import Scenario
from tinytown_testing.trial import (
    CANCELLED_AT_STEPS,
    check_word,
    expect,
    expect_context_manager,
    expect_quick,
    expect_texts,
)

BACKEND = Contract[BackendTrial]("backend")

_TIMEOUT_S = 0.4
_UNDER_WAY_S = 0.3  # after which a round that shows nothing of itself counts as under way
_LATE_S = 0.1
_SLOW_LINE_S = 0.05

#: All of them do nothing where a prompt is run as a shell script.
HOSTILE_PROMPTS = {
    "an empty prompt": "",
    "a blank prompt": " \n\t\n ",
    "a prompt of a megabyte": "# " + "x" * (1 << 20),
    "a prompt of 20,000 lines": "# line\n" * 20_000,
    "a prompt with control characters": "# \x00 \x07 \x1b[31m \x7f \x85 \r\r\n",
    "a prompt from all planes": "# \u00e9 \u4e2d \U0001f3d8 \U0010ffff \u202e \ufeff",
    "a prompt that looks like options": "--help # -- -x",
    "a prompt full of quotes": "# ' \" ` \\ $( ${ {{ %s {0} </prompt>",
}

#: What a tool's output may look like when it crashes, is cut off or has changed.
OUTPUTS = {
    "no output": b"",
    "a line that is cut": b"one\ntw",
    "a character that is cut": "\u00e9".encode()[:-1],
    "a line of two megabytes": b"x" * (2 << 20) + b"\n",
    "many short lines": b"line\n" * 5_000,
    "bytes that are no text": b"\xff\xfe\x00\x1b[2J\x80\n\r\n\x85",
    "JSON that is cut": b'{"type": "result", "text": "unfini',
    "JSON of another shape": b'[]\nnull\n1\n"text"\n{}\n{"type": null}\n{"type": []}\n{"type": "result"}\n',
    "JSON without an end": b"[" * 100_000 + b"\n",
}


# -- the session -----------------------------------------------------------------------------------------


@BACKEND.promise("B1", "Its kind is a word that can be typed after --cli.")
async def _kind(trial: BackendTrial) -> None:
    check_word("kind", trial.make().kind)


@BACKEND.promise("B2", "Nothing starts before a session is entered.")
async def _nothing_before_entering(trial: BackendTrial) -> None:
    backend = trial.make()
    async with trial.expect_no_leaks("asking for a session, without entering it,"):
        made = backend.open(trial.sandbox.context(trial.sandbox.agent(cli=str(backend.kind))))
        expect_context_manager(made)
        await trio.lowlevel.checkpoint()
        del made


@BACKEND.promise("B3", "A session without rounds opens and closes, and leaves nothing behind.", requires=("B2",))
async def _opens_and_closes(trial: BackendTrial) -> None:
    async def open_and_close() -> None:
        async with trial.session():
            pass

    await trial.within("opening and closing", LONG_S, open_and_close)  # what is made once and kept is made here
    async with trial.expect_no_leaks("a session that had nothing to do"):
        await open_and_close()


@BACKEND.promise("B4", "A round returns an outcome, and the outcome is about its task.", requires=("B3",))
async def _answers(trial: BackendTrial) -> None:
    async with trial.session() as session:
        await session.answer()


@BACKEND.promise("B5", "It reports lines of text and usage, and nothing after the round has ended.", requires=("B4",))
async def _reports(trial: BackendTrial) -> None:
    async with trial.session() as session:
        _, _, recorder = await session.answer()
        await trio.sleep(_LATE_S)
    if recorder.problems:
        raise Broken(recorder.problems[0])


@BACKEND.promise("B6", "A session runs several rounds in turn, each about its own task.", requires=("B4",))
async def _round_after_round(trial: BackendTrial) -> None:
    async with trial.session() as session:
        earlier: list[str] = []
        for _ in range(3):
            word, outcome, _ = await session.answer()
            _expect_none_of(earlier, outcome, "of an earlier round")
            earlier.append(word)


@BACKEND.promise("B7", "A session that has run rounds leaves nothing behind when it closes.", requires=("B6",))
async def _leaves_nothing(trial: BackendTrial) -> None:
    async def work() -> None:
        async with trial.session() as session:
            await session.answer()
            await session.answer()

    await work()
    async with trial.expect_no_leaks("a session that had worked"):
        await work()


# -- cancellation and time -------------------------------------------------------------------------------


@BACKEND.promise(
    "B8", "Cancelled while it opens or closes, it ends promptly and leaves nothing behind.", requires=("B3",)
)
async def _cancelled_in_open(trial: BackendTrial) -> None:
    opened = trio.Event()

    async def open_and_stay() -> None:
        async with trial.session():
            opened.set()
            await trio.sleep_forever()

    async with trial.expect_no_leaks("a session that was cancelled while it opened"):
        for step in CANCELLED_AT_STEPS:
            if not opened.is_set():
                await trial.cancel_and_wait("opening", open_and_stay, at_step=step, when=opened.wait)
        opened = trio.Event()
        await trial.cancel_and_wait("closing", open_and_stay, when=opened.wait)


@BACKEND.promise(
    "B9",
    "A cancelled round and all its processes end within the grace period, and the session stays usable.",
    requires=("B7",),
)
async def _cancelled_in_a_round(trial: BackendTrial) -> None:
    work = trial.scenarios.work
    async with trial.expect_no_leaks("a session with cancelled rounds"):
        async with trial.session() as session:
            for step in CANCELLED_AT_STEPS:
                await session.cancel(trial.new_answer()[1], at_step=step)
            await session.answer()
        if isinstance(work, Scenario):
            async with trial.session(work) as session:
                if not await session.cancel(work, under_way=started_or_after(_UNDER_WAY_S)):
                    raise Broken(
                        "a round that was cancelled while it worked returned an outcome: it swallowed Cancelled"
                    )
                if work.make is None:
                    await session.answer()


@BACKEND.promise("B10", "A process that ignores signals does not outlive a cancelled round.", requires=("B9",))
async def _stubborn(trial: BackendTrial) -> None:
    scenario = trial.given("stubborn")

    def under_way(_: Round, recorder: ReportRecorder) -> bool:
        return any(scenario.marker in line for line in recorder.lines)

    async with trial.session(scenario) as session:
        await session.cancel(scenario, under_way=under_way)


@BACKEND.promise(
    "B11", "A round that exceeds its time limit is ended, and does not count as finished.", requires=("B9",)
)
async def _timeout(trial: BackendTrial) -> None:
    scenario = trial.given("work")
    async with trial.session(scenario) as session:
        outcome, _ = await session.run(scenario, timeout_s=_TIMEOUT_S)
    if isinstance(outcome, Finished):
        raise Broken(f"after its time limit of {_TIMEOUT_S} s the outcome was {outcome_text(outcome)}")


# -- what goes wrong with tools and accounts ---------------------------------------------------------------


@BACKEND.promise(
    "B12", "If its tool is missing, the outcome is Unavailable with a hint how to install it.", requires=("B4",)
)
async def _missing_tool(trial: BackendTrial) -> None:
    scenario = trial.given("missing_tool")
    outcome: Outcome
    try:
        async with trial.session(scenario) as session:
            outcome, _ = await session.run(scenario)
    except BackendUnavailable as error:
        outcome = Unavailable(reason=error.message, hint=error.hint)
    _expect_kind(outcome, Unavailable)
    _expect_text(outcome, "hint")


@BACKEND.promise(
    "B13", "If its tool is killed, the outcome is Lost with the end of the tool's stderr.", requires=("B4",)
)
async def _killed(trial: BackendTrial) -> None:
    scenario = trial.given("killed")
    async with trial.session(scenario) as session:
        outcome, _ = await session.run(scenario)
    _expect_kind(outcome, Lost)
    if scenario.marker not in getattr(outcome, "stderr_tail", ""):
        raise Broken(f"the tool said {scenario.marker!r} on its standard error, the outcome is {outcome_text(outcome)}")


@BACKEND.promise("B14", "The round returns an outcome, no matter what its tool prints.", requires=("B4",))
async def _any_output(trial: BackendTrial) -> None:
    scenario_for = trial.scenarios.output
    if scenario_for is None or isinstance(scenario_for, str):
        raise NotApplicable(scenario_for or "no scenario 'output' was given")
    path = trial.sandbox.base / "output"
    for what, output in OUTPUTS.items():
        path.write_bytes(output)
        scenario = scenario_for(path)
        try:
            async with trial.session(scenario) as session:
                await session.run(scenario)
        except Exception as error:
            raise Broken(f"{what}: {raised(error)}") from error


@BACKEND.promise("B15", "Late output neither delays its round nor appears in the next.", requires=("B6",))
async def _late_output(trial: BackendTrial) -> None:
    scenario = trial.given("late_output")
    async with trial.session(scenario) as session:
        _, first = await session.run(scenario)
        outcome, second = await session.run(trial.new_answer()[1])
        await trio.sleep(_LATE_S)
    if first.problems:
        raise Broken(first.problems[0])
    if any(scenario.marker in line for line in second.lines):
        raise Broken(f"the next round reported {scenario.marker!r}")
    _expect_none_of([scenario.marker], outcome, "that the round before had printed")


@BACKEND.promise("B16", "Two concurrent sessions do not mix.", requires=("B6",))
async def _two_sessions(trial: BackendTrial) -> None:
    backend = trial.make()
    rounds: dict[str, list[tuple[str, Outcome, ReportRecorder]]] = {"ada": [], "ben": []}

    async def work(name: str, session: SessionTrial, done: trio.Event) -> None:
        for _ in range(3):
            rounds[name].append(await session.answer())
        done.set()

    async with (
        trial.session(name="ada", backend=backend) as first,
        trial.session(name="ben", backend=backend) as second,
        open_background() as nursery,
    ):
        ends = trio.Event(), trio.Event()
        nursery.start_soon(work, "ada", first, ends[0])
        nursery.start_soon(work, "ben", second, ends[1])
        for end in ends:
            await end.wait()
    for mine, others in (("ada", "ben"), ("ben", "ada")):
        words = [word for word, _, _ in rounds[others]]
        for _, outcome, recorder in rounds[mine]:
            _expect_none_of(words, outcome, f"of {others}, who worked at the same time as {mine}")
            for line in recorder.lines:
                if any(word in line for word in words):
                    raise Broken(f"{mine} reported {line!r}, which is of {others}, who worked at the same time")


@BACKEND.promise(
    "B17",
    "It writes only to its state directory, the round's directory and the log.",
    requires=("B6", "B9"),
)
async def _own_directories(trial: BackendTrial) -> None:
    sandbox = trial.sandbox
    nowhere = sandbox.base / "nowhere"
    nowhere.mkdir(exist_ok=True)
    own = (
        sandbox.context(sandbox.agent()).state_directory,
        sandbox.work,
        sandbox.temporary,
        run_directory(sandbox.root),
    )
    log = log_path(sandbox.root, "ada")
    before = snapshot_files(sandbox.base)
    work = trial.scenarios.work
    with contextlib.chdir(nowhere):
        async with trial.session() as session:
            await session.answer()
            await session.answer()
        if isinstance(work, Scenario):
            async with trial.session(work) as session:
                await session.cancel(work, under_way=started_or_after(_LATE_S))
    for path, about in snapshot_files(sandbox.base).items():
        is_own = path == log or any(path == each or each in path.parents for each in own)
        if not is_own and before.get(path) != about:
            raise Broken(f"it wrote {path.relative_to(sandbox.base)}, seen from the directory that holds town and home")


@BACKEND.promise("B18", "It accepts any prompt: empty, huge, with control characters, in any script.", requires=("B6",))
async def _hostile_prompts(trial: BackendTrial) -> None:
    async with trial.session() as session:
        for what, prompt in HOSTILE_PROMPTS.items():
            try:
                await session.run(Scenario(task=prompt))
            except Exception as error:
                raise Broken(f"{what}: {raised(error)}") from error


@BACKEND.promise("B19", "A throttled account is reported as RateLimited.", requires=("B4",))
async def _rate_limit(trial: BackendTrial) -> None:
    scenario = trial.given("rate_limit")
    async with trial.session(scenario) as session:
        outcome, _ = await session.run(scenario)
    _expect_kind(outcome, RateLimited)


@BACKEND.promise(
    "B20", "A missing or rejected login is reported as Unauthorized with a hint how to fix it.", requires=("B4",)
)
async def _login_error(trial: BackendTrial) -> None:
    scenario = trial.given("login_error")
    async with trial.session(scenario) as session:
        outcome, _ = await session.run(scenario)
    _expect_kind(outcome, Unauthorized)
    _expect_text(outcome, "hint")


@BACKEND.promise("B21", "A slow report receiver does not change the outcome.", requires=("B5",))
async def _slow_listener(trial: BackendTrial) -> None:
    scenario = trial.new_answer()[1]
    if callable(trial.scenarios.output):
        path = trial.sandbox.base / "output"
        path.write_bytes(b"line\n" * 10)
        scenario = trial.scenarios.output(path)
    async with trial.session(scenario) as session:
        quick, _ = await session.run(scenario)
    async with trial.session(scenario) as session:
        slow, _ = await session.run(scenario, line_delay_s=_SLOW_LINE_S)
    if type(quick) is not type(slow):
        raise Broken(f"with a listener that takes {_SLOW_LINE_S} s for a line the outcome was {outcome_text(slow)}")


@BACKEND.promise("B22", "It never blocks the event loop.", requires=("B4",))
async def _event_loop(trial: BackendTrial) -> None:
    path = trial.sandbox.base / "output"
    path.write_bytes(b"a line of some length, one of many\n" * 30_000)

    async def work() -> None:
        async with trial.session() as session:
            await session.answer()
        if callable(trial.scenarios.output):
            scenario = trial.scenarios.output(path)
            async with trial.session(scenario) as session:
                await session.run(scenario)

    await trial.expect_responsive("the session", work)


@BACKEND.promise("B23", "Its optional members have the right types, and warnings() returns promptly.")
async def _about_itself(trial: BackendTrial) -> None:
    backend = trial.make()
    account = expect(backend.account, str, "as account")
    if account != account.strip():
        raise Broken(f"expected a name as account, or an empty text, got {account!r}")
    offers = backend.offers_town_tools
    if not isinstance(offers, bool | None) and expect(offers, str, "as offers_town_tools").count("{}") != 1:
        raise Broken(f"expected a truth value, None, or a text with {{}} as offers_town_tools, got {offers!r}")
    expect_quick("warnings()", lambda: expect_texts(backend.warnings(), "from warnings()"))


@BACKEND.promise(
    "B24",
    "A round that is silent for longer than its silence limit is ended, and does not count as finished.",
    requires=("B9",),
)
async def _silence(trial: BackendTrial) -> None:
    scenario = trial.given("silent")
    async with trial.session(scenario) as session:
        outcome, _ = await session.run(scenario, silence_s=_TIMEOUT_S)
    if isinstance(outcome, Finished):
        raise Broken(f"after {_TIMEOUT_S} s of silence the outcome was {outcome_text(outcome)}")


def _expect_none_of(words: Collection[str], outcome: Outcome, whose: str) -> None:
    for word in words:
        if word in repr(outcome):
            raise Broken(f"the outcome {outcome_text(outcome)} has {word!r}, {whose}")


def _expect_kind(outcome: Outcome, kind: type[Outcome]) -> None:
    if not isinstance(outcome, kind):
        raise Broken(f"expected {kind.__name__}, got {outcome_text(outcome)}")


def _expect_text(outcome: Outcome, attribute: str) -> None:
    if not str(getattr(outcome, attribute)).strip():
        raise Broken(f"expected a {attribute} for the person, got {outcome_text(outcome)}")
