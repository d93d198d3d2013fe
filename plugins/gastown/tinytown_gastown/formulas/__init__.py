"""Formulas: files that define the steps of a piece of work, in the format of beads and Gastown.

`model` is the format, `library` finds and parses files, `cook` turns a formula and its variables into steps, `transforms` and
`loops` rewrite them, `legs` and `go_template` make those of a convoy, `run` creates tasks in a town, `service` opens
gates, `commands` is ``tt formula``.
"""
