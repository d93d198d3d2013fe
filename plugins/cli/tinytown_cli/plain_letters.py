"""Text in the letters that names may have."""

from __future__ import annotations

from unicodedata import combining, normalize


def unaccented(text: str) -> str:
    """`text` with a letter such as u for one such as ü."""
    return "".join(letter for letter in normalize("NFKD", text) if not combining(letter))
