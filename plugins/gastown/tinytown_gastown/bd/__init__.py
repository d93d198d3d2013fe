"""``tt-bd``: a program that is typed like `bd` and answers like it, over the tasks of a town.

For prompts, scripts and agents that were written for beads. `program` is the frame with bd's ways of failing, `board` the
town as beads, `looking`, `writing` and `edges` the commands.
"""
