"""docs/reference/protocol.md, the tables of keys, operations, messages and events, and the Lua sources say the same."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
from tinytown.config import Config
from tinytown.errors import REPLY_CODES
from tinytown.model import agents, tasks
from tinytown.model.events import EVENT_TYPES, KnownEvent
from tinytown.model.messages import Body
from tinytown.protocol.function_library import TOWN_LIBRARY
from tinytown.protocol.operations import TownOperations
from tinytown.protocol.town_operations import SCHEMA
from tinytown_cli import administration
from tinytown_testing.keys import CHANNELS, KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "protocol.md").read_text()
LUA = "\n".join(line.partition("--")[0] for line in TOWN_LIBRARY.source().splitlines())


def rows(*titles: str) -> list[list[str]]:
    """The rows of the tables whose columns are titled so, cell by cell."""
    found: list[list[str]] = []
    inside = False
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells == list(titles):
            inside = True
        elif inside and set(line) - set("|-"):
            found.append(cells)
    assert found, f"no table {titles}"
    return found


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_key_stands_on_the_page_with_its_type_and_its_bound() -> None:
    table = rows("key", "type", "what it holds", "written by", "bound")
    assert {code(row[0])[0]: row[1] for row in table} == KEYS
    assert len(table) == len(KEYS)
    assert all(row[2] and row[3] and row[4] for row in table)


def test_every_channel_stands_on_the_page_with_what_is_published_there() -> None:
    page: dict[str, set[str]] = {}
    for channel, published, _ in rows("channel", "published", "when"):
        page.setdefault(code(channel)[0], set()).update(code(published))
    assert set(page) == set(CHANNELS)
    for channel, words in page.items():
        for word in words:
            assert word in CHANNELS[channel], f"{word} is not in the table of channels"
    published = set(re.findall(r"(?:notify|notify_mail)\(base, [\w.]+, '([\w-]+) ?'", LUA))
    published |= set(re.findall(r"stop_round\(base, .*, '([\w-]+) '", LUA)) | set(
        re.findall(r"':notify', '(\w+)'", LUA)
    )
    reported = {word.removeprefix("<agent> ").partition(" ")[0] for words in page.values() for word in words}
    assert published == reported


def test_every_function_stands_on_the_page_with_its_operation_and_its_op() -> None:
    of_administration = Path(administration.__file__).with_suffix(".lua").read_text()
    once = set(re.findall(r"^register_once\('(\w+)'", LUA + of_administration, re.MULTILINE))
    plain = set(re.findall(r"^register\('(\w+)'", LUA + of_administration, re.MULTILINE))
    table = {code(row[0])[0]: row for row in rows("function", "operation", "arguments", "answer", "refuses")}
    assert set(table) == once | plain
    assert {name for name, row in table.items() if re.match(r"op\b", row[2])} == once
    for name, row in table.items():
        assert set(code(row[4])) <= set(REPLY_CODES) | {"all", "max_agents"}, name
        if f"('{name}'" in of_administration:
            source = inspect.getsource(getattr(administration, code(row[1])[0]))
            assert f'LIBRARY, "{name}"' in source, name
            assert ("new_id()" in source) == (name in once), name
        else:
            source = inspect.getsource(getattr(TownOperations, code(row[1])[0]))
            assert re.search(rf'self\._{"once" if name in once else "call"}\(\s*"{name}"', source), name


def test_every_call_is_named_on_the_page() -> None:
    methods = {
        name for name, value in inspect.getmembers(TownOperations, inspect.isfunction) if not name.startswith("_")
    }
    assert methods - set(code(PAGE)) == set()


def test_every_event_stands_on_the_page_with_its_members() -> None:
    page = {code(row[0])[0]: row[1] for row in rows("type", "members", "when")}
    assert set(page) == set(EVENT_TYPES)
    for kind in get_args(KnownEvent):
        fields = {
            field.name: field.required for field in msgspec.structs.fields(kind) if field.name not in ("id", "at")
        }
        members = re.findall(r"`(\w+)`(\??)", page[str(kind.__struct_config__.tag)])
        assert {name: not mark for name, mark in members} == fields, kind


def test_every_kind_of_message_stands_on_the_page_with_its_members() -> None:
    page = {code(row[0])[0]: row for row in rows("type", "members", "treated as")}
    kinds: dict[str, Any] = {str(kind.__struct_config__.tag): kind for kind in get_args(Body)}
    assert set(page) == set(kinds)
    for name, kind in kinds.items():
        assert re.findall(r"`(\w+)`", page[name][1].partition(":")[0]) == list(kind.__struct_fields__), name
        assert page[name][2] == kind.category


def test_the_settings_on_the_page_are_those_that_the_functions_obey() -> None:
    page = {code(row[0])[0]: row[1] for row in rows("setting", "without it", "bounds")}
    configured = {name: str(value) for name, value in Config(name="x").server_settings.items()}
    assert page == {**configured, "gates": "0"}
    for name, value in page.items():
        assert f"'{name}'" in LUA, f"no function looks at {name}"
        assert set(re.findall(rf"setting\(base, '{name}', (\d+)\)", LUA)) <= {value}


def transitions(*titles: str) -> dict[str, list[str]]:
    return {code(row[0])[0]: code(row[1]) for row in rows(*titles)}


def same(table: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {state: list(news) for state, news in table.items()}


def test_the_transitions_on_the_page_are_those_of_the_tables() -> None:
    assert transitions("state", "may become") == same(tasks.TRANSITIONS)
    assert transitions("actual state", "may become") == same(agents.TRANSITIONS)


def test_numbers_on_the_page_are_those_of_the_library() -> None:
    source = administration.LIBRARY.source()  # on that of the town
    constants = dict(re.findall(r"^local ([A-Z_]+) = (\d+)", source, re.MULTILINE))
    assert f"kept for {constants['OP_TTL_S']} s" in PAGE
    assert f"about {int(constants['MAX_EVENTS']):,}" in PAGE
    assert f"cut at {int(constants['EVENT_TEXT_BYTES']):,} bytes" in PAGE
    assert f"{constants['MAX_DELETED_PER_CALL']} at most" in PAGE
    assert f"{int(constants['MAX_PER_CALL']):,} at most" in PAGE
    assert int(constants["SCORE_STEP"]) == 2**50
    assert f"(now `{SCHEMA}`)" in PAGE


def test_the_library_uses_no_key_that_is_not_in_the_table() -> None:
    """Every literal that becomes a part of a key is a part of some pattern, and every pattern is made of such parts."""
    literals = set(re.findall(r"'(:[a-z_:]+)'", LUA))
    patterns = [f":{pattern}" for pattern in [*KEYS, *CHANNELS]]
    parts = {part for pattern in patterns for part in re.split(r"<\w+>", pattern) if part}
    unknown = {literal for literal in literals if not any(literal in pattern for pattern in patterns)}
    assert unknown == set()
    #: Written by clients with plain commands, never by a function.
    assert parts - literals - {":cursors", ":"} == set()
