"""Ends runs of CLIs that retry for too long, whose model stalls, or that have reported their result and do not end."""

from __future__ import annotations

from math import inf

import trio
from tinytown.process import Line

from tinytown_adapters.run_state import Reader, RunState
from tinytown_adapters.settings import CliSettings

#: How long a CLI may be silent after the record that ends a run, before its processes are ended for it.
LINGER_S = 5.0


class RunClock:
    """Cancels its `scope` when the CLI retries, waits for its model or lingers at its end for too long.

    Tools are not limited, and neither are models of CLIs that report no progress.
    """

    def __init__(self, state: RunState, settings: CliSettings, *, reports_progress: bool) -> None:
        self._state = state
        self._patience_s = settings.patience_s or inf
        self._stall_s = (settings.stall_s if reports_progress else 0.0) or inf
        self._stopped_at: float | None = None
        self.scope = trio.CancelScope()

    def read_line(self, line: Line, reader: Reader) -> None:
        """Pass a line to the reader, and update the deadline."""
        reader.read(line)
        self.update_deadline()

    def update_deadline(self) -> None:
        """Set the alarm by what the notes says now."""
        state = self._state
        if self._stopped_at is not None:
            self.scope.deadline = inf
        elif state.is_final:
            self.scope.deadline = trio.current_time() + LINGER_S
        elif state.retrying_since is not None:
            self.scope.deadline = state.retrying_since + self._patience_s
        elif state.is_waiting_for_model:
            self.scope.deadline = trio.current_time() + self._stall_s
        else:
            self.scope.deadline = inf

    def on_pause(self, paused: bool) -> None:
        """Stop the clock while the CLI's processes are paused; continue with the time that was left."""
        now = trio.current_time()
        if paused:
            self._stopped_at = now
        elif self._stopped_at is not None:
            if self._state.retrying_since is not None:
                self._state.retrying_since += now - self._stopped_at
            self._stopped_at = None
        self.update_deadline()
