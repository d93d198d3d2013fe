"""How to bring an object into the situations that some promises are about: the part that only its maker can know.

Plain values, all of them optional. Where one is missing, the promises about it are reported as not applicable; a text in
its place says why there can be none (``"an echo has no process"``). Knows nothing of how the situations are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tinytown.contracts import AgentBackend


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A round that gets a backend into one situation.

    It is about `task`, with `environment` on top of the usual one (of the round and of this process: ``{"PATH": ""}``
    hides a tool), and with a backend from `make` where the situation is in the settings. `marker` are the words by which
    the situation is known; each field of `BackendScenarios` tells which.
    """

    task: str = "echo hello"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    make: Callable[[], AgentBackend] | None = None
    marker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendScenarios:
    """The situations of an agent's backend.

    - `answer`: from a word to a round that ends well with this word in its text.
    - `work`: continues for at least a minute.
    - `stubborn`: as `work`, with a process in it that ignores SIGTERM and SIGINT; it `marker` something, in a reported
      line, when it has come so far.
    - `killed`: the tool is killed by a signal, after it wrote what it `marker` to its standard error.
    - `missing_tool`: the tool is not installed.
    - `output`: from a file to a round whose tool writes the content of that file, byte for byte, to its standard output
      and ends with status 0.
    - `late_output`: the tool ends at once, but something that it started prints what it `marker` a moment later.
    - `rate_limit`: the account is throttled.
    - `login_error`: there is no valid login or key.
    - `silent`: as `work`, and from some moment on nothing is said.
    - `mail`: as `answer`, for a round whose mail asks for the word and not its task; by default the same as `answer`.
    - `failing`: the tool exits with status 1 and has given no answer.
    """

    answer: Callable[[str], Scenario] | None = None
    work: Scenario | str | None = None
    stubborn: Scenario | str | None = None
    killed: Scenario | str | None = None
    missing_tool: Scenario | str | None = None
    output: Callable[[Path], Scenario] | str | None = None
    late_output: Scenario | str | None = None
    rate_limit: Scenario | str | None = None
    login_error: Scenario | str | None = None
    silent: Scenario | str | None = None
    mail: Callable[[str], Scenario] | str | None = None
    failing: Scenario | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkScenarios:
    """The situations of a status sink.

    - `received`: the ids of the events that have arrived, in order, as somebody sees them who looks at the destination.
    - `unavailable`: a context manager; inside of it the destination takes nothing.
    """

    received: Callable[[], Sequence[str]] | str | None = None
    unavailable: Callable[[], AbstractContextManager[object]] | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConverterScenarios:
    """The situations of a converter.

    - `documents`: good documents of the format, beside those that the converter writes itself.
    - `bad_lines`: documents, each with the number of the line (from 1) that is wrong in it.
    """

    documents: Sequence[bytes] = ()
    bad_lines: Sequence[tuple[bytes, int]] | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateScenario:
    """Work to judge: the text of a task, and what puts the work into an empty directory."""

    prepare: Callable[[Path], object]
    task: str = "do it"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateScenarios:
    """The situations of a gate: work that it has to pass, work that it has to refuse, and `slow` work."""

    passing: GateScenario | str | None = None
    refused: GateScenario | str | None = None
    slow: GateScenario | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceScenarios:
    """The situations of a workspace.

    - `prepare`: called with the root of the town before anything is tried, such as to make it a repository. Where
      `claims` refuses nevertheless, the promises about directories are not applicable.
    """

    prepare: Callable[[Path], object] | None = None
