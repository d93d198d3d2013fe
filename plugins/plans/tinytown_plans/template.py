"""The plan to begin with: where it lies, and an example that can be pushed as it is and shows every key."""

from __future__ import annotations

PLAN_FILE = "tasks.toml"

#: What `tt plan --init` writes.
TEMPLATE = '''\
# The plan of this town. `tt plan` shows it, `tt sync push` sends it to the town, `tt sync pull` writes back how far it is.
# Every key is described in docs/plans.md.

[meta]
description = "What this is all about"
# default_agent = "worker"   # gets the tasks that name no agent; without it they go onto the backlog

[[tasks]]
id = "first"                 # its name in the town too: the same id is the same task, however often it is pushed
title = "A line for lists"
description = """
What is to be done, and how one sees that it is done.
"""
# agent = "worker"
# priority = "high"          # urgent, high, normal, low
# tags = ["docs"]
# role = "writer"

[[tasks]]
id = "second"
description = "What comes after it"
needs = ["first"]            # these have to be completed before it
# parent = "first"           # it is a part of that one
'''
