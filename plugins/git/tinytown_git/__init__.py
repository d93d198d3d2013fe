"""Many agents in one git repository: a worktree for each task, rescued work, evidence, and a queue that merges."""
