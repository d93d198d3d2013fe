"""Status sinks: services that are given a town's events in batches, each event at least once and in order; and the positions
that services keep in the event stream."""

from tinytown_sinks.cursor import (
    EventCursor as EventCursor,
    events_from as events_from,
    position_of as position_of,
    set_position as set_position,
)
from tinytown_sinks.sink import StatusSink as StatusSink
