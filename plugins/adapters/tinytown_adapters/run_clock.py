"""Ends runs of CLIs that retry for too long, whose model stalls, or that have reported their result and do not end."""

from __future__ import annotations

from math import inf

import trio
from tinytown.process import Line, PausableClock

from tinytown_adapters.run_state import Reader, RunState
from tinytown_adapters.settings import CliSettings

#: How long a CLI may be silent after the record that ends a run, before its processes are ended for it.
LINGER_S = 5.0


class RunClock:
    """Cancels its `scope`, a limit of `clock`, when the CLI retries, waits for its model or lingers at its end for too long.

    Tools are not limited, and neither are models of CLIs that report no progress.
    """

    def __init__(
        self,
        state: RunState,
        settings: CliSettings,
        clock: PausableClock,
        scope: trio.CancelScope,
        *,
        reports_progress: bool,
    ) -> None:
        self._state = state
        self._clock = clock
        self._scope = scope
        self._patience_s = settings.patience_s or inf
        self._stall_s = (settings.stall_s if reports_progress else 0.0) or inf

    def read_line(self, line: Line, reader: Reader) -> None:
        """Pass a line to the reader, and update the deadline."""
        reader.read(line)
        self.update_deadline()

    def update_deadline(self) -> None:
        """Set the limit by what the run's state says now."""
        state, deadline = self._state, inf
        if state.is_final:
            deadline = self._clock.now() + LINGER_S
        elif state.retrying_since is not None:
            deadline = state.retrying_since + self._patience_s
        elif state.is_waiting_for_model:
            deadline = self._clock.now() + self._stall_s
        self._clock.set_deadline(self._scope, deadline)
