"""A town at work while everything in it is killed, frozen, cut off and filled up at random: `python -m tests.chaos --help`."""
