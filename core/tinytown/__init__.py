"""Tinytown: a town of AI coding agents on one project."""

__version__ = "0.1.0"
