"""``tt-bd``: a program with the commands and the output of `bd`, over the tasks of a town.

For prompts, scripts and agents that were written for beads. `program` is the frame with bd's errors, `board` the
town as beads; the other modules are commands.
"""
