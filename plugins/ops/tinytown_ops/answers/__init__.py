"""Answers to questions that a round has ended without."""
