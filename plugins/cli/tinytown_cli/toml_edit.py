"""Changes values in a TOML file and keeps its comments, order and spelling. Pure: from text to text.

tomlkit makes the change and its result is verified: parsing and printing alone must leave the text unchanged, and the
result, parsed by the standard library, must equal the requested data. Anything else is refused. Knows nothing of files and
of what the tables mean.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from typing import Any, TypeAlias

import tomlkit
from tinytown.errors import TinytownError
from tomlkit import TOMLDocument
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Comment, InlineTable, Whitespace

#: The path of a value: names of tables and positions in arrays. The position after the last one adds a table.
Place: TypeAlias = tuple[str | int, ...]


def edit(text: str, changes: Iterable[tuple[Place, Any]]) -> str:
    """`text`, a valid TOML file, with each place set to its value, or without it where the value is None.

    Missing tables are created; a table or an array whose last item is removed is removed too.

    Raises: TinytownError with code ``not_editable`` for a file that cannot be changed without disturbing the rest of it.
    """
    wanted = tomllib.loads(text)
    document: Any = _parse(text)
    try:
        for place, value in changes:
            _set_plain(wanted, place, value)
            _set(document, place, value)
        edited = _with_line_ends_of(text, tomlkit.dumps(document))
        came_out_right = tomllib.loads(edited) == wanted
    except (TOMLKitError, tomllib.TOMLDecodeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise _not_editable(f"{type(error).__name__}: {error}") from error
    if not came_out_right:
        raise _not_editable("the result would differ from the requested change")
    return edited


def _parse(text: str) -> Any:
    whole = text if text.endswith("\n") or not text else text + "\n"
    try:
        document = tomlkit.parse(whole)
    except (TOMLKitError, RecursionError) as error:
        raise _not_editable(str(error)) from error
    if tomlkit.dumps(document) != whole:
        # Seen when [[tasks]] are separated by other tables.
        raise _not_editable("its tables are out of order; put the tables of one array next to each other")
    return document


def _not_editable(why: str) -> TinytownError:
    return TinytownError(
        f"cannot edit the TOML file without disturbing the rest of it: {why}",
        hint="edit the file by hand",
        code="not_editable",
    )


def _with_line_ends_of(text: str, edited: str) -> str:
    edited = edited if text else edited.lstrip("\n")
    return re.sub(r"(?<!\r)\n", "\r\n", edited) if "\r\n" in text else edited


def _set_plain(table: Any, place: Place, value: Any) -> None:
    """The change, on the data that the standard library parsed."""
    way, last = place[:-1], place[-1]
    parents: list[tuple[Any, str | int]] = []
    for step, after in zip(way, place[1:], strict=True):
        if isinstance(step, str):
            table.setdefault(step, [] if isinstance(after, int) else {})
        parents.append((table, step))
        table = table[step]
    if value is None:
        del table[last]
        for parent, step in reversed(parents):
            if isinstance(step, str) and not parent[step]:
                del parent[step]
    elif isinstance(last, int) and last == len(table):
        table.append(value)
    else:
        table[last] = value


def _set(table: Any, place: Place, value: Any) -> None:
    """The same change, on the document that keeps everything else."""
    way, last = place[:-1], place[-1]
    parents: list[tuple[Any, str | int]] = []
    for step, after in zip(way, place[1:], strict=True):
        if isinstance(step, str) and step not in table:
            _add(table, step, tomlkit.aot() if isinstance(after, int) else tomlkit.table())
        parents.append((table, step))
        table = table[step]
    if value is None:
        del table[last]
        for parent, step in reversed(parents):
            if isinstance(step, str) and not len(parent[step]):
                del parent[step]
    elif isinstance(last, int) and last == len(table):
        _append(table, value)
    elif isinstance(last, int) or last in table:
        table[last] = _item(value)
    else:
        _add(table, last, _item(value))


def _item(value: Any) -> Any:
    if isinstance(value, str) and "\n" in value[1:] and "\r" not in value and not value.startswith("\n"):
        # TOML ignores a newline after the opening quotes: the text starts at the margin.
        return tomlkit.value(f'"""\n{tomlkit.string(value, multiline=True).as_string()[3:]}')
    return value


def _add(table: Any, name: str, item: Any) -> None:
    """Add a key right after the last one. tomlkit alone puts it after the comments of what follows."""
    body: list[tuple[Any, Any]] = getattr(getattr(table, "value", table), "body", [])
    behind: list[tuple[Any, Any]] = []
    if not isinstance(table, InlineTable):
        while body and isinstance(body[-1][1], Comment | Whitespace):
            behind.insert(0, body.pop())
        if not body and isinstance(table, TOMLDocument):  # comments at the start of the file stay there
            body.extend(behind)
            behind.clear()
    table[name] = item
    body.extend(behind)


def _append(array: Any, value: dict[str, Any]) -> None:
    is_table = isinstance(array, AoT)
    entry: Any = tomlkit.table() if is_table else tomlkit.inline_table()
    for name, member in value.items():
        entry[name] = _item(member) if is_table else member
    if is_table:
        entry.trivia.indent = "\n"  # an empty line before it
    array.append(entry)
