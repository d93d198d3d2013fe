"""Talking to a Redis or Valkey server: the embedded server, the trio link, the light client."""
