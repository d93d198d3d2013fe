"""What a misspelt word was probably meant to be: an agent, a kind, a role, a setting, a command. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "", *, most: int = 3, likeness: float = 0.6) -> str:
    """A hint, ``did you mean ada or adam?``, with those of the `known` words that are near `word`; `otherwise` if none is.

    `most` bounds how many are named; `likeness`, from 0 to 1, how near they have to be.
    """
    from difflib import get_close_matches  # late: only errors need it

    by_lower = {name.lower(): name for name in known}
    near = [by_lower[match] for match in get_close_matches(word.lower(), by_lower, n=most, cutoff=likeness)]
    return f"did you mean {' or '.join(near)}?" if near else otherwise
