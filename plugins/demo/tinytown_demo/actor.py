"""A scripted agent: ``python -m tinytown_demo.actor ROLE``, a process per round, with its prompt on standard input.

Takes the place of a coding CLI: it reads the prompt, writes and runs real files, commits, and speaks with the others by
`tt` alone. Its round is known to `tt` by the environment. Each script does the same thing when it is run twice, because a
round that was cut off is offered again. Imports no more of Tinytown than its own folder, to be quick.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tinytown.errors import TinytownError

from tinytown_demo import wordcount
from tinytown_demo.repository import commit, uncommitted

_PATIENCE_S = 15.0
_LOOK_AGAIN_S = 0.2

_TASK = re.compile(r"^## Your task (\S+)$", re.MULTILINE)
_QUOTED = r"\n\n(`{3,})text\n(.*?)\n"  # to be closed by as many
_REJECTION = re.compile(
    r"^It was finished before and has been sent back\. Why:" + _QUOTED + r"\1$", re.MULTILINE | re.DOTALL
)
_MAIL = re.compile(
    r"^### (\S+) from (\S+?)(?:, [^\n]*)? \(message (\S+)\)" + _QUOTED + r"\4$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Letter:
    """A message of the prompt: its kind (``query``, ``informational``), who sent it, its id, and its text."""

    kind: str
    sender: str
    id: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """What an agent was told: its task's id and why it came back (both None where they are not), and its mail."""

    task: str | None
    rejection: str | None
    mail: tuple[Letter, ...]


def read_prompt(text: str) -> Prompt:
    """The parts of a prompt that the scripts act on."""
    task, rejection = _TASK.search(text), _REJECTION.search(text)
    return Prompt(
        task=task and task[1],
        rejection=rejection and rejection[2].removeprefix("rejected: "),
        mail=tuple(Letter(kind, sender, id_, body.strip()) for kind, sender, id_, _, body in _MAIL.findall(text)),
    )


# -- what every agent can do -----------------------------------------------------------------------------


def say(line: str) -> None:
    """A line for those who watch."""
    print(line, flush=True)


def tt(*words: str) -> str:
    """What the command `tt` printed. Raises: TinytownError with its complaint."""
    done = _run(sys.executable, "-m", "tinytown", *words)
    if done.returncode:
        raise TinytownError(f"tt {words[0]} failed: {done.stderr.strip()}")
    return done.stdout


