"""Beads in a town: import, export and sync without loss, ready work by the rules of `bd`, groups of tasks, notes in prompts.

Public to other plugins are these modules; the rest may change with any release:

- values: `bead`, `fields`, `json_text`, `lines`, `report`, `description`, `notes`, `groups.record`, `groups.progress`
- rules: `ready`, `mapping`, `origins`, `extra_fields`, `task_as_bead`, `view`
- a town: `store`, `settings`, `apply`, `exporting`, `syncing`, `convoys`, `groups.town`, `groups.service`, `groups.commands`
- the machine: `files`, `forge`

What a hook announces is built in the modules below and imported when it is used.
"""
