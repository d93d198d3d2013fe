"""Gastown in a town: formulas, the commands of `gt`, the program `tt-bd`, and migration from a Gastown directory.

It stands on the public modules of `tinytown_beads` and keeps no data of its own: a run of a formula is a group of that
plugin, and its setting `gh` names the program that looks up pull requests and CI runs.
"""
