"""``python -m tinytown_gastown.bd`` is the program ``tt-bd``."""

from tinytown_gastown.bd.program import main

main()
