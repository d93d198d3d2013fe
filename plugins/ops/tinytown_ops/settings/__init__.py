"""``tt config`` and the keys of the settings."""
