"""Status sinks: services that are given a town's events in batches, each event at least once and in order."""

from tinytown_sinks.sink import StatusSink as StatusSink
