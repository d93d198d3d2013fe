"""The town's ledger in git: what became of tasks, as lines of JSON on a branch of its own that only grows."""
