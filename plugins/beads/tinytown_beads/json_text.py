"""JSON as bead files spell it: read strictly, written like Go's encoder, edited without touching the rest.

Knows nothing of beads. Numbers, escapes, whitespace and key order of unchanged parts are preserved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn, cast

import msgspec

_BLANKS = re.compile(r"[ \t\n\r]*")
_SURROGATES = re.compile("[\ud800-\udfff]")
#: What Go escapes beyond what JSON asks for.
_GO_ESCAPES = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"})


class Absent:
    """The value of a key that is removed."""


ABSENT: Final = Absent()


class Member(NamedTuple):
    """One ``key: value`` of an object, with offsets into its text: begin of the key, begin and end of the value."""

    key: str
    begin: int
    value: int
    end: int


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def decode(text: str | bytes) -> Any:
    """The value in `text`; whole numbers of any size are exact, texts well-formed.

    Raises: ValueError for anything but one JSON value.
    """
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return _decode_slowly(text if isinstance(text, str) else text.decode())


def _decode_slowly(text: str) -> Any:
    """The same for input that the fast decoder refuses: half of a surrogate pair, a number beyond all floats, and errors."""
    try:
        value, end = _DECODER.raw_decode(text, _blanks(text, 0))
        value = _repaired(value)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if _blanks(text, end) != len(text):
        raise ValueError(f"unexpected text after the value, at character {end + 1}")
    return value


def _repaired(value: Any) -> Any:
    """`value` with well-formed strings."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_repaired(item) for item in cast("Sequence[Any]", value)]
    if isinstance(value, dict):
        return {well_formed(key): _repaired(item) for key, item in cast("dict[str, Any]", value).items()}
    return value


def as_object(value: object) -> dict[str, Any] | None:
    """A decoded value, if it is an object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[Any] | None:
    """A decoded value, if it is a list."""
    items: list[Any] | None = cast("Any", value) if isinstance(value, list) else None
    return items


def encode(value: Any) -> str:
    """`value` as Go's encoder writes it: no blanks, keys in their order, ``<``, ``>``, ``&`` as escapes."""
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return well_formed(text).translate(_GO_ESCAPES)


def well_formed(text: str) -> str:
    """`text` without halves of surrogate pairs, which no file can hold; each becomes U+FFFD, as with Go."""
    return _SURROGATES.sub("\ufffd", text)


def members(text: str) -> list[Member]:
    """The members of the object in `text`, in order. Raises: ValueError if it is not an object."""
    parsed: list[Member] = []
    at = _blanks(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("not an object")
    at = _blanks(text, at + 1)
    try:
        while text[at : at + 1] != "}":
            key, key_end = _DECODER.raw_decode(text, at)
            colon = _blanks(text, key_end)
            if not isinstance(key, str) or text[colon : colon + 1] != ":":
                raise ValueError("not an object")
            value = _blanks(text, colon + 1)
            _, end = _DECODER.raw_decode(text, value)
            parsed.append(Member(key, at, value, end))
            at = _blanks(text, end)
            if text[at : at + 1] == ",":
                at = _blanks(text, at + 1)
            elif text[at : at + 1] != "}":
                raise ValueError("not an object")
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return parsed


def overlay(text: str, changes: Mapping[str, Any], order: Sequence[str] = ()) -> str:
    """The object in `text` with other values for some keys, and every other character unchanged.

    `ABSENT` removes a key. A new key is inserted by `order`, else at the end, with the whitespace of its neighbours.
    """
    existing = members(text)
    if not existing:
        added = {key: value for key, value in changes.items() if value is not ABSENT}
        return encode(added) if added else text
    colon = _between(text, existing[0])
    comma = text[existing[0].end : existing[1].begin] if len(existing) > 1 else ","
    last_of = {member.key: number for number, member in enumerate(existing)}
    pieces: list[tuple[str, str, str]] = []  # key, blanks before it, text
    for number, member in enumerate(existing):
        before = text[existing[number - 1].end : member.begin] if number else ""
        piece = text[member.begin : member.end]
        if member.key in changes:
            value = changes[member.key]
            if value is ABSENT:
                continue
            if last_of[member.key] == number:
                piece = text[member.begin : member.value] + encode(value)
        pieces.append((member.key, before, piece))
    rank = {key: number for number, key in enumerate(order)}
    for key, value in changes.items():
        if key not in last_of and value is not ABSENT:
            at = _insert_at(rank, key, [piece[0] for piece in pieces])
            pieces.insert(at, (key, comma, encode(key) + colon + encode(value)))
    body = "".join((before or comma) * bool(number) + piece for number, (_, before, piece) in enumerate(pieces))
    return text[: existing[0].begin] + body + text[existing[-1].end :]


def _insert_at(rank: Mapping[str, int], key: str, keys: Sequence[str]) -> int:
    """Where a new key goes: before the first of `keys` that comes later in the order, else to the end."""
    own = rank.get(key, len(rank))
    return next((at for at, other in enumerate(keys) if rank.get(other, -1) > own), len(keys))


def _between(text: str, member: Member) -> str:
    """The colon of a member with the blanks around it."""
    _, key_end = _DECODER.raw_decode(text, member.begin)
    return text[key_end : member.value]


def _blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at
