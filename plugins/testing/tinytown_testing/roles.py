"""What the roles that a plugin brings promise (O1, O2, ...). They are data: a file, which is read as a town reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Unpack

from tinytown.config import Config
from tinytown.entry_points import IndexedEntryPoint, installed
from tinytown.errors import NotFound
from tinytown_prompts.roles import ROLES_GROUP, Role, load_roles, roles_of_plugin

from tinytown_testing.contract_checks import CheckOptions, check_promises
from tinytown_testing.promises import Broken, CheckReport, Contract, raised
from tinytown_testing.trial import Trial

#: A town without any plugin, which has the built-in roles alone.
_BARE = Config(name="bare", blocked_plugins=("*",))


@dataclass(slots=True)
class RolesTrial(Trial):
    """One attempt at one promise of a file of roles."""

    entry: IndexedEntryPoint

    def roles(self) -> Mapping[str, Role]:
        """The roles in the file."""
        return roles_of_plugin(self.entry)


ROLES = Contract[RolesTrial]("roles")


async def check_roles(plugin: str, **options: Unpack[CheckOptions]) -> CheckReport:
    """Check the roles of the installed plugin with this name. The options are those of every check, see `CheckOptions`.

    Raises: NotFound if no entry point of the group ``tinytown.roles`` has this name.
    """
    entry = next((entry for entry in installed(ROLES_GROUP) if entry.name == plugin), None)
    if entry is None:
        raise NotFound(f"no plugin {plugin!r} brings roles", hint=f"name it in the entry point group {ROLES_GROUP!r}")
    return await check_promises(
        ROLES, lambda place, slack_s: RolesTrial(place, slack_s, entry), name=lambda: plugin, **options
    )


@ROLES.promise("O1", "Its file of roles can be read without importing the plugin, and has some.")
async def _readable(trial: RolesTrial) -> None:
    try:
        roles = trial.roles()
    except Exception as error:
        raise Broken(raised(error)) from error
    if not roles:
        raise Broken("the file has no table [roles.NAME]")


@ROLES.promise("O2", "Each role says what it is for, in one line.", requires=("O1",))
async def _purposes(trial: RolesTrial) -> None:
    for role in trial.roles().values():
        if not role.purpose.strip() or "\n" in role.purpose.strip():
            raise Broken(f"expected a purpose of one line for the role {role.name!r}, got {role.purpose!r}")


@ROLES.promise("O3", "No role has the name of a built-in one, which it could not replace.", requires=("O1",))
async def _own_names(trial: RolesTrial) -> None:
    if taken := trial.roles().keys() & load_roles(_BARE).keys():
        raise Broken(f"built in are: {', '.join(sorted(taken))}")
