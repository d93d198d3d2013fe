"""The kind of a new agent: the one that is named, that of its role, else the town's. What a role means is a plugin's to say.

A role is what `--role` says and never guessed from a name. To the kernel it is a label, matched with the backlog.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tinytown.config import Config
from tinytown.entry_points import installed
from tinytown.errors import NotFound, UsageError
from tinytown.model.text import shown
from tinytown.packages import default_kind, distribution_of, install_hint

#: The group of entry points that name functions from a town's settings and a role to the kind (None: any) and the tags that
#: agents of the role get unless the person says otherwise.
ROLE_DEFAULTS_GROUP = "tinytown.role_defaults"


def start_of_agent(
    config: Config, role: str, *, cli: str | None, tags: Sequence[str], kinds: Collection[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """Kind and tags of a new agent: those given, else its role's, else `choose_kind` of the `kinds` that are offered."""
    for entry in installed(ROLE_DEFAULTS_GROUP) if role else ():
        role_cli, role_tags = entry.load()(config, role)
        cli, tags = cli or role_cli, tags or role_tags
    return cli or choose_kind(config, kinds), tuple(tags)


def check_kind(kind: str, kinds: Collection[str]) -> None:
    """Raises: NotFound with code ``unknown_kind`` if `kind` is not among the `kinds` that hosts or installed plugins offer."""
    if kind not in kinds:
        raise NotFound(
            f"unknown kind of agent {shown(kind)!r}; available kinds: {', '.join(sorted(kinds)) or 'none'}",
            hint=install_hint("kinds", kind, "install its plugin, then restart the kernel"),
            code="unknown_kind",
            kinds=sorted(kinds),
        )


def choose_kind(config: Config, kinds: Collection[str]) -> str:
    """The kind of agents that are spawned without one: ``default_cli``, else the only one of `kinds`, else the standard one.

    Raises: UsageError with code ``no_default_kind`` if there is none.
    """
    if config.default_cli:
        return config.default_cli
    if len(kinds) == 1:
        return next(iter(kinds))
    standard = default_kind()
    distribution = distribution_of("kinds", standard)
    if standard in kinds or (not kinds and distribution in {entry.distribution for entry in installed("tinytown")}):
        return standard
    raise UsageError(
        f"expected a kind of agents, because the town has no default; available kinds: {', '.join(sorted(kinds)) or 'none'}",
        hint="name one with --cli, or set default_cli in tinytown.toml" if kinds else install_hint("kinds", standard),
        code="no_default_kind",
        kinds=sorted(kinds),
    )
