"""A library of server-side functions: its name, its versioned function names and its source. Pure, no IO.

The names of the library and of its functions carry a digest of the source, so that every client calls exactly the code
that it was built with, and clients of several versions can share one server. Plugins add libraries of their own.
"""

from __future__ import annotations

import zlib
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from tinytown.protocol.library import prelude_source, town_source

if TYPE_CHECKING:
    from pathlib import Path

ENGINE = "lua"


class FunctionLibrary:
    """Functions in Lua under the name `name`, for operations that the town's own functions do not offer.

    `source` is the Lua file. It is compiled behind what it `extends`:

    - ``prelude`` (default): ``now_ms``, ``refuse``, ``record``, ``emit``, ``find_agent``, ``find_task``, ``register``,
      ``register_once`` and what else ``10_prelude.lua`` defines, with ``TASK_MOVES`` and ``AGENT_MOVES``;
    - ``town``: all local functions of the town as well (``route_task``, ``deliver_task``, ...). The town's functions are not
      registered a second time. These locals may change with any release of the core; those of the prelude do not.

    A function gets the town's base key and its text arguments, and returns the reply. Lua allows 200 locals for both together.
    Make operations with `tinytown.protocol.Operation`, naming the library: clients load it when the server lacks it.
    Since hook API 2.
    """

    def __init__(self, name: str, source: Path | None, *, extends: Literal["prelude", "town"] = "prelude") -> None:
        self.name = name
        self._source = source
        self._extends = extends

    def __repr__(self) -> str:
        return f"<FunctionLibrary {self.name}>"

    @cached_property
    def _text(self) -> str:
        if self._source is None:
            return town_source()
        own = self._source.read_text("utf-8")
        if self._extends == "prelude":
            return f"{prelude_source()}\n{own}"
        return f"EXTENDED = true\n{town_source()}\nEXTENDED = false\n{own}"

    @cached_property
    def digest(self) -> str:
        """Eight hex characters that tell one version of the library from another."""
        return f"{zlib.crc32(self._text.encode()):08x}"  # hashlib would cost every quick command 3 ms

    def function(self, name: str) -> str:
        """The name under which the server knows the function `name`."""
        return f"tt_{self.digest}_{name}"

    def source(self) -> str:
        """The whole library, ready for ``FUNCTION LOAD REPLACE``."""
        return f"#!{ENGINE} name={self.name}_{self.digest}\nlocal PREFIX, EXTENDED = 'tt_{self.digest}_', false\n{self._text}"


#: The town's own functions.
TOWN_LIBRARY: FunctionLibrary = FunctionLibrary("tinytown", None)

#: How often one operation loads a library that the server lacks; another client may remove it at the same time.
MAX_LIBRARY_LOADS = 5
