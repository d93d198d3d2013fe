"""Changes a TOML file that a person wrote, and keeps their comments, order and spelling. Pure: from text to text.

tomlkit does the work, and is not trusted: the text has to survive unchanged when nothing is changed, and the result is
read again by the standard library and compared with what was asked for. What does not come out right is refused, so
nobody's file is ever written with a mistake in it. Knows nothing of files and of what the tables mean.
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

#: Where a value is: names of tables and positions in arrays. The position behind the last one adds a table.
Place: TypeAlias = tuple[str | int, ...]


def edit(text: str, changes: Iterable[tuple[Place, Any]]) -> str:
    """`text`, a valid TOML file, with each place set to its value, or without it where the value is None.

    Tables on the way are made as needed; a table or an array whose last item is removed goes too.

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
        raise _not_editable("the result would say something else")
    return edited


def _parse(text: str) -> Any:
    whole = text if text.endswith("\n") or not text else text + "\n"
    try:
        document = tomlkit.parse(whole)
    except (TOMLKitError, RecursionError) as error:
        raise _not_editable(str(error)) from error
    if tomlkit.dumps(document) != whole:
        # Seen when [[tasks]] stand apart with other tables between them.
        raise _not_editable("its tables are out of order; put those of one kind next to each other")
    return document


def _not_editable(why: str) -> TinytownError:
    return TinytownError(
        f"the TOML file cannot be changed without disturbing it: {why}",
        hint="make the change by hand",
        code="not_editable",
    )


def _with_line_ends_of(text: str, edited: str) -> str:
    edited = edited if text else edited.lstrip("\n")
    return re.sub(r"(?<!\r)\n", "\r\n", edited) if "\r\n" in text else edited


def _set_plain(table: Any, place: Place, value: Any) -> None:
    """The change as it is meant, on what the standard library reads."""
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
    """The same change on the document that keeps everything else."""
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
        # A newline behind the opening quotes is no part of the text, and makes it start at the margin.
        return tomlkit.value(f'"""\n{tomlkit.string(value, multiline=True).as_string()[3:]}')
    return value


def _add(table: Any, name: str, item: Any) -> None:
    """A new key right behind the last one. tomlkit alone would put it behind the comments that belong to what follows."""
    body: list[tuple[Any, Any]] = getattr(getattr(table, "value", table), "body", [])
    behind: list[tuple[Any, Any]] = []
    if not isinstance(table, InlineTable):
        while body and isinstance(body[-1][1], Comment | Whitespace):
            behind.insert(0, body.pop())
        if not body and isinstance(table, TOMLDocument):  # what a file begins with stays its beginning
            body.extend(behind)
            behind.clear()
    table[name] = item
    body.extend(behind)


def _append(array: Any, value: dict[str, Any]) -> None:
    is_table = isinstance(array, AoT)
    entry: Any = tomlkit.table() if is_table else tomlkit.inline_table()
    for name, each in value.items():
        entry[name] = _item(each) if is_table else each
    if is_table:
        entry.trivia.indent = "\n"  # an empty line before it
    array.append(entry)
