"""Settings by dotted key: their types, values and sources in the structs of `tinytown.config`.

Pure, except that it reads the environment. Knows no files and no commands. Values are shown with passwords redacted.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec
from tinytown.config import LABELS_VARIABLE, URL_VARIABLE, Config
from tinytown.errors import NotFound, UsageError
from tinytown.model.text import check_utf8, shown
from tinytown.redis import redact
from tinytown_cli.suggestions import did_you_mean

Key: TypeAlias = tuple[str, ...]
Source: TypeAlias = Literal["town", "user", "environment", "default"]

_HIDDEN = "****"
_SECRET_NAME = re.compile(r"passw|secret|token\b|api_?key|credential|auth\b", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]*@")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def parse_key(text: str) -> Key:
    """A dotted key as TOML has it: ``redis.url``, ``agent_clis."my.tool".command``. Raises: UsageError."""
    parts: list[str] = []
    table: Any = None
    if not re.search(r"[=#\[\]{}\n\r]", check_utf8(text)):
        try:
            table = tomllib.loads(f"{text} = 0")
        except (tomllib.TOMLDecodeError, RecursionError):
            table = None
    while table:  # one table in the other, and 0 in the last
        part, table = next(iter(table.items()))
        parts.append(part)
    if not parts:
        raise UsageError(f"expected a key such as redis.url, got {shown(text)!r}", hint="tt config list lists them")
    return tuple(parts)


def key_text(key: Key) -> str:
    """A key as text, quoted where TOML needs it."""
    return ".".join(part if _BARE.fullmatch(part) else '"' + part.replace('"', '\\"') + '"' for part in key)


def kind_of(key: Key, root: type[msgspec.Struct]) -> Any:
    """The type of the setting `key` in the struct `root`; ``Any`` if only a plugin knows it. Raises: UsageError."""
    kind: Any = root
    for number, part in enumerate(key):
        kind = _without_none(kind)
        if kind is Any:
            return Any
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            kinds = get_type_hints(kind)
            if part not in kinds:
                known = ", ".join(key_text((*key[:number], name)) for name in kinds)
                hint = did_you_mean(part, kinds, f"known here: {known}")
                raise UsageError(f"unknown key {key_text(key)!r}", hint=hint)
            kind = kinds[part]
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            raise UsageError(f"unknown key {key_text(key)!r}", hint=f"{key_text(key[:number])} is a value, not a table")
    return kind


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        kinds = [member for member in get_args(kind) if member is not type(None)]
        return kinds[0] if len(kinds) == 1 else kind
    return kind


def read_value(text: str, key: Key, kind: Any) -> Any:
    """The value of `key` from the command line, converted to its type. Text needs no quotes; lists may be ``a,b``.

    Raises: UsageError if it does not fit the type.
    """
    check_utf8(text)
    read: list[Any] = []
    if "\n" not in text:
        try:
            read = [tomllib.loads(f"value = {text}")["value"]]
        except (tomllib.TOMLDecodeError, RecursionError):
            read = []
    # Lists and tables are read as TOML; anything else as text, unless only a plugin knows the type.
    is_plain = bool(read) and not isinstance(read[0], list | dict) and kind is not Any
    candidates = [text, *read] if is_plain else [*read, text]
    for candidate in (*candidates, [part.strip() for part in text.split(",") if part.strip()]):
        try:
            msgspec.convert(candidate, kind)
        except msgspec.ValidationError:
            continue
        if isinstance(candidate, float) and not math.isfinite(candidate):
            continue  # TOML has them, settings do not
        return candidate
    raise UsageError(
        f"expected {_described(kind)} for {key_text(key)}, got {shown(redact_text(key, text))!r}",
        hint="docs/reference/configuration.md describes every setting",
    )


def _described(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    plain = _without_none(kind)
    if plain in words:
        return words[plain]
    origin: Any = get_origin(plain)
    parts = get_args(plain) if origin in (Union, UnionType) else ()
    if parts and all(part in words or get_origin(part) is Literal for part in parts):
        return " or ".join(map(_described, parts))
    return "a table" if origin is dict or isinstance(plain, type) else "a list or text"


def leaves(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every setting in `value`, a struct or a table, with its key."""
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        for name, member in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from leaves(member, (*key, str(name)))  # pyright: ignore[reportUnknownArgumentType]
    else:
        yield key, value


def look_up(settings: Any, key: Key) -> Any:
    """The value of `key`, which may be a whole table. Raises: NotFound if it is not set."""
    value = settings
    for part in key:
        if isinstance(value, dict) and part in value:
            value = value[part]  # pyright: ignore[reportUnknownVariableType]
        elif isinstance(value, msgspec.Struct) and part in value.__struct_fields__:
            value = getattr(value, part)
        else:
            raise NotFound(f"{key_text(key)} is not set", hint="tt config list lists what is")
    return value  # pyright: ignore[reportUnknownVariableType]


def source_of(key: Key, town: Mapping[str, Any], user: Mapping[str, Any]) -> Source:
    """Where the setting `key` comes from: the file of the town, that of the user (both as tables), or neither.

    Follows `tinytown.config.load_config`: ``redis`` comes as a whole from one file, commands by name, plugin settings one
    by one.
    """
    if key == ("redis", "url") and os.environ.get(URL_VARIABLE):
        return "environment"
    if key == ("host", "labels") and LABELS_VARIABLE in os.environ:
        return "environment"
    if _has(town, key):
        return "town"
    whole = {"redis": 1, "host": 1, "agent_clis": 2, "default_cli": 1, "plugins": len(key)}.get(key[0])
    if whole is not None and not _has(town, key[:whole]) and _has(user, key):
        return "user"
    return "default"


def _has(table: Any, key: Key) -> bool:
    for part in key:
        if not isinstance(table, Mapping) or part not in table:
            return False
        table = table[part]  # pyright: ignore[reportUnknownVariableType]
    return True


def redact_value(key: Key, value: Any) -> Any:
    """`value`, plain data, with passwords and secrets replaced by ``****``."""
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: redact_value((*key, str(name)), member) for name, member in value.items()}  # pyright: ignore
    if isinstance(value, list | tuple):
        return [redact_value(key, item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return redact_text(key, value) if isinstance(value, str) else value


def redact_text(key: Key, text: str) -> str:
    """The same for a text."""
    if key[-1:] == ("url",) and key[:1] == ("redis",):
        return redact(text) if "@" in text or "password" in text else text
    if text and any(_SECRET_NAME.search(part) for part in key[1:]):
        return _HIDDEN
    return _PASSWORD_IN_URL.sub(rf"\1:{_HIDDEN}@", text)


def toml_text(value: Any) -> str:
    """A value as text: strings without quotes, everything else as in TOML, None as nothing."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_quoted(item) for item in value) + "]"  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key_text((str(name),))} = {_quoted(member)}" for name, member in value.items()) + "}"  # pyright: ignore
    return str(value)


def _quoted(value: Any) -> str:
    return msgspec.json.encode(value).decode() if isinstance(value, str) else toml_text(value)


__all__ = [
    "Config",
    "Key",
    "Source",
    "key_text",
    "kind_of",
    "leaves",
    "look_up",
    "parse_key",
    "read_value",
    "redact_text",
    "redact_value",
    "source_of",
    "toml_text",
]