def write(path: str, text: str) -> None:
    """Write a file of the project, whole or not at all."""
    target = Path(path)
    target.parent.mkdir(exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(target)


def save(author: str, message: str, *paths: str) -> None:
    """Commit these files."""
    if commit(Path.cwd(), message, paths, author=author):
        say(f"committed: {message}")


def run_tests(*which: str) -> tuple[bool, str]:
    """Whether the project's tests pass, and the last line that they print."""
    done = _run(sys.executable, "-m", "unittest", *which)
    lines = done.stderr.strip().splitlines()
    count = next((line.partition(" in ")[0].lower() for line in lines if line.startswith("Ran ")), "no tests ran")
    verdict = lines[-1] if lines else "no output"
    say(f"{count}: {verdict}")
    return done.returncode == 0, f"{count}: {verdict}"


def pass_tests(*which: str) -> str:
    """The last line of tests that have to pass. Raises: TinytownError when they do not; then the round has failed."""
    passed, told = run_tests(*which)
    if not passed:
        raise TinytownError(f"my own tests do not pass: {told}")
    return told


def _run(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, encoding="utf-8", errors="replace", check=False)


# -- the scripts -----------------------------------------------------------------------------------------


def designer(prompt: Prompt) -> None:
    """Writes the design, then answers questions about it."""
    if prompt.task:
        say("writing DESIGN.md")
        write("DESIGN.md", wordcount.DESIGN)
        save("designer", "Design the word counter", "DESIGN.md")
        for name in ("backend", "frontend"):
            tt("send", name, "The interface is in DESIGN.md; your parts meet in main() only.", "--info")
        tt("task", "complete", "--result", "DESIGN.md says what a word is, and what the two modules offer")
    for letter in prompt.mail:
        if letter.kind == "query":
            say(f"answering {letter.sender}")
            tt("send", letter.sender, wordcount.TIES_ANSWER, "--info", "--reply-to", letter.id)


def backend(prompt: Prompt) -> None:
    """Writes the core; corrects it when the reviewer has sent it back."""
    if not prompt.task:
        note(prompt)
    elif prompt.rejection:
        say(f"the reviewer is right: {prompt.rejection}")
        write("tests/test_core.py", wordcount.CORE_TESTS + wordcount.CORE_REGRESSION_TEST)
        failed_before, _ = run_tests("tests.test_core")
        write("wordcount/core.py", wordcount.CORE_FIXED)
        told = pass_tests("tests.test_core")
        save("backend", "Dashes of every kind separate words", "wordcount/core.py", "tests/test_core.py")
        how = "was not seen by the new test" if failed_before else "is held by a test that failed before"
        tt("task", "complete", "--result", f"corrected; the defect {how} ({told})")
    else:
        say("writing wordcount/core.py")
        write("wordcount/__init__.py", wordcount.PACKAGE)
        write("wordcount/core.py", wordcount.CORE_FIRST)
        write("tests/test_core.py", wordcount.CORE_TESTS)
        told = pass_tests("tests.test_core")
        save("backend", "Count the words of a text", "wordcount/__init__.py", "wordcount/core.py", "tests/test_core.py")
        tt("task", "complete", "--result", f"wordcount/core.py, {told}")


def frontend(prompt: Prompt) -> None:
    """Writes the command, and asks the designer what the design leaves open."""
    if not prompt.task:
        note(prompt)
        return
    question = json.loads(tt("send", "designer", wordcount.TIES_QUESTION, "--query", "--json"))["message_id"]
    say("writing wordcount/__main__.py while the designer thinks")
    write("tests/test_command.py", wordcount.COMMAND_TESTS)
    answer = await_answer(question)
    say(f"the designer says: {answer}" if answer else "no answer yet: I take the alphabet")
    write("wordcount/__main__.py", wordcount.COMMAND)
    told = pass_tests("tests.test_command")
    save("frontend", "Offer the word counter as a command", "wordcount/__main__.py", "tests/test_command.py")
    tt("task", "complete", "--result", f"python -m wordcount, {told}")


def reviewer(prompt: Prompt) -> None:
    """Runs everything, tries texts of its own, and approves, or sends back the part that is wrong."""
    if not prompt.task:
        note(prompt)
        return
    for task, module in (("core", "tests.test_core"), ("command", "tests.test_command")):
        passed, told = run_tests(module)
        if not passed:
            reject(task, f"{module} does not pass ({told})")
            return
    for text, expected in wordcount.TRIALS:
        found = words_found(text)
        if found != expected:
            wrong = ", ".join(sorted(found.keys() - expected.keys())) or "wrong counts"
            reject("core", f"in {text!r} it finds {wrong}, and not {', '.join(expected)} as DESIGN.md says")
            return
    if left := uncommitted(Path.cwd()):
        say(f"somebody has still to commit {', '.join(left)}")
    say("all is well")
    tt("task", "complete", "--result", f"approved: all tests pass, and {len(wordcount.TRIALS)} texts of my own")
    tt("send", "supervisor", "approved: the word counter does what DESIGN.md says", "--ack")


SCRIPTS: Mapping[str, Callable[[Prompt], None]] = {
    "designer": designer,
    "backend": backend,
    "frontend": frontend,
    "reviewer": reviewer,
}


def note(prompt: Prompt) -> None:
    """Read what has come without a task: there is nothing to do."""
    for letter in prompt.mail:
        say(f"noted, {letter.sender}: {letter.text}")


def await_answer(question: str) -> str | None:
    """The text of the answer to a message, waited for in the mailbox; None when none came in time."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for message in json.loads(tt("inbox", "--json"))["messages"]:
            if message["correlation_id"] == question:
                return str(message["summary"])
        time.sleep(_LOOK_AGAIN_S)
    return None


def words_found(text: str) -> dict[str, int]:
    """What the tool itself, run as a person would, says of a text."""
    done = _run(sys.executable, "-m", "wordcount", text=text)
    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    return {row[1]: int(row[0]) for row in rows if len(row) == 2 and row[0].isdigit()}


def reject(task: str, why: str) -> None:
    """Send a part back. The review waits for it, and is offered again after that."""
    say(f"rejecting {task}: {why}")
    tt("task", "reopen", task, "--reason", f"rejected: {why}")


def main(words: list[str]) -> int:
    """Do one round in the role that `words` name."""
    if len(words) != 1 or words[0] not in SCRIPTS:
        print(f"expected one of {', '.join(SCRIPTS)}, got {' '.join(words) or 'nothing'}", file=sys.stderr)
        return 2
    try:
        SCRIPTS[words[0]](read_prompt(sys.stdin.read()))
    except TinytownError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
