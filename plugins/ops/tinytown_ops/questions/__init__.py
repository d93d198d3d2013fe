"""What agents ask people in the middle of a round: ``tt questions``, ``tt answer``, and the kernel's half of it."""
