"""The commands of `gt` over the town, without state of their own.

`sling` assigns work, `context` shows an agent its work, `finish` ends a round or a task, `messages` sends and reads texts,
`dependencies` lists ready tasks and edits needs.
"""
