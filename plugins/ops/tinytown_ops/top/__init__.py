"""``tt top``: the model of the screen, its view and the terminal."""
