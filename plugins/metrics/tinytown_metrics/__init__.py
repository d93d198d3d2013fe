"""A town's numbers for Prometheus, and a dashboard for Grafana: the plugin `metrics`."""
