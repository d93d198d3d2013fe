"""Which message is meant by the beginning of an id."""

from __future__ import annotations

import re

from tinytown.client import TownClient
from tinytown.errors import UsageError

#: A prefix of an id; none of these characters has a meaning in a pattern.
_PREFIX = re.compile("[A-Za-z0-9._-]{1,127}")
_STEP = 2_000
_CANDIDATES = 8


def whole_message_id(town: TownClient, word: str) -> str:
    """The id of the one message on record whose id begins with `word`; `word` itself if there is none.

    Raises: UsageError with code ``ambiguous`` for several.
    """
    if not _PREFIX.fullmatch(word):
        return word
    begin, found, cursor = town.operations.keys.trace(word), set[bytes](), b"0"
    if town.client.command("EXISTS", begin):
        return word
    # Traces have no index: only people look one up by a prefix. SCAN goes in steps, so that it blocks nobody.
    while True:
        cursor, keys = town.client.command("SCAN", cursor, "MATCH", f"{begin}*", "COUNT", _STEP)
        found.update(keys)
        if cursor == b"0":
            break
    ids = sorted(key.decode().rpartition(":")[2] for key in found)
    if len(ids) > 1:
        raise UsageError(
            f"more than one message begins with {word!r}: {', '.join(ids[:_CANDIDATES])}",
            hint="write more of the id",
            code="ambiguous",
            candidates=ids[:_CANDIDATES],
        )
    return ids[0] if ids else word
