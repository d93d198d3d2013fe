"""A town's events as lines of JSON in a file."""
