"""Which message is meant by the beginning of an id."""

from __future__ import annotations

import re

from tinytown.errors import UsageError
from tinytown.protocol import Operation, Reply

from tinytown_cli.client import TownClient

#: A prefix of an id; none of these characters has a meaning in a pattern.
_PREFIX = "[A-Za-z0-9._-]{1,127}"
_STEP = 2_000
_CANDIDATES = 8


def whole_message_id(town: TownClient, word: str) -> str:
    """The id of the one message on record whose id begins with `word`; `word` itself if there is none.

    Raises: UsageError with code ``ambiguous`` for several.
    """
    if not re.fullmatch(_PREFIX, word):
        return word
    begin, matches, cursor = town.operations.keys.trace(word), set[bytes](), b"0"
    if town.client.command("EXISTS", begin):
        return word
    # Traces have no index: only people look one up by a prefix. SCAN goes in steps, so that it does not block the server.
    while True:
        words = ("SCAN", cursor, "MATCH", f"{begin}*", "COUNT", _STEP)
        cursor, keys = town.run(Operation(words, _page))
        matches.update(keys)
        if cursor == b"0":
            break
    ids = sorted(key.decode().rpartition(":")[2] for key in matches)
    if len(ids) > 1:
        raise UsageError(
            f"more than one message begins with {word!r}: {', '.join(ids[:_CANDIDATES])}",
            hint="write more of the id",
            code="ambiguous",
            candidates=ids[:_CANDIDATES],
        )
    return ids[0] if ids else word


def _page(reply: Reply) -> tuple[bytes, list[bytes]]:
    cursor, keys = reply
    return bytes(cursor), list(keys)
