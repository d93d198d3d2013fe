"""Stalls of the kernel's event loop: the record of one, which plugin its stack names, and the file that ``tt doctor`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

import msgspec
import trio
from tinytown.entry_points import installed
from tinytown.files import replace_file
from tinytown.hookspecs import ENTRY_POINT_GROUP
from tinytown.state import state_directory

_KEPT = 20
_FRAMES = 12


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """One time that nothing else ran in the kernel. `plugin` is empty if no plugin's code was seen at it.

    `function` is the plugin's innermost one, `stack` the calls from there on, the innermost first. Times are RFC 3339 in UTC.
    """

    plugin: str
    function: str
    stack: tuple[str, ...]
    since: str
    seconds: float
    is_over: bool = True


def plugins_by_module() -> dict[str, str]:
    """The module that each installed plugin is, without its attribute, and its top package -> the plugin's name."""
    names: dict[str, str] = {}
    for entry in installed(ENTRY_POINT_GROUP):
        module = entry.value.partition(":")[0].strip()
        names[module] = entry.name
        names.setdefault(module.partition(".")[0], entry.name)
    return names


def find_culprit(
    frame: FrameType | None, plugins: Mapping[str, str], called: str = ""
) -> tuple[str, str, tuple[str, ...]]:
    """The plugin that holds up the loop: the one that is `called`, else the one whose code is innermost on the stack.

    With its innermost function, which may be one of a library that it uses, and the innermost calls. Whoever has started the
    loop is on every stack, and holds up nothing.
    """
    stack: list[str] = []
    functions: list[str] = []
    while frame is not None and frame.f_code is not trio.run.__code__:
        module, code = str(frame.f_globals.get("__name__", "")), frame.f_code
        stack.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}")
        functions.append(f"{module}.{code.co_qualname}")
        plugin = _plugin_of(module, plugins)
        if plugin and plugin == (called or plugin):
            return plugin, functions[-1], tuple(stack[-_FRAMES:])
        frame = frame.f_back
    return called, functions[0] if functions else "", tuple(stack[:_FRAMES])


def _plugin_of(module: str, plugins: Mapping[str, str]) -> str:
    """The plugin that a module belongs to: the one with the longest name that it is in; empty for none."""
    while module:
        if module in plugins:
            return plugins[module]
        module = module.rpartition(".")[0]
    return ""


def stalls_file(root: Path) -> Path:
    """Where the kernel keeps the latest stalls."""
    return state_directory(root) / "stalls.json"


def keep(root: Path, stall: Stall) -> None:
    """Add a stall to the file, in place of an earlier record of the same one."""
    others = [other for other in read_stalls(root) if other.since != stall.since]
    with suppress(OSError):
        replace_file(stalls_file(root), msgspec.json.encode([*others, stall][-_KEPT:]))


def read_stalls(root: Path) -> list[Stall]:
    """The latest stalls of this machine's kernel, oldest first."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(stalls_file(root).read_bytes(), type=list[Stall])
    return []
