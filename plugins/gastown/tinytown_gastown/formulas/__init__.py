"""Formulas: files that say which steps a piece of work has, in the format of beads and Gastown.

`model` is the format, `reading` a file into it, `cooking` a formula and its values into steps, `weaving` what expansions,
advice and branches do to them, `go_template` the texts of legs, `running` steps into tasks of a town, `service` gates
that open by themselves, `commands` is ``tt formula``.
"""
