"""Snapshots: a whole town as lines of JSON, and back.

`records` is the format, `lines` reads and writes it, `checks` says whether a file describes a town that can be, `capture`
reads one from a server, `merging` says what of a snapshot a town lacks, `restoring` puts it there. The functions that
the server needs for this are in a library of their own, loaded when first used.
"""
