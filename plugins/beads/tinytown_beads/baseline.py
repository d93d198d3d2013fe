"""The state of a bead file and the town at their last sync, line by line: the base of the three-way merge.

One file per bead file in the town's state directory, written last. It is as large as the bead file and belongs to this
machine, so it is not kept on the server. Without it the records that imported tasks keep are used. Pure except for reading
and writing that file.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tinytown_beads.files import read_file, replace_file
from tinytown_beads.lines import Line, read_lines
from tinytown_beads.merge import Base
from tinytown_beads.view import View

#: What is written. The first wrote `town` always.
_VERSION = 2
_KNOWN_VERSIONS = (1, 2)


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line as it was, with its line end: text, or base64 of bytes that are not UTF-8. For a task, the views of both sides.

    Without `town` both views were equal. A `gone` line was removed from the file while its task is still in the town.
    """

    line: str = ""
    packed: str = ""
    file: View | None = None
    town: View | None = None
    gone: bool = False

    @property
    def raw(self) -> bytes:
        return base64.b64decode(self.packed) if self.packed else self.line.encode()

    @property
    def base(self) -> Base | None:
        return None if self.file is None else Base(self.file, self.town or self.file)


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    path: str
    digest: str
    order: int = 0


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What was last known of the bead file at `path`. `digest` is of its content then; `order` counts a town's files."""

    path: str
    digest: str = ""
    order: int = 0
    entries: tuple[Entry, ...] = ()

    def unpack(self) -> tuple[list[Line], dict[str, Base]]:
        """The lines of the file as they were, followed by the removed ones, and the views of both sides by bead id."""
        lines = read_lines(b"".join(entry.raw for entry in self.entries if not entry.gone))
        lines += [line for entry in self.entries if entry.gone for line in read_lines(entry.raw)]
        bases = {
            line.key: entry.base
            for line, entry in zip(lines, self.entries, strict=True)
            if line.kind == "bead" and entry.base is not None
        }
        return lines, bases


def entry_of(line: Line, base: Base | None) -> Entry:
    """The entry for a line."""
    try:
        text, packed = line.raw.decode(), ""
    except UnicodeDecodeError:
        text, packed = "", base64.b64encode(line.raw).decode()
    if base is None:
        return Entry(line=text, packed=packed)
    return Entry(line=text, packed=packed, file=base.file, town=None if base.town == base.file else base.town)


def baseline_path(directory: Path, file: Path) -> Path:
    """The path of the baseline of a bead file."""
    real_path = os.path.realpath(file)
    name = re.sub(r"[^A-Za-z0-9]+", "-", Path(real_path).stem)[:40]
    return (
        directory / f"{name}-{hashlib.sha256(real_path.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}.baseline"
    )


_HEAD = msgspec.json.Decoder(_Head)
_ENTRY = msgspec.json.Decoder(Entry)


def read_baseline(path: Path) -> Baseline | None:
    """The baseline at `path`; None if there is none that this version can read."""
    content = read_file(path)
    if content is None:
        return None
    first, _, rest = content.partition(b"\n")
    try:
        head = _HEAD.decode(first)
        entries = tuple(_ENTRY.decode(line) for line in rest.splitlines())
    except ValueError:
        return None
    if head.version not in _KNOWN_VERSIONS:
        return None
    return Baseline(path=head.path, digest=head.digest, order=head.order, entries=entries)


def read_baselines(directory: Path) -> dict[Path, Baseline]:
    """All baselines of a town by their own files, in the order in which its bead files were first met."""
    baselines = {
        path: baseline for path in directory.glob("*.baseline") if (baseline := read_baseline(path)) is not None
    }
    return dict(sorted(baselines.items(), key=lambda item: (item[1].order, item[1].path)))


def next_order(directory: Path) -> int:
    """The place among a town's bead files of one that is met for the first time."""
    orders = [0]
    for path in directory.glob("*.baseline"):
        with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
            orders.append(_HEAD.decode(file.readline()).order)
    return 1 + max(orders)


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Keep a baseline, for its owner alone: it holds all texts of the file."""
    head = _Head(version=_VERSION, path=baseline.path, digest=baseline.digest, order=baseline.order)
    encode = msgspec.json.encode
    content = b"".join(encode(part) + b"\n" for part in (head, *baseline.entries))
    before = read_file(path)
    if content != before:
        replace_file(path, content, was=before, mode=0o600)


def entries_of(lines: Sequence[Line], gone: Sequence[Line], bases: Mapping[str, Base]) -> tuple[Entry, ...]:
    """The entries for the lines of a file, followed by those of removed lines."""
    present = [entry_of(line, bases.get(line.key) if line.kind == "bead" else None) for line in lines]
    removed = [msgspec.structs.replace(entry_of(line.ended(), bases.get(line.key)), gone=True) for line in gone]
    return (*present, *removed)
