"""A town's tasks, rounds and mail as OpenTelemetry traces and metrics: the plugin `otel`."""
