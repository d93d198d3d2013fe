"""When a run of a CLI is to be given up though it goes on by itself: CLIs try again for minutes, and wait for ever."""

from __future__ import annotations

from math import inf

import trio
from tinytown.process import Line

from tinytown_adapters.run_state import Reader, RunState
from tinytown_adapters.settings import CliSettings


class RunClock:
    """Cancels its `scope` when the CLI has been trying again, or waiting for its model, for longer than the settings allow.

    A tool may work for as long as it likes, and so may a model of which the CLI tells nothing on the way.
    """

    def __init__(self, state: RunState, settings: CliSettings, *, reports_progress: bool) -> None:
        self._state = state
        self._patience_s = settings.patience_s or inf
        self._stall_s = (settings.stall_s if reports_progress else 0.0) or inf
        self._stopped_at: float | None = None
        self.scope = trio.CancelScope()

    def read_line(self, line: Line, reader: Reader) -> None:
        """Have a line read, and look at the clock again."""
        reader.read(line)
        self.update_deadline()

    def update_deadline(self) -> None:
        """Set the alarm by what the notes says now."""
        state = self._state
        if self._stopped_at is not None:
            self.scope.deadline = inf
        elif state.retrying_since is not None:
            self.scope.deadline = state.retrying_since + self._patience_s
        elif state.is_waiting_for_model:
            self.scope.deadline = trio.current_time() + self._stall_s
        else:
            self.scope.deadline = inf

    def on_pause(self, paused: bool) -> None:
        """Stop while the CLI's processes are stopped; go on with what was left of its patience."""
        now = trio.current_time()
        if paused:
            self._stopped_at = now
        elif self._stopped_at is not None:
            if self._state.retrying_since is not None:
                self._state.retrying_since += now - self._stopped_at
            self._stopped_at = None
        self.update_deadline()
