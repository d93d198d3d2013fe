"""What Tinytown 0.10 ran for an agent, a preset or a whole command: as a kind, and settings of its plugin. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator

import msgspec

#: The first word of a command -> the kind of agents that runs it here.
_KINDS = {
    "claude": "claude",
    "auggie": "auggie",
    "codex": "codex",
    "aider": "aider",
    "gemini": "gemini",
    "cursor": "cursor",
    "cursor-agent": "cursor",
    "copilot": "copilot",
}
#: Kinds whose plugin has their own name, and takes settings under it.
_OWN_PLUGIN = frozenset({"claude", "auggie", "codex"})
_FULL = frozenset(
    {"--dangerously-skip-permissions", "--dangerously-bypass-approvals-and-sandbox", "--yolo", "--allow-all-tools"}
)
#: What each adapter adds by itself.
_GIVEN = frozenset({"--print", "-p", "exec", "--yes", "--no-auto-commits", "--message", "--quiet"})
_SECRET = re.compile("key|token|secret|password", re.IGNORECASE)
_MODEL = ("--model", "-m")
_MINI = "gpt-5.4-mini"


class OldCli(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of agents, and what its command chose: a model, everything allowed, and arguments that have no setting."""

    kind: str
    model: str = ""
    full: bool = False
    others: tuple[str, ...] = ()

    def settings(self) -> Iterator[str]:
        """The lines below ``[plugins.KIND]``."""
        if self.model:
            yield f"model = {json.dumps(self.model, ensure_ascii=False)}"
        if self.full:
            yield 'permissions = "full"'
        if self.others:
            yield f"extra_args = {json.dumps(self.others, ensure_ascii=False)}"


def recognize(command: str) -> OldCli | None:
    """What a known coding CLI was run with; None for any other command, and for one that needs a shell."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if words[:2] == ["gh", "copilot"]:
        words = words[1:]
    kind = _KINDS.get(words[0].rpartition("/")[2]) if words else None
    if kind is None or {"|", "&&", "||", ";", ">", "<"} & set(words) or "$" in command or "`" in command:
        return None
    model, full, others = "", False, list[str]()
    rest = iter(words[1:])
    for word in rest:
        name, is_pair, value = word.partition("=")
        if name in _MODEL:
            model = value if is_pair else next(rest, "")
        elif word in _FULL:
            full = True
        elif _SECRET.search(name):  # no secret is written into the town's file
            if not is_pair:
                next(rest, "")
        elif word not in _GIVEN:
            others.append(word)
    if kind == "codex" and model == _MINI:
        kind, model = "codex-mini", ""
    return OldCli(kind=kind, model=model, full=full, others=tuple(others))


def settings_tables(clis: Collection[OldCli], plugins: Collection[str]) -> list[str]:
    """The tables of what was chosen for kinds of these installed `plugins`; of others as comments, for when they are."""
    lines: list[str] = []
    by_plugin: dict[str, OldCli] = {}
    for cli in clis:
        plugin = cli.kind.partition("-")[0]
        if plugin in _OWN_PLUGIN and list(cli.settings()):
            by_plugin.setdefault(plugin, cli)
    for plugin, cli in sorted(by_plugin.items()):
        mark = "" if plugin in plugins else "# "
        lines += ["", *(mark + line for line in (f"[plugins.{plugin}]", *cli.settings()))]
    return lines
