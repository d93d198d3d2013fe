"""A Gastown directory: its rigs, their beads, and what has no counterpart here. Reads only.

Source: the layout of Gastown's town directory (``mayor/rigs.json``, ``.beads/routes.jsonl``, ``<rig>/config.json``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tinytown.errors import NotFound, UsageError
from tinytown_beads.files import find_bead_file, read_file
from tinytown_beads.json_text import as_object, decode
from tinytown_beads.lines import Line, new_line, read_lines

from tinytown_gastown.migration.backup_tables import records_of, rows_of
from tinytown_gastown.migration.code import find_repository

#: The name of what belongs to no rig, and of its prefix.
HEADQUARTERS = "hq"

_TABLES = ("issues", "dependencies", "labels", "comments", "events", "config")
_FORMULA_NAMES = ("*.formula.toml", "*.formula.json")
_DATABASES = ("*.db", "embeddeddolt/*/.dolt/noms/*", "dolt/*/.dolt/noms/*", "dolt/.dolt/noms/*")
#: How much younger a database has to be than its export to be worth a word.
_STALE_S = 60.0
_WORK_PLACES = ("polecats", "crew")
#: Kinds of records that describe who and what a town consists of. Headquarters keep those of all rigs.
_IDENTITIES = frozenset({"agent", "role", "rig"})
#: Files of the town that say nothing about its work.
_NO_PLACE = {
    ".events.jsonl": "past events",
    ".feed.jsonl": "past events",
    "costs.jsonl": "past costs",
    "plugins": "scheduled jobs of agents and scripts",
    "formula-overlays": "overlays of formulas: write a formula that extends the original",
    "directives": "texts for roles: see tt roles",
    "roles": "definitions of roles: see tt roles",
    "daemon": "state of a daemon that is not needed",
    "deacon": "an agent whose work the kernel does",
}


@dataclass(slots=True)
class Rig:
    """One project of a Gastown town: its bead lines, its formulas, and its repository."""

    name: str
    prefix: str = ""
    repository: str = ""
    branch: str = ""
    lines: list[Line] = field(default_factory=list[Line])
    sources: list[str] = field(default_factory=list[str])
    formulas: list[Path] = field(default_factory=list[Path])
    work_places: list[str] = field(default_factory=list[str])
    #: Its repository in the old town.
    checkout: Path | None = None


@dataclass(slots=True)
class GastownTown:
    """The result: the rigs by name, headquarters included, and what has no counterpart here."""

    root: Path
    rigs: dict[str, Rig]
    formulas: list[Path]
    no_place: list[tuple[str, str]]
    problems: list[str]


def read_gastown(directory: Path) -> GastownTown:
    """The town in `directory`. Raises: NotFound; UsageError if it is not a Gastown town."""
    if not directory.is_dir():
        raise NotFound(f"no directory {directory}", hint="name the directory that gt install created")
    root = directory.resolve()
    town = GastownTown(root, {}, _formulas(root, root), [], [])
    places = _rigs(town)
    if not places and not (root / "mayor").is_dir():
        raise UsageError(
            f"{directory} is not a Gastown town: it has neither mayor/ nor rigs",
            hint="name the directory that gt install created, often ~/gt",
        )
    town.rigs[HEADQUARTERS] = Rig(HEADQUARTERS, HEADQUARTERS)
    places[HEADQUARTERS] = [root]
    for name, rig in town.rigs.items():
        _read_beads(town, rig, places.get(name, []))
        if name != HEADQUARTERS:
            rig.formulas = _formulas(root, root / name)
            rig.work_places = list(_work_places(root, name))
            rig.checkout = find_repository(root, name)
    _sort_by_prefix(town)
    for place in (root, *(root / name for name in town.rigs if name != HEADQUARTERS)):
        for name, why in _NO_PLACE.items():
            if (place / name).exists():
                town.no_place.append((str((place / name).relative_to(root)), why))
    return town


def _rigs(town: GastownTown) -> dict[str, list[Path]]:
    """Fill in the rigs; returns the directories that may hold the beads of each."""
    root = town.root
    places: dict[str, list[Path]] = {}

    def rig(name: str) -> Rig | None:
        # A name becomes a directory of ours.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name) or name == HEADQUARTERS:
            town.problems.append(f"a rig called {name[:80]!r} is skipped: not a valid directory name")
            return None
        if name not in town.rigs:
            town.rigs[name] = Rig(name)
            places[name] = [root / name, root / name / "mayor" / "rig"]
        return town.rigs[name]

    registry = as_object((_object(town, root / "mayor" / "rigs.json")).get("rigs")) or {}
    for name, settings in registry.items():
        if (known := rig(name)) is not None:
            _describe(known, as_object(settings) or {})
    for path in sorted(root.glob("*/config.json")):
        settings = _object(town, path)
        if (settings.get("type") == "rig" or "git_url" in settings) and (known := rig(path.parent.name)) is not None:
            _describe(known, settings)
    for route in rows_of(read_file(root / ".beads" / "routes.jsonl") or b""):
        settings, prefix = route.get("path"), route.get("prefix")
        if not isinstance(settings, str) or not isinstance(prefix, str) or settings in ("", "."):
            continue
        place = (root / settings).resolve()
        if not place.is_relative_to(root):
            town.problems.append(
                f"the route of {prefix[:40]!r} leads outside the town, to {settings[:200]!r}, and is not followed"
            )
            continue
        if (known := rig(place.relative_to(root).parts[0])) is not None:
            known.prefix = known.prefix or prefix.rstrip("-")
            places[known.name].append(place)
    return places


def _describe(rig: Rig, settings: dict[str, Any]) -> None:
    beads = as_object(settings.get("beads")) or {}
    for name, value in (("prefix", beads.get("prefix")), ("branch", settings.get("default_branch"))):
        if isinstance(value, str) and value and not getattr(rig, name):
            setattr(rig, name, value.rstrip("-"))
    url = settings.get("git_url")
    if isinstance(url, str) and url:
        rig.repository = without_credentials(url)


def without_credentials(url: str) -> str:
    """A URL without user name and password."""
    parts = urlsplit(url) if "://" in url else None
    if parts is None or "@" not in parts.netloc:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _read_beads(town: GastownTown, rig: Rig, places: Iterable[Path]) -> None:
    """Fill in the lines of a rig, from its exports or else from the dump of its tables."""
    seen: set[Path] = set()
    for place in places:
        try:
            path = find_bead_file(place).resolve() if place.is_dir() else None
        except NotFound:
            path = None
        if path is not None and not path.is_relative_to(town.root):
            town.problems.append(f"the beads of {rig.name} are outside the town, in {path}, and are not read")
        elif path is not None and path not in seen:
            seen.add(path)
            _add(town, rig, read_lines(read_file(path) or b""), path)
            if _database_time(path.parent) > path.stat().st_mtime + _STALE_S:
                town.problems.append(
                    f"{path.relative_to(town.root)} may be older than its database: {_export_in(path.parent.parent)}"
                )
    if rig.lines:
        return
    for place in places:
        tables = {name: rows_of(read_file(place / ".beads" / "backup" / f"{name}.jsonl") or b"") for name in _TABLES}
        if tables["issues"]:
            lines = [new_line(record, number) for number, record in enumerate(records_of(tables), 1)]
            _add(town, rig, lines, place / ".beads" / "backup")
            if tables["events"]:
                town.no_place.append(
                    (str((place / ".beads/backup/events.jsonl").relative_to(town.root)), "history of beads")
                )
            return

    for place in places:
        if (place / ".beads" / "metadata.json").is_file():
            town.problems.append(f"{rig.name} has a database without an export: {_export_in(place)}")
            return


def _export_in(place: Path) -> str:
    return f"run bd export -o .beads/issues.jsonl in {place}, then repeat this"


def _database_time(beads: Path) -> float:
    """When the database beside an export was last touched, 0 without one. Reading touches it, too."""
    files = [path for pattern in _DATABASES for path in beads.glob(pattern) if path.is_file()]
    return max((path.stat().st_mtime for path in files), default=0.0)


def _add(town: GastownTown, rig: Rig, lines: list[Line], path: Path) -> None:
    name = str(path.relative_to(town.root))
    rig.sources.append(name)
    rig.lines += lines
    town.problems += [f"{name}, line {line.number}: {line.problem}" for line in lines if line.problem]


def _sort_by_prefix(town: GastownTown) -> None:
    """Move each bead to the rig of its prefix; of two with one id the newer wins.

    Memories and what describes an agent stay where they are: on return, each database gets its own again.
    """
    by_prefix = {f"{rig.prefix}-": rig for rig in town.rigs.values() if rig.prefix}
    sorted_: dict[str, list[Line]] = {name: [] for name in town.rigs}
    places: dict[tuple[str, str], tuple[str, int]] = {}
    for rig in town.rigs.values():
        for line in rig.lines:
            prefixes = [prefix for prefix in by_prefix if line.key.startswith(prefix)]
            stays = line.kind == "memory" or (line.bead is not None and line.bead.kind in _IDENTITIES)
            home = by_prefix[max(prefixes, key=len)].name if prefixes and not stays else rig.name
            identity = (
                line.kind if line.kind == "memory" else "bead",
                f"{home}/{line.key}" if stays else line.key,
            )
            if line.kind in ("blank", "bad", "header"):
                continue
            if identity not in places:
                places[identity] = (home, len(sorted_[home]))
                sorted_[home].append(line)
            else:
                owner, number = places[identity]
                if _stamp(line) > _stamp(sorted_[owner][number]):
                    sorted_[owner][number] = line
    for name, lines in sorted_.items():
        town.rigs[name].lines = lines


def _stamp(line: Line) -> str:
    return line.bead.text("updated_at") if line.bead else ""


def _formulas(root: Path, place: Path) -> list[Path]:
    """The formulas below a directory; a link that leads outside the town is skipped."""
    directory = place / ".beads" / "formulas"
    paths = (path for pattern in _FORMULA_NAMES for path in directory.glob(pattern) if path.is_file())
    return sorted(path for path in paths if path.resolve().is_relative_to(root))


def _work_places(root: Path, name: str) -> Iterator[str]:
    """Directories that may hold unmerged work."""
    for kind in _WORK_PLACES:
        for path in sorted((root / name / kind).glob("*")):
            if path.is_dir() and not path.name.startswith("."):
                yield str(path.relative_to(root))


def _object(town: GastownTown, path: Path) -> dict[str, Any]:
    parsed = None
    try:
        content = read_file(path)
        parsed = None if content is None else as_object(decode(content))
    except UsageError as error:
        town.problems.append(error.message)
    except ValueError as error:
        town.problems.append(f"{path.relative_to(town.root)} is not readable: {error}")
    return parsed or {}
