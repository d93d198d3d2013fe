"""The roles of a town, and the text of the prompt that each round begins with. Starts nothing."""
