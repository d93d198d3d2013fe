"""aider: one message from a file, and text on standard output.

Source: its ``--help``, and version 0.86.2 seen running. It says nothing in JSON and ends with status 0 even when it was
refused, so its lines are all there is: a head up to the first blank line, the answer, ``Tokens: ...`` when the model has
answered, ``Applied edit to`` and ``Commit`` for what it did, ``litellm.SomeError: ...`` and ``Retrying in`` when it could not.
It has no ids for sessions; the history of its chat, kept in a file of the agent's, is what it continues with. Models that it
drives get no shell and no MCP servers.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from tinytown.contracts import Usage
from tinytown.process import Exit, Line
from tinytown_adapters import (
    CliAdapter,
    CliSettings,
    CommandSpec,
    Failure,
    Permissions,
    RunRequest,
    RunState,
    failure_of,
)

_PROMPT_FILE = "prompt.md"
_HISTORY_FILE = "chat-history.md"
_SESSION = "chat-history"

_QUIET = (
    "--yes-always",
    "--no-pretty",
    "--no-stream",
    "--no-fancy-input",
    "--no-check-update",
    "--no-show-release-notes",
    "--no-show-model-warnings",
    "--no-analytics",
    "--no-detect-urls",
    "--no-gitignore",
    "--no-suggest-shell-commands",
    "--disable-playwright",
)

_HEAD = re.compile(r"Aider v\d")
_TOKENS = re.compile(
    r"Tokens: (?P<sent>[\d.,]+[kM]?) sent(?:, [\d.,]+[kM]? cache write)?(?:, (?P<cached>[\d.,]+[kM]?) cache hit)?"
    r", (?P<received>[\d.,]+[kM]?) received\.(?: Cost: \$[\d.,]+ message, \$(?P<cost>[\d.,]+) session\.)?"
)
_DONE = re.compile(r"(Applied edit to|Commit [0-9a-f]{7,}|Committing|Creating empty file) ?(.*)")
_ERROR = re.compile(r"litellm\.(\w+)(: |$)")
_EXPLANATION = "The API provider"
#: Names of its errors and the HTTP statuses that they stand for.
_STATUSES = {
    "AuthenticationError": 401,
    "PermissionDeniedError": 403,
    "NotFoundError": 404,
    "Timeout": 408,
    "ContextWindowExceededError": 413,
    "RateLimitError": 429,
    "InternalServerError": 500,
    "BadGatewayError": 502,
    "ServiceUnavailableError": 503,
}
_RETRYING = re.compile(r"Retrying in [\d.]+ seconds")
_LONGEST_ERROR = 10_000
_MOST_LINES = 10_000
_UNITS = {"k": 1_000, "M": 1_000_000}


class AiderAdapter(CliAdapter[CliSettings]):
    """aider. Its models can change files of the repository, and it commits what they did; they can run nothing."""

    plugin: ClassVar[str] = "clis.aider"
    kind: ClassVar[str] = "aider"
    title: ClassVar[str] = "aider"
    command: ClassVar[tuple[str, ...]] = ("aider",)
    install: ClassVar[str] = "uv tool install aider-chat --python 3.12 (or pipx install aider-chat)"
    login: ClassVar[str] = (
        "set the key of your model's provider (OPENAI_API_KEY, ANTHROPIC_API_KEY, ...) before the kernel starts, or in"
        " ~/.aider.conf.yml"
    )
    login_variables: ClassVar[tuple[str, ...]] = (
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "DEEPSEEK_API_KEY",
        "OPENROUTER_API_KEY",
    )
    #: Also where a provider is: a local or a company's own one has an address instead of a well-known name.
    own_variables: ClassVar[tuple[str, ...]] = ("AIDER_*", "*_API_BASE", "*_API_VERSION", "*_BASE_URL")
    default_permissions: ClassVar[Permissions] = "write"
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "write")
    state_paths: ClassVar[tuple[str, ...]] = ("~/.aider",)
    # It names commands for linting, testing and notifying.
    project_code: ClassVar[tuple[str, ...]] = (".aider.conf.yml",)
    takes_tools: ClassVar[bool] = False
    runs_commands: ClassVar[bool] = False
    sessions_stay_in_directory: ClassVar[bool] = True

    def command_spec(self, request: RunRequest[CliSettings]) -> CommandSpec:
        settings, work_dir = request.settings, request.work_dir
        arguments = [*_QUIET, "--message-file", str(work_dir / _PROMPT_FILE)]
        arguments += ["--chat-history-file", str(work_dir / _HISTORY_FILE)]
        arguments += ["--input-history-file", str(work_dir / "input-history")]
        if settings.model:
            arguments += ["--model", settings.model]
        if request.permissions == "read":
            arguments += ["--chat-mode", "ask"]
        if request.session is not None:
            arguments.append("--restore-chat-history")
        else:
            (work_dir / _HISTORY_FILE).unlink(missing_ok=True)
        return CommandSpec(
            arguments=[*arguments, *settings.extra_args],
            files={_PROMPT_FILE: request.prompt_bytes},
            environment={"NO_COLOR": "1"},
        )

    def reader(self, state: RunState, request: RunRequest[CliSettings]) -> AiderReader:
        return AiderReader(state)

    def warnings(self, settings: CliSettings, permissions: Permissions, environment: Collection[str]) -> Sequence[str]:
        return ["aider keeps what it has indexed in the repository: put .aider* into .gitignore"]


class AiderReader:
    """One run of aider."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._head_seen = self._head_over = False
        self._answered = False
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._error = ""
        self._status: int | None = None
        self._explained = False
        self._used = Usage()

    def read(self, line: Line) -> None:
        text = line.text
        if line.stream == "stderr":
            return
        if not self._head_over:
            self._head_seen = self._head_seen or bool(_HEAD.match(text))
            self._head_over = self._head_seen and not text.strip()
        if found := _ERROR.match(text):
            self._error, self._status, self._explained = text, _STATUSES.get(found[1]), False
            self._answered = False
        elif _RETRYING.match(text):
            self._state.retry(self._failure(text))
        elif found := _TOKENS.match(text):
            self._answer(found.groupdict())
        elif _DONE.match(text):
            self._state.log_line(text)
        elif self._error:
            self._explained = self._explained or text.startswith(_EXPLANATION)
            if not self._explained:  # it breaks a long line of its own into several
                self._error += text
        elif self._head_over:
            self._lines.append(text)

    def end(self, ended: Exit) -> None:
        """It has answered when the last thing that it reported was an answer; its status is 0 whatever happened."""
        if self._error:
            self._state.fail(self._failure(self._error))
        elif self._answered:
            self._state.session(_SESSION)
            self._state.finish()

    def _failure(self, otherwise: str) -> Failure:
        return failure_of(self._error[-_LONGEST_ERROR:] or otherwise, status=self._status)

    def _answer(self, reported: Mapping[str, str | None]) -> None:
        self._error = ""
        self._answered = True
        self._state.add_text("\n".join(self._lines).strip())
        self._lines.clear()
        cost = reported["cost"]
        self._used = Usage(
            input_tokens=self._used.input_tokens + _number(reported["sent"]),
            output_tokens=self._used.output_tokens + _number(reported["received"]),
            cached_tokens=self._used.cached_tokens + _number(reported["cached"]),
            cost_usd=_amount(cost) if cost else self._used.cost_usd,
        )
        self._state.set_usage(self._used)


def _number(text: str | None) -> int:
    """A count as it prints them: 907, 2.3k, 1.2M; 0 for none."""
    return round(_amount(text.rstrip("kM")) * _UNITS.get(text[-1], 1)) if text else 0


def _amount(text: str) -> float:
    try:
        return float(text.strip(".").replace(",", ""))
    except ValueError:
        return 0.0
