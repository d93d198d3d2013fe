"""Calls people when a town needs them, and posts its events to webhooks: the plugin `notify`."""
