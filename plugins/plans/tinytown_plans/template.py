"""The default path of the plan, and an example that can be pushed as it is and shows every key."""

from __future__ import annotations

PLAN_FILE = "tasks.toml"

#: What `tt plan --init` writes.
TEMPLATE = '''\
# The plan of this town. `tt plan` shows it, `tt sync push` sends it to the town, `tt sync pull` writes progress back.
# Every key is described in docs/plans.md.

[meta]
description = "What this plan is about"
# default_agent = "worker"   # gets the tasks that name no agent; by default they go to the backlog

[[tasks]]
id = "first"                 # also its id in the town: the same id is the same task, however often it is pushed
title = "A line for lists"
description = """
What to do, and how to check that it is done.
"""
# agent = "worker"
# priority = "high"          # urgent, high, normal, low
# tags = ["docs"]
# role = "writer"

[[tasks]]
id = "second"
description = "What comes next"
needs = ["first"]            # must be completed first
# parent = "first"           # the task that it is a part of
'''
