"""What every converter promises (C1, C2, ...), and how each promise is tried.

Whether a task that was read is one that a town would take is asked of the town's own rules, without a town.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import msgspec
from tinytown.errors import UsageError
from tinytown.model.ids import new_id
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.protocol import TownOperations
from tinytown_cli.contracts import Converted, Converter, RewritingConverter

from tinytown_testing.contract_checks import CheckOptions, check_promises
from tinytown_testing.promises import Broken, CheckReport, Contract, NotApplicable, raised
from tinytown_testing.samples import equal_tasks, sample_tasks, unusual_tasks
from tinytown_testing.scenarios import ConverterScenarios
from tinytown_testing.trial import Trial, check_word, expect

_CUTS = 200

#: Documents of no format at all, and such as break parsers.
GARBAGE = {
    "nothing": b"",
    "blanks": b" \r\n\t\n ",
    "a word": b"hello",
    "bytes that are no text": b"\xff\xfe\x00\x80 \x1b[2J",
    "a byte order mark": b"\xef\xbb\xbf",
    "NULs": b"\0" * 1_000,
    "JSON of another shape": b'{"tasks": {"id": []}, "version": null}',
    "a list of anything": b'[null, 1, "x", [], {}]',
    "brackets without an end": b"[" * 100_000,
    "braces without an end": b'{"a":' * 100_000,
    "YAML of another shape": b"- - - &a [*a]\n? : !!python/name:os\n",
    "TOML of another shape": b'[a]\nb = 1\n[[a.c]]\nd = """',
    "XML with entities": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;&d;</a>',
    "CSV that is cut": b'id,title\n1,"open\n',
    "Markdown": b"# Title\n\n- [ ] open\n- [x] done\n\n```\nfence",
    "a line of a megabyte": b"x" * (1 << 20),
    "100,000 lines": b"- line\n" * 100_000,
}


@dataclass(slots=True)
class ConverterTrial(Trial):
    """One attempt at one promise of a converter."""

    make: Callable[[], Converter]
    scenarios: ConverterScenarios

    def documents(self, converter: Converter) -> list[bytes]:
        """Good documents: the maker's and one of the converter's own."""
        return [*self.scenarios.documents, converter.write(sample_tasks())]

    def kept_fields(self, converter: Converter) -> list[str]:
        """The fields of a task that are named, word for word, in what the converter keeps."""
        return [name for name in _FIELDS if name in converter.keeps]


#: Fields of a Task, and the argument of `Town.add_task` that each of them becomes.
_FIELDS = {"description": "description", "title": "title", "priority": "priority", "tags": "tags", "role": "role"} | {
    "id": "task_id",
    "needs": "needs",
    "parent": "parent",
    "meta": "meta",
}

CONVERTER = Contract[ConverterTrial]("converter")


