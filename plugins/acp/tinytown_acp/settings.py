"""What a person may choose for an agent of the protocol."""

from __future__ import annotations

import msgspec
from tinytown_adapters import CliSettings


class AcpSettings(CliSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.acp.agents.NAME]``: beside the settings of every coding CLI, what the protocol lets a client choose.

    `mode` is one of the agent's own modes, `options` are its configuration options, by id. With `ask`, what the agent wants
    permission for is asked, whatever its `permissions`. Else it is allowed: what an agent may do is up to its box.
    """

    mode: str = ""
    options: dict[str, str] = msgspec.field(default_factory=dict[str, str])
