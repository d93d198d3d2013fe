"""Coming from Tinytown 0.10 for Rust: what its server holds and what its settings say, as a snapshot and settings of ours.

`source` reads the old keys and changes none, `conversion` makes a snapshot of them, `old_settings` reads the old
``tinytown.toml``. Putting the snapshot into a town is `tinytown_snapshots`' business.
"""
