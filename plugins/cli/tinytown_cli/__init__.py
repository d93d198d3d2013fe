"""The command line: one module per family of commands. `commands` lists them all, `frame` holds what they share."""
