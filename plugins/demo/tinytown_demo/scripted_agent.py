"""A scripted agent: ``python -m tinytown_demo.scripted_agent ROLE``, a process per round, with its prompt on standard input.

Stands in for a coding CLI: it reads the prompt, writes and runs real files, commits, and talks to the other agents through
`tt` alone, which knows the round from the environment. Every script is idempotent, because an interrupted round is
delivered again. Imports little, to start quickly.
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
from tinytown.files import draft_of

from tinytown_demo import wordcount
from tinytown_demo.repository import commit, uncommitted

_ANSWER_TIMEOUT_S = 15.0
_POLL_S = 0.2

_TASK = re.compile(r"^## Your task (\S+)$", re.MULTILINE)
_MAIL = re.compile(
    r"^### (\S+) from (\S+?)(?:, [^\n]*)? \(message (\S+)\)\n\n(`{3,})text\n(.*?)\n\4$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Mail:
    """A message of the prompt: its kind (``query``, ``info``), sender, id and text."""

    kind: str
    sender: str
    id: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """The parts of a prompt that the scripts use: the task's id, None without a task, and the mail."""

    task: str | None
    mail: tuple[Mail, ...]


def read_prompt(text: str) -> Prompt:
    """The parts of the prompt `text`."""
    task = _TASK.search(text)
    return Prompt(
        task=task and task[1],
        mail=tuple(Mail(kind, sender, id_, body.strip()) for kind, sender, id_, _, body in _MAIL.findall(text)),
    )


# -- what all agents do -----------------------------------------------------------------------------


def log(line: str) -> None:
    """Print a line for the people who watch."""
    print(line, flush=True)


def tt(*words: str) -> str:
    """The output of the command `tt`. Raises: TinytownError with its error message."""
    done = _run(sys.executable, "-m", "tinytown", *words)
    if done.returncode:
        raise TinytownError(f"tt {words[0]} failed: {done.stderr.strip()}")
    return done.stdout


def write(path: str, text: str) -> None:
    """Write a file of the project atomically."""
    target = Path(path)
    target.parent.mkdir(exist_ok=True)
    with draft_of(target, text, 0o666, durable=False) as draft:
        draft.replace(target)


def save(author: str, message: str, *paths: str) -> None:
    """Commit these files."""
    if commit(Path.cwd(), message, paths, author=author):
        log(f"committed: {message}")


def run_tests(*which: str) -> tuple[bool, str]:
    """Whether tests of the project pass, and a summary."""
    done = _run(sys.executable, "-m", "unittest", *which)
    lines = done.stderr.strip().splitlines()
    count = next((line.partition(" in ")[0].lower() for line in lines if line.startswith("Ran ")), "no tests ran")
    verdict = lines[-1] if lines else "no output"
    log(f"{count}: {verdict}")
    return done.returncode == 0, f"{count}: {verdict}"


def pass_tests(*which: str) -> str:
    """The summary of tests that must pass. Raises: TinytownError if they fail, which fails the round."""
    passed, summary = run_tests(*which)
    if not passed:
        raise TinytownError(f"my own tests fail: {summary}")
    return summary


def _run(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, encoding="utf-8", errors="replace", check=False)


# -- the scripts -----------------------------------------------------------------------------------------


def designer(prompt: Prompt) -> None:
    """Writes the design and answers questions about it."""
    if prompt.task:
        log("writing DESIGN.md")
        write("DESIGN.md", wordcount.DESIGN)
        save("designer", "Design the word counter", "DESIGN.md")
        for name in ("backend", "frontend"):
            tt("send", name, "The interface is in DESIGN.md. Your two modules meet only in main().", "--info")
        tt("task", "complete", "--result", "DESIGN.md defines words and the interface of both modules")
    for mail in prompt.mail:
        if mail.kind == "query":
            log(f"answering {mail.sender}")
            tt("send", mail.sender, wordcount.TIES_ANSWER, "--info", "--reply-to", mail.id)


