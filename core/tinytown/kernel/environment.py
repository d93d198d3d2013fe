"""What the processes of a round have of the kernel's environment, and what they find in it about their round. Pure."""

from __future__ import annotations

import os
import sysconfig
from fnmatch import fnmatchcase
from pathlib import Path

from tinytown import identity
from tinytown.config import Config
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task

_SCRIPTS = sysconfig.get_path("scripts")

#: The variables of the kernel that rounds get: what a person's tools need, and no secret among them.
_INHERITED = """
    PATH HOME USER LOGNAME SHELL LANG LANGUAGE LC_* TZ TERM COLORTERM NO_COLOR TMPDIR TMP TEMP EDITOR PAGER CI XDG_*
    SSH_AUTH_SOCK GIT_AUTHOR_[EN]* GIT_COMMITTER_[EN]* VIRTUAL_ENV CONDA_PREFIX PYTHONPATH NODE_PATH NVM_DIR GOPATH GOROOT
    JAVA_HOME CARGO_HOME RUSTUP_HOME PYENV_ROOT SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
    NODE_EXTRA_CA_CERTS NO_PROXY no_proxy LD_LIBRARY_PATH DYLD_LIBRARY_PATH TINYTOWN_HOME TINYTOWN_BLOCK TINYTOWN_NO_KERNEL
    TINYTOWN_FAULT*
""".split()


def round_environment(config: Config, root: Path, agent: Agent, task: Task | None, round_id: str) -> dict[str, str]:
    """The environment of a round's processes: what they may have of the kernel's, `tt` on the PATH, who they work for.

    Of the kernel's own variables those of `_INHERITED` and those that ``round.environment`` names.
    """
    patterns = (*_INHERITED, *config.round.environment)
    named = {name: value for name, value in os.environ.items() if any(fnmatchcase(name, each) for each in patterns)}
    ours = {name: value for name, value in named.items() if name not in identity.GIT_VARIABLES}
    path = ours.get("PATH", os.defpath)
    if _SCRIPTS not in path.split(os.pathsep):
        path = f"{_SCRIPTS}{os.pathsep}{path}"
    return ours | {
        "PATH": path,
        identity.TOWN_VARIABLE: str(root),
        identity.AGENT_ID_VARIABLE: agent.id,
        identity.AGENT_NAME_VARIABLE: agent.name,
        identity.TASK_ID_VARIABLE: task.id if task else "",
        **dict.fromkeys(identity.ROUND_ID_VARIABLES, round_id),
    }
