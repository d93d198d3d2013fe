"""The program `bd`, if it is on PATH and has a database beside the bead file: its records, and changes of them.

Knows command lines and errors. What has to change is decided in `database`.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinytown.errors import BackendUnavailable, Refused, TinytownError

from tinytown_beads.bd_versions import SUPPORTED, Dialect, Version, dialect_of, version_in
from tinytown_beads.database import Push, Vocabulary
from tinytown_beads.fields import STATUSES
from tinytown_beads.files import read_file
from tinytown_beads.json_text import as_list, as_object, decode
from tinytown_beads.lines import Line, read_lines
from tinytown_beads.settings import Settings

_TIMEOUT_S = 120.0
#: What an import of one line may take beyond that.
_LINE_TIMEOUT_S = 0.2
_DISABLE = 'set bd = "never" in [plugins.beads] to disable bd'
#: What `bd` says when an import has changed nothing: no failure.
_NOTHING_NEW = "nothing to commit"
_NO_LIST = str.maketrans("", "", '[]"')
#: Variables that would lead `bd` to another database or another output.
_MISLEADING = ("BEADS_DB", "BD_DB", "BD_JSON_ENVELOPE")
#: Files of a database below `.beads` that grow with every write; reading touches them.
_JOURNALS = ("embeddeddolt/*/.dolt/noms/*", "dolt/*/.dolt/noms/*", "dolt/.dolt/noms/*")
#: Files of older ones, which are touched by every write, and sometimes by reading.
_TOUCHED = ("*.db", "*.db-wal")


class BdCli:
    """One `bd` at work in the directory above `.beads`."""

    def __init__(self, program: str, file: Path) -> None:
        self.program = program
        self.file = file.absolute()
        self.beads = self.file.parent
        self._dialect: Dialect | None = None

    @property
    def dialect(self) -> Dialect:
        """The commands and fields of this version. Raises: Refused if it is not supported."""
        if self._dialect is None:
            self._dialect = self._find_dialect()
        return self._dialect

    def _find_dialect(self) -> Dialect:
        version = _version(self.program, os.stat(self.program).st_mtime_ns)
        dialect = dialect_of(version) if version else None
        if dialect is None:
            named = ".".join(map(str, version)) if version else "of an unknown version"
            raise Refused(
                f"bd {named} cannot be synced with: it cannot both export and import",
                hint=f"use bd {SUPPORTED}, or {_DISABLE}",
                code="bd_version",
            )
        return dialect

    @property
    def identity(self) -> str:
        """The database that belongs to the directory: its project, or its name."""
        try:
            about = as_object(decode(read_file(self.beads / "metadata.json") or b"")) or {}
        except ValueError:
            return ""
        return str(about.get("project_id") or about.get("dolt_database") or about.get("database") or "")

    def export(self) -> list[Line]:
        """All records of the database. Raises: TinytownError."""
        with tempfile.TemporaryDirectory(prefix="tt-bd-") as scratch:
            path = Path(scratch) / "export.jsonl"
            self._run(*self.dialect.export, str(path))
            return read_lines(read_file(path) or b"")

    def vocabulary(self) -> Vocabulary:
        """What this database accepts beyond what is built in."""
        prefixes = {self.prefix(), *self._words("allowed_prefixes")} if self.dialect.own_ids else set[str]()
        return Vocabulary(self._words("types.custom"), self._words("status.custom"), frozenset(prefixes - {""}))

    def prefix(self) -> str:
        """What new ids of this database begin with, without the dash; empty if it has none."""
        return self._config("issue_prefix").rstrip("-")

    def _words(self, key: str) -> frozenset[str]:
        value = self._config(key).translate(_NO_LIST)  # a list, with commas or as JSON
        return frozenset(word.partition(":")[0].strip() for word in value.split(",") if word.strip())

    def _config(self, key: str) -> str:
        try:
            return str(_data(decode(self._run("config", "get", key, "--json"))).get("value") or "")
        except (ValueError, TinytownError):
            return ""

    def push(self, push: Push) -> tuple[str, ...]:
        """Bring the changes into the database; returns what `bd` skipped, in its own words. Raises: TinytownError."""
        skipped: tuple[str, ...] = ()
        if push.records:
            with tempfile.TemporaryDirectory(prefix="tt-bd-") as scratch:
                path = Path(scratch) / "changes.jsonl"
                path.write_bytes(b"".join(push.records))
                limit_s = _TIMEOUT_S + _LINE_TIMEOUT_S * len(push.records)
                skipped = _skipped(self._run(*self.dialect.import_, str(path), "--json", timeout_s=limit_s))
        for words in push.commands:
            self._run(*words)
        return skipped

    def sign(self) -> frozenset[tuple[str, int, int]]:
        """What changes with every write to the database, without starting `bd`; empty if it is elsewhere."""
        return frozenset([*self._stats(_JOURNALS, touched=False), *self._stats(_TOUCHED, touched=True)])

    def _stats(self, patterns: Sequence[str], *, touched: bool) -> Iterator[tuple[str, int, int]]:
        for path in (path for pattern in patterns for path in self.beads.glob(pattern)):
            try:
                about = path.stat()
            except OSError:
                continue  # it was replaced just now
            yield str(path), about.st_size, about.st_mtime_ns if touched else 0

    def _run(self, *words: str, timeout_s: float = _TIMEOUT_S) -> str:
        """What `bd` prints. Raises: BackendUnavailable if it cannot be started; TinytownError if it fails or hangs."""
        environment = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
        environment["BEADS_DIR"] = str(self.beads)
        done = _run_program(
            [self.program, "--sandbox", *words], cwd=self.beads.parent, env=environment, timeout_s=timeout_s
        )
        output = done.stdout.decode("utf-8", "replace")
        if done.returncode:
            message = _message(done.stderr.decode("utf-8", "replace"), output)
            if words[0] == "import" and _NOTHING_NEW in message:
                return "{}"
            raise TinytownError(
                f"bd {words[0]} ended with {done.returncode}: {message[:300]}", hint=_hint(message), code="bd_failed"
            )
        return output


@functools.lru_cache(maxsize=8)
def _version(program: str, modified_ns: int) -> Version | None:
    """The version of a program; asked again when its file changes."""
    done = _run_program([program, "version"], cwd=Path("/"), env=dict(os.environ), timeout_s=_TIMEOUT_S)
    return version_in((done.stdout + done.stderr).decode("utf-8", "replace"))


def _run_program(
    words: list[str], *, cwd: Path, env: dict[str, str], timeout_s: float
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except OSError as error:
        raise BackendUnavailable(f"bd cannot be started: {error.strerror}", hint=_DISABLE) from error
    except subprocess.TimeoutExpired as error:
        raise TinytownError(f"bd {words[-1]} did not end within {timeout_s:.0f} s", code="bd_failed") from error


def find_bd(file: Path, settings: Settings) -> BdCli | None:
    """The `bd` for a sync of `file`; None without a program, without a database, or if the settings disable it."""
    database = file.parent.name == ".beads" and (file.parent / "metadata.json").is_file()
    program = shutil.which("bd") if settings.bd == "auto" and database else None
    return BdCli(os.path.abspath(program), file) if program else None


def _data(answer: Any) -> dict[str, Any]:
    """The object in an answer, with or without an envelope."""
    table = as_object(answer) or {}
    return as_object(table.get("data")) or table


def _skipped(output: str) -> tuple[str, ...]:
    try:
        result = _data(decode(output))
    except ValueError:
        return ()
    stale = [f"{bead_id}: bd has a newer one" for bead_id in as_list(result.get("stale_skipped_ids")) or []]
    return (*stale, *map(str, as_list(result.get("skipped_dependencies")) or []))


def _message(stderr: str, stdout: str) -> str:
    """The error among what a failed command printed: the line that begins ``Error:``, or the JSON error."""
    lines = [line.strip() for line in (*stderr.splitlines(), *stdout.splitlines()) if line.strip()]
    for line in lines:
        if line.startswith("Error:"):
            return line.removeprefix("Error:").strip()
    for text in (stdout, stderr):
        try:
            error = _data(decode(text)).get("error")
        except ValueError:
            continue
        if isinstance(error, str):
            return error
    return lines[-1] if lines else "no output"


def _hint(message: str) -> str:
    if "invalid issue type" in message:
        return "add the type: bd config set types.custom TYPE,TYPE"
    if "invalid status" in message:
        return f"use {', '.join(STATUSES)}, or add it: bd config set status.custom STATUS"
    return _DISABLE