def backend(prompt: Prompt) -> None:
    """Writes the core; fixes it when the reviewer has rejected it."""
    if not prompt.task:
        note(prompt)
    elif rejection := json.loads(tt("task", "show", prompt.task, "--json"))["rejection"]:
        log(f"fixing what the reviewer found: {rejection.removeprefix('rejected: ')}")
        write("tests/test_core.py", wordcount.CORE_TESTS + wordcount.CORE_REGRESSION_TEST)
        passed_before, _ = run_tests("tests.test_core")
        write("wordcount/core.py", wordcount.CORE_FIXED)
        summary = pass_tests("tests.test_core")
        save("backend", "Dashes of every kind separate words", "wordcount/core.py", "tests/test_core.py")
        regression = "the new test does not cover the defect" if passed_before else "a new test covers the defect"
        tt("task", "complete", "--result", f"fixed; {regression} ({summary})")
    else:
        log("writing wordcount/core.py")
        write("wordcount/__init__.py", wordcount.PACKAGE)
        write("wordcount/core.py", wordcount.CORE_FIRST)
        write("tests/test_core.py", wordcount.CORE_TESTS)
        summary = pass_tests("tests.test_core")
        save("backend", "Count the words of a text", "wordcount/__init__.py", "wordcount/core.py", "tests/test_core.py")
        tt("task", "complete", "--result", f"wordcount/core.py, {summary}")


def frontend(prompt: Prompt) -> None:
    """Writes the command and asks the designer what the design leaves open."""
    if not prompt.task:
        note(prompt)
        return
    question = json.loads(tt("send", "designer", wordcount.TIES_QUESTION, "--query", "--json"))["message_id"]
    log("writing the tests of the command while waiting for the answer")
    write("tests/test_command.py", wordcount.COMMAND_TESTS)
    answer = await_answer(question)
    log(f"the designer answered: {answer}" if answer else "no answer yet: sorting alphabetically")
    write("wordcount/__main__.py", wordcount.COMMAND)
    summary = pass_tests("tests.test_command")
    save("frontend", "Add the command line of the word counter", "wordcount/__main__.py", "tests/test_command.py")
    tt("task", "complete", "--result", f"python -m wordcount, {summary}")


def reviewer(prompt: Prompt) -> None:
    """Runs all tests and texts of its own, then approves, or rejects the part that is wrong."""
    if not prompt.task:
        note(prompt)
        return
    for task, module in (("core", "tests.test_core"), ("command", "tests.test_command")):
        passed, summary = run_tests(module)
        if not passed:
            reject(task, f"{module} fails ({summary})")
            return
    for text, expected in wordcount.TRIALS:
        counts = counted_words(text)
        if counts != expected:
            wrong = ", ".join(sorted(counts.keys() - expected.keys())) or "wrong counts"
            reject("core", f"in {text!r} it counts {wrong}; DESIGN.md says {', '.join(expected)}")
            return
    if left := uncommitted(Path.cwd()):
        log(f"not committed yet: {', '.join(left)}")
    log("all checks passed")
    tt("task", "complete", "--result", f"approved: all tests and {len(wordcount.TRIALS)} texts of my own pass")
    tt("send", "supervisor", "approved: the word counter matches DESIGN.md", "--ack")


SCRIPTS: Mapping[str, Callable[[Prompt], None]] = {
    "designer": designer,
    "backend": backend,
    "frontend": frontend,
    "reviewer": reviewer,
}


def note(prompt: Prompt) -> None:
    """Read mail of a round without a task; no action is needed."""
    for mail in prompt.mail:
        log(f"read mail from {mail.sender}: {mail.text}")


def await_answer(question: str) -> str | None:
    """The text of the answer to a message, once it is in the mailbox; None if none arrives in time."""
    deadline = time.monotonic() + _ANSWER_TIMEOUT_S
    while time.monotonic() < deadline:
        for message in json.loads(tt("inbox", "--json"))["messages"]:
            if message["correlation_id"] == question:
                return str(message["summary"])
        time.sleep(_POLL_S)
    return None


def counted_words(text: str) -> dict[str, int]:
    """The output of the tool for `text`, run as a person runs it."""
    done = _run(sys.executable, "-m", "wordcount", text=text)
    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    return {row[1]: int(row[0]) for row in rows if len(row) == 2 and row[0].isdigit()}


def reject(task: str, reason: str) -> None:
    """Reject a part. The review is blocked until it is fixed, and delivered again then."""
    log(f"rejecting {task}: {reason}")
    tt("task", "reopen", task, "--reason", f"rejected: {reason}")


def main(words: list[str]) -> int:
    """Do one round in the role named by `words`."""
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
