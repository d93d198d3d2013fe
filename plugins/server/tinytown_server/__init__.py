"""Tinytown plugin: an embedded Redis-compatible server, one per town."""
