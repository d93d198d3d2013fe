"""``python -m tinytown_beads.shim`` is the program ``tt-bd``."""

from tinytown_beads.shim.program import main

main()
