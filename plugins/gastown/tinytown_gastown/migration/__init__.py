"""A whole Gastown town, read and brought over.

`description` knows how its beads keep state in prose, `backup_tables` its table dumps, `reading` its directory, and
`moving` makes towns of ours from what was read. Nothing here writes into the directory that is read.
"""
