"""The text of the prompt that each round begins with. Pure: it reads what the kernel collected, and starts nothing."""
