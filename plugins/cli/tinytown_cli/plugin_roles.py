"""What is wrong with the roles that plugins bring: they are data, which is read without the plugin, so it cannot be blamed."""

from __future__ import annotations

from collections.abc import Iterator

from tinytown.config import Config
from tinytown.entry_points import installed
from tinytown.model.text import shown
from tinytown_prompts.roles import ROLES_GROUP, load_roles, roles_of_plugin


def problems_with_roles(config: Config) -> Iterator[str]:
    """One line for each file that cannot be read, and for each role that another one of its name hides."""
    known = load_roles(config)
    for entry in installed(ROLES_GROUP):
        if config.blocking(entry.name):
            continue
        who = f"plugin {entry.name!r} ({entry.distribution})"
        try:
            roles = roles_of_plugin(entry)
        except Exception as error:
            yield f"{who}: its roles cannot be read: {shown(str(error) or repr(error), 300)}"
            continue
        for name, role in roles.items():
            if known[name].origin == "built-in" or (known[name].origin == "plugin" and known[name] != role):
                yield f"{who}: its role {name!r} is not used: there is another of this name"
