"""The commands that explain a state: why, history, logs, prompt, trace, tree, hosts."""
