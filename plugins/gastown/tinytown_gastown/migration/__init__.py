"""Migration of a whole Gastown town.

`source` reads its directory, `backup_tables` its table dumps, `migrate` creates towns from them, `command` is
``tt beads from-gastown``. The source directory is only read.
"""
