"""The plan of a town, ``tasks.toml``: its format as values, and what a plan and a town have to tell each other. Pure.

`reading` knows the format, `stages` the order of work, `comparing` what a push or a pull would change, `writing` how to put
that into the file (and alone imports tomlkit). Nothing here reads files or talks to a server.
"""
