"""Boxes for agents: bubblewrap on Linux, seatbelt on macOS. The hooks are in `plugin`.

Imports nothing: the programs that start in and around a box come through this package.
"""
