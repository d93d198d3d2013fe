"""Find a formula by name and parse its file, into a value or an error with the file, the line and the key.

Directories of the town (``.tt/formulas``, ``formulas``, ``.beads/formulas``), then the built-in ones. A name inside a
file refers to a formula, found the same way, never to another path.
"""

from __future__ import annotations

import difflib
import inspect
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec
from tinytown.errors import NotFound, UsageError
from tinytown_beads import files

from tinytown_gastown.formulas.model import Formula
from tinytown_gastown.formulas.toml_lines import KeyPath, line_of, lines_by_path, parse_path

#: Below the town's root, in the order in which they are searched.
DIRECTORIES = (".tt/formulas", "formulas", ".beads/formulas")
BUILT_IN = Path(__file__).with_name("built_in")
SUFFIXES = (".formula.toml", ".formula.json")

_LIMIT_BYTES = 4 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Found(NamedTuple):
    """A formula, and its file's name for messages."""

    formula: Formula
    file: str


class FormulaLibrary:
    """The formulas of a town at `root`; without a town only the built-in ones. Each file is read once."""

    def __init__(self, root: Path | None) -> None:
        self._places = [(root / below, below) for below in DIRECTORIES] if root else []
        self._places.append((BUILT_IN, "built in"))
        self._read: dict[str, Found] = {}

    def files(self) -> dict[str, tuple[Path, str]]:
        """Name -> file and directory of every formula; the first of a name wins."""
        formulas: dict[str, tuple[Path, str]] = {}
        for directory, place in self._places:
            entries = sorted(directory.iterdir()) if directory.is_dir() else []
            for suffix in SUFFIXES:
                for path in entries:
                    if path.name.endswith(suffix):
                        formulas.setdefault(path.name.removesuffix(suffix), (path, place))
        return dict(sorted(formulas.items()))

    def find(self, name: str) -> Found:
        """The formula `name`, or the one in the file that it names. Raises: NotFound, UsageError for a bad file."""
        if name.endswith((".toml", ".json")) or "/" in name:
            return read_file(Path(name), name)
        return self.named(name)

    def named(self, name: str) -> Found:
        """The formula `name`, as other formulas name it: never a file anywhere else. Raises: as `find`."""
        if name not in self._read:
            if not _NAME.fullmatch(name):
                raise UsageError(f"expected a formula name, got {name[:80]!r}", hint="tt formula list shows them")
            available = self.files()
            if name not in available:
                near = difflib.get_close_matches(name, available, n=3)
                raise NotFound(
                    f"no formula called {name!r} in {', '.join(place for _, place in self._places)}",
                    hint=f"did you mean {' or '.join(near)}?" if near else "tt formula list shows them",
                )
            path, place = available[name]
            self._read[name] = read_file(path, path.name if place == "built in" else f"{place}/{path.name}")
        return self._read[name]


def read_file(path: Path, called: str) -> Found:
    """The formula in a file, which errors call `called`."""
    raw = files.read_file(path, limit_bytes=_LIMIT_BYTES)
    if raw is None:
        raise NotFound(f"no file {called[:200]}", hint="tt formula list shows formulas by name")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{called}: expected UTF-8, got other bytes at {error.start}", code="bad_formula") from error
    return Found(read_formula(text, called), called)


def read_formula(text: str, called: str) -> Formula:
    """The formula that `text` holds, TOML or, when `called` so, JSON.

    Raises: UsageError with code ``bad_formula``, and fields ``path`` and, where it is known, ``line``.
    """
    toml = not called.endswith(".json")
    try:
        table = tomllib.loads(text) if toml else msgspec.json.decode(text)
    except (tomllib.TOMLDecodeError, msgspec.DecodeError, RecursionError) as error:
        refuse(called, None, f"expected {'TOML' if toml else 'JSON'}: {error or 'nested too deeply'}")
    positions = lines_by_path(text) if toml else {}
    try:
        formula = msgspec.convert(table, Formula)
    except (msgspec.ValidationError, RecursionError) as error:
        what, _, where = str(error).partition(" - at ")
        unknown = what.partition("unknown field `")[2].rstrip("`")
        path = _named(table, parse_path(where.strip("`")), unknown)
        line = line_of(positions, (*path, unknown) if unknown else path)
        place = _called(table, path)
        if unknown:
            known = _known_keys(path)
            near = difflib.get_close_matches(unknown, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}" if known else ""
            refuse(called, line, f"unknown key {unknown!r}{place}", hint=hint)
        refuse(
            called, line, what.replace("Object missing required field", "there is no") + (place or f" {where}".rstrip())
        )
    if not _NAME.fullmatch(formula.formula):
        refuse(called, line_of(positions, ("formula",)), f"expected a name as formula, got {formula.formula[:80]!r}")
    return formula


def refuse(called: str, line: int | None, what: str, *, hint: str = "") -> NoReturn:
    """Raises: UsageError with code ``bad_formula``."""
    where = f"{called}, line {line}" if line else called
    raise UsageError(f"{where}: {what[:500]}", hint=hint, code="bad_formula", path=called, line=line)


def _named(table: Any, path: KeyPath, unknown: str) -> KeyPath:
    """The path with the first key that fits where msgspec names none."""
    if "..." not in path:
        return path
    place = path.index("...")
    around = table
    for part in path[:place]:
        around = around[part]
    for key in around:
        if not unknown or (isinstance(around[key], dict) and unknown in around[key]):
            return (*path[:place], key, *path[place + 1 :])
    return path[:place]


def _called(table: Any, path: KeyPath) -> str:
    """The location in the formula, by the id of the enclosing step."""
    words = ""
    current: Any = table
    for part in path:
        try:
            current = current[part]  # pyright: ignore[reportUnknownVariableType] - whatever a file holds
        except (KeyError, IndexError, TypeError):
            break
        if isinstance(part, int) and isinstance(current, Mapping) and isinstance(current.get("id"), str):  # pyright: ignore
            words = f" of {current['id'][:80]!r}"  # pyright: ignore
    if not words and path:
        words = f" of {'.'.join(str(part) for part in path)}"
    return words


def _known_keys(path: KeyPath) -> list[str]:
    """The keys of the table at `path`."""
    kind: Any = Formula
    for part in path:
        if isinstance(part, int) or kind is None:
            continue
        hints = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        if part in hints:  # else it is the key of a table of tables, whose type stands above it
            kind = _struct_in(hints[part])
    return [field.encode_name for field in msgspec.structs.fields(kind)] if kind else []


def _struct_in(annotation: Any) -> Any:
    if inspect.isclass(annotation) and issubclass(annotation, msgspec.Struct):
        return annotation
    inside: tuple[Any, ...] = getattr(annotation, "__args__", ())
    for inner in inside:
        if names := _struct_in(inner):
            return names
    return None
