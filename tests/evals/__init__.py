"""Scores of the prompts that models really get. See `__main__`; nothing here judges what a model makes of them."""
