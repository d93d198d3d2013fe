"""An agent that repeats what it was told."""
