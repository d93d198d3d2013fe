"""The plan of a town as a file, ``tasks.toml``, and the commands ``tt plan`` and ``tt sync``.

`plan_file` knows the format, `comparison` what a push or a pull changes, `plan_update` how to write that into the file.
These are pure; the two commands read files and talk to the town.
"""