async def check_converter(
    make: Callable[[], Converter],
    *,
    scenarios: ConverterScenarios | None = None,
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the converters that `make` makes. The options are those of every check, see `CheckOptions`."""
    return await check_promises(
        CONVERTER,
        lambda place, slack_s: ConverterTrial(place, slack_s, make, scenarios or ConverterScenarios()),
        name=lambda: make().format,
        **options,
    )


@CONVERTER.promise("C1", "Its format is a word, and `keeps` and `loses` are lists of texts.")
async def _format(trial: ConverterTrial) -> None:
    converter = trial.make()
    check_word("format", converter.format)
    for attribute in ("keeps", "loses"):
        said = getattr(converter, attribute)
        if isinstance(said, (str, bytes)) or not all(isinstance(each, str) for each in said):
            raise Broken(f"expected a list of texts as {attribute}, got {shown(repr(said))}")


@CONVERTER.promise("C2", "It writes tasks as bytes, and reads as many back without problems.")
async def _round_trip(trial: ConverterTrial) -> None:
    converter = trial.make()
    for tasks in (sample_tasks(), equal_tasks(), ()):
        converted = _read_back(converter, tasks)
        if converted.problems:
            raise Broken(f"reading what it wrote gave the problem {converted.problems[0]!r}")
        if len(converted.tasks) != len(tasks):
            raise Broken(f"of {len(tasks)} tasks that it wrote it read {len(converted.tasks)}")


@CONVERTER.promise("C3", "A town accepts the tasks that it reads.", requires=("C2",))
async def _as_a_town_takes_them(trial: ConverterTrial) -> None:
    converter, calls = trial.make(), TownOperations(trial.sandbox.config.name)
    for document in trial.documents(converter):
        for task in _read(converter, document).tasks:
            try:
                calls.add_task(**task)
            except (TypeError, UsageError, KeyError) as error:
                raise Broken(f"Town.add_task refuses {shown(repr(dict(task)), 200)}: {error}") from error


@CONVERTER.promise("C4", "The task fields named in `keeps` survive a round trip.", requires=("C2",))
async def _keeps(trial: ConverterTrial) -> None:
    converter = trial.make()
    fields = trial.kept_fields(converter)
    if not fields:
        raise NotApplicable(f"what it keeps names no field of a task word for word ({', '.join(_FIELDS)})")
    _expect_kept(converter, sample_tasks(), fields)


@CONVERTER.promise("C5", "Any text survives a round trip: quotes, newlines, delimiters, any script.", requires=("C4",))
async def _any_text(trial: ConverterTrial) -> None:
    converter = trial.make()
    if "description" not in trial.kept_fields(converter):
        raise NotApplicable("it does not say that it keeps the description")
    for task in unusual_tasks():
        _expect_kept(converter, (task,), ["description"])


@CONVERTER.promise("C6", "No content makes it raise: unreadable parts become problems or are skipped.")
async def _any_content(trial: ConverterTrial) -> None:
    converter = trial.make()
    for what, document in GARBAGE.items():
        _read_anything(converter, what, document)
    for document in trial.documents(converter):
        for cut in range(0, len(document), max(1, len(document) // _CUTS)):
            _read_anything(converter, f"a document that is cut after {cut} bytes", document[:cut])
            spoilt = document[:cut] + b"\xff" + document[cut + 1 :]
            _read_anything(converter, f"a document with a bad byte at {cut}", spoilt)


@CONVERTER.promise("C7", "A problem names its line.", requires=("C6",))
async def _problems_name_lines(trial: ConverterTrial) -> None:
    bad_lines = trial.scenarios.bad_lines
    if bad_lines is None or isinstance(bad_lines, str):
        raise NotApplicable(bad_lines or "no scenario 'bad_lines' was given")
    converter = trial.make()
    for document, line in bad_lines:
        problems = _read(converter, document).problems
        if not any(str(line) in problem for problem in problems):
            raise Broken(f"line {line} of {shown(repr(document))} is wrong, the problems are {list(problems)}")


@CONVERTER.promise(
    "C8", "The same document always gives the same tasks, and the same tasks the same document.", requires=("C2",)
)
async def _same_again(trial: ConverterTrial) -> None:
    tasks = sample_tasks()
    first, second = trial.make(), trial.make()
    if first.write(tasks) != second.write(tasks) or first.write(tasks) != first.write(tasks):
        raise Broken("writing the same tasks again gave another document")
    for document in trial.documents(first):
        if _read(first, document) != _read(second, document) or _read(first, document) != _read(first, document):
            raise Broken(f"reading the same document again gave other tasks: {shown(repr(document))}")


@CONVERTER.promise("C9", "A document rewritten with its own tasks is unchanged, byte for byte.", requires=("C3",))
async def _rewrites(trial: ConverterTrial) -> None:
    converter = trial.make()
    if not isinstance(converter, RewritingConverter):
        raise NotApplicable("it does not rewrite documents")
    for document in trial.documents(converter):
        tasks = [_as_task(arguments) for arguments in _read(converter, document).tasks]
        rewritten = expect(converter.rewrite(document, tasks), bytes, "from rewrite()")
        if rewritten != document:
            raise Broken(f"{shown(repr(document), 200)} became {shown(repr(rewritten), 200)}")


@CONVERTER.promise(
    "C10",
    "Rewritten with a changed task, a document has the change and keeps the other tasks.",
    requires=("C4", "C9"),
)
async def _rewrites_changes(trial: ConverterTrial) -> None:
    converter = trial.make()
    if not isinstance(converter, RewritingConverter):
        raise NotApplicable("it does not rewrite documents")
    changes = {name: value for name, value in _CHANGES.items() if name in trial.kept_fields(converter)}
    if not changes:
        raise NotApplicable(f"it says of none of {', '.join(_CHANGES)} that it keeps it")
    for document in trial.documents(converter):
        tasks = [_as_task(arguments) for arguments in _read(converter, document).tasks]
        for number, (field, value) in enumerate(changes.items()):
            changed = list(tasks)
            if tasks:
                index = number % len(tasks)
                changed[index] = msgspec.structs.replace(tasks[index], **{field: value})
            rewritten = expect(converter.rewrite(document, changed), bytes, "from rewrite()")
            _expect_read(_read(converter, rewritten), changed, trial.kept_fields(converter))


#: What a person or an agent changes most, in a task that is in a document already.
_CHANGES: Mapping[str, Any] = {"title": "Another title", "priority": "urgent", "description": "Other work"}


def _as_task(arguments: Mapping[str, Any]) -> Task:
    """The task that a town makes of these arguments of `Town.add_task`."""
    fields = {name: value for name, value in arguments.items() if name not in ("task_id", "finished", "agent")}
    state = arguments.get("finished") or "pending"
    return msgspec.convert({"id": arguments.get("task_id") or new_id(), "state": state, **fields}, Task, strict=False)


def _read(converter: Converter, document: bytes) -> Converted:
    converted = expect(converter.read(document), Converted, "from read()")
    for problem in converted.problems:
        expect(problem, str, "as a problem")
    return converted


def _read_back(converter: Converter, tasks: Sequence[Task]) -> Converted:
    return _read(converter, expect(converter.write(tasks), bytes, "from write()"))


def _read_anything(converter: Converter, what: str, document: bytes) -> None:
    try:
        _read(converter, document)
    except Exception as error:
        raise Broken(f"{what}: {raised(error)}") from error


def _expect_kept(converter: Converter, tasks: Sequence[Task], fields: Sequence[str]) -> None:
    _expect_read(_read_back(converter, tasks), tasks, fields)


def _expect_read(converted: Converted, tasks: Sequence[Task], fields: Sequence[str]) -> None:
    """Broken unless these tasks have been read, with these fields as they are."""
    if len(converted.tasks) != len(tasks):
        first = f"{shown(repr(tasks[0].description), 100)} " if tasks else ""
        raise Broken(f"{len(tasks)} tasks {first}came back as {len(converted.tasks)}")
    for task, read in zip(tasks, converted.tasks, strict=True):
        for name in fields:
            wanted, came = _plain(getattr(task, name)), _plain(_argument(read, name, task))
            if wanted != came:
                raise Broken(f"the {name} {shown(repr(wanted), 200)} came back as {shown(repr(came), 200)}")


def _argument(read: Mapping[str, Any], field: str, task: Task) -> object:
    """What was read for a field; one that is left out has the value that a task has by default."""
    default = next(each.default for each in msgspec.structs.fields(Task) if each.name == field)
    absent = None if default is msgspec.NODEFAULT else default
    return read.get(_FIELDS[field], absent if getattr(task, field) != {} else {})


def _plain(value: object) -> object:
    """Lists for tuples, and None for what is empty: formats and `Town.add_task` make no difference there."""
    return msgspec.json.decode(msgspec.json.encode(value)) or None
