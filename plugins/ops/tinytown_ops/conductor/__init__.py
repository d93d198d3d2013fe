"""``tt conductor`` and the context that it gives to a CLI."""
