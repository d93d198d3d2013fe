"""Migration from Tinytown 0.10 for Rust: its data becomes a snapshot, its settings a new ``tinytown.toml``.

`source` reads the old keys and changes none, `conversion` makes a snapshot of them, `old_settings` converts the settings.
`tinytown_snapshots` restores the snapshot.
"""
