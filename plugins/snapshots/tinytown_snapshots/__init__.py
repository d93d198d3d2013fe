"""Snapshots: a whole town as lines of JSON, and back.

`records` defines the format, `lines` reads and writes it, `checks` validates a file, `capture` reads a town from its server,
`merge_plan` compares a snapshot with a town, `restore_rows` and `transfer` write it. The server-side functions are a
library of their own, loaded on first use.
"""
