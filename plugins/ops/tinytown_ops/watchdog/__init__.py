"""Finds the plugin that holds up the kernel's event loop, while it does so."""
