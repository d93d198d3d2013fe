"""The demo: a town of four agents that builds a small tool in a git repository of its own, from plan to review.

`demo_town` creates the town, `plan` defines agents and tasks, `demo_run` runs it, `views` and `live_view` show it, `report`
checks the result. `scripted_agent` and `wordcount` are the agents: processes that reach the town through `tt` alone.
"""
