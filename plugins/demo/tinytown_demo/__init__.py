"""The demo: a town of four agents that builds a small tool in a git repository of its own, from plan to review.

`stage` makes the place, `plan` says who does what, `play` runs the town and watches, `view_*` show it, `report` says what
came of it; `actor` and `wordcount` are the scripted agents, processes of their own that know the town only by `tt`.
"""
