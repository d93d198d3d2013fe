"""What a person may choose for all boxes of a town."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

#: A name, an IP address or ``*.`` and a name; then perhaps a port.
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")

Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.sandbox]``. Paths are absolute, begin with ``~/``, or are relative to the workspace. 0 is no limit.

    - `hide`: files and directories out of sight, beside the usual secrets. `show`: what is visible all the same.
    - `writable`: what may be written beside the workspace; with the profile ``read`` too.
    - `network`: ``on``, ``off``, or the hosts that may be reached, through a proxy: ``["example.org", "*.github.com:443"]``.
    - `processes` of one run, its `memory_bytes`, the size of one file that it writes (`file_bytes`), and its ``/tmp``.
    """

    hide: tuple[str, ...] = ()
    show: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    network: Literal["on", "off"] | tuple[str, ...] = "on"
    processes: Count = 4096
    memory_bytes: Count = 0
    file_bytes: Count = 256 << 30
    tmp_bytes: Count = 2 << 30

    def __post_init__(self) -> None:
        for host in self.network if not isinstance(self.network, str) else ():
            if not _HOST.fullmatch(host):
                raise ValueError(f"expected a host such as example.org, *.github.com or localhost:8080, got {host!r}")

    @property
    def hosts(self) -> tuple[str, ...] | None:
        """The hosts that may be reached; None if there is no list."""
        return None if isinstance(self.network, str) else self.network
