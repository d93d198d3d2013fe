"""Parameter types for agents, tasks, times and the like, which the shell completes, and options that several commands share.

Names and ids are not resolved here: the server resolves them in the operation that uses them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource
from tinytown.errors import UsageError
from tinytown.model.messages import PRIORITIES
from tinytown.model.text import shown

from tinytown_cli.context import CliContext
from tinytown_cli.terminal_text import plain_text

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _Word = click.ParamType[str]
else:
    _Word = click.ParamType  # not generic in older releases of click

F = TypeVar("F", bound=Callable[..., Any])

#: The most that is read from standard input; the operations check their own limits.
_INPUT_LIMIT_BYTES = 64 << 20

PRIORITY = click.Choice(PRIORITIES)


class Word(_Word):
    """A word that names something: an agent, a task, a kind.

    The shell completes it with the completer of this name: one of `tinytown_cli.completion`, or one that a plugin adds. Of an
    option that takes several values separated by commas, the last one is completed.
    """

    def __init__(self, name: str, completer: str) -> None:
        self.name = name
        self._completer = completer

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        # An empty variable of a script must not select all agents, or none.
        is_typed = ctx and param and ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
        if self.name == "agent" and is_typed and not value.strip():
            self.fail("expected an agent, got an empty name", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from tinytown_cli.completion import find_completer

        last = incomplete.rpartition(",")[2] if getattr(param, "multiple", False) else incomplete
        before = incomplete[: len(incomplete) - len(last)]
        with contextlib.suppress(Exception):  # completion never fails
            return [
                CompletionItem(before + word, help=shown(text))
                for word, text in find_completer(self._completer)(ctx)
                if word.startswith(last)
            ]
        return []


class Moment(NamedTuple):
    """A point in time: `ago_ms` before now, or `at_ms` since 1970."""

    ago_ms: int | None = None
    at_ms: int = 0

    def ms(self, now_ms: int) -> int:
        """Milliseconds since 1970, where `now_ms` is now."""
        return self.at_ms if self.ago_ms is None else max(0, now_ms - self.ago_ms)

    def ahead_ms(self, now_ms: int) -> int:
        """The same for a time in the future: `ago_ms` after now."""
        return self.at_ms if self.ago_ms is None else now_ms + self.ago_ms


class MomentWord(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A `Moment`: ``90s``, ``10m``, ``2h``, ``3d``, or RFC 3339, without a zone in local time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        if isinstance(value, Moment):
            return value
        if isinstance(value, list):  # one that came as JSON
            return Moment(*value)
        import re  # late, like the next: few commands get a time
        from datetime import datetime

        if match := re.fullmatch(_AGO, value):
            return Moment(ago_ms=int(float(match[1]) * _UNIT_MS[match[2]]))
        try:
            at_ms = round(datetime.fromisoformat(value).timestamp() * 1000)
        except (ValueError, OverflowError, OSError):
            at_ms = -1
        if at_ms < 0:
            self.fail(
                f"expected a time such as 90s, 10m, 2h, 3d or 2026-01-31T09:30:00Z, got {shown(value)!r}", param, ctx
            )
        return Moment(at_ms=at_ms)


_AGO = r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d|w)"
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


#: An agent: its name, nickname or id, or a unique prefix of one.
AGENT = Word("agent", "agents")
#: A task: its id or a unique prefix.
TASK = Word("task", "tasks")
#: A message: its id or a unique prefix.
MESSAGE = Word("message", "messages")
#: A role, which need not be a known one: see `tinytown_prompts.roles`.
ROLE = Word("role", "roles")
#: A kind of agents.
KIND = Word("kind", "kinds")
TAG = Word("tag", "tags")
#: A type of events; plugins have types of their own, so the town checks it.
EVENT_TYPE = Word("type", "event_types")
#: A dead letter: its id or a unique prefix, or ``all``.
LETTER = Word("message", "dead_letters")
PLUGIN = Word("plugin", "plugins")
#: A round: its id or a unique prefix, or its number among the rounds of an agent.
ROUND = Word("round", "rounds")
MOMENT = MomentWord()


def read_text(text: str) -> str:
    """`text`, or standard input for ``-``, without colours. Bytes that are not UTF-8 become surrogates, which a later check
    refuses. In a command that a program calls, such as a townhall, ``-`` is a text like any other."""
    current = click.get_current_context(silent=True)
    caller = current.find_object(CliContext) if current else None
    if text != "-" or (caller and not caller.has_input):
        return plain_text(text)
    raw = sys.stdin.buffer.read(_INPUT_LIMIT_BYTES + 1)
    if len(raw) > _INPUT_LIMIT_BYTES:
        raise UsageError(f"expected at most {_INPUT_LIMIT_BYTES:,} bytes on standard input, got more")
    return plain_text(raw.decode("utf-8", "surrogateescape"))


def split_list(values: tuple[str, ...]) -> tuple[str, ...]:
    """The items of a repeatable option whose values may be lists separated by commas."""
    return tuple(item for value in values for part in value.split(",") if (item := part.strip()))


def no_start_option(command: F) -> F:
    """The option ``--no-start`` of commands that start a kernel if none is running."""
    return click.option("--no-start", is_flag=True, help="Do not start a kernel if none is running.")(command)


#: The argument TASK, as `task_word`.
task_argument = click.argument("task_word", metavar="TASK", type=TASK)
#: The option ``--limit`` of commands that list tasks.
limit_option = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The maximum number of tasks."
)
