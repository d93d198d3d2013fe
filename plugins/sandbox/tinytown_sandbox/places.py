"""Which places of a machine are in a box, and how: read-only, writable, out of sight. Looks at files, changes none.

The list of secrets is what common tools keep in a home directory; it can never be complete. `Settings.hide` adds to it.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from tinytown.contracts import Box
from tinytown_adapters import git_directories, read_agent_file

from tinytown_sandbox.settings import Settings

#: ``empty`` is an empty read-only directory, ``blank`` such a file; both are made if there is none.
Access = Literal["hidden", "empty", "blank", "read", "write"]

#: Keys, tokens and sessions, by their paths in the home directory.
SECRETS = (
    # keys
    ".1password", ".bitwarden-ssh-agent.sock",
    ".ssh", ".gnupg", ".pki", ".password-store", ".local/share/keyrings", ".local/share/kwalletd", ".age",
    ".config/age",
    ".config/sops", ".config/op", ".config/Bitwarden", ".config/1Password", ".config/keepassxc", ".bitcoin",
    ".ethereum",
    # clouds and clusters
    ".aws", ".azure", ".config/gcloud", ".config/doctl", ".config/hcloud", ".config/scw", ".config/linode-cli",
    ".oci", ".kube",
    ".config/rclone", ".s3cfg", ".boto", ".terraform.d", ".terraformrc", ".vault-token", ".fly", ".config/heroku",
    ".config/netlify",
    # containers
    ".docker", ".config/containers", ".local/share/containers", ".colima", ".lima", ".rd", ".orbstack",
    # registries, forges, databases
    ".netrc", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pypirc", ".gem/credentials", ".cargo/credentials",
    ".cargo/credentials.toml",
    ".m2/settings.xml", ".m2/settings-security.xml", ".gradle/gradle.properties", ".git-credentials",
    ".config/git/credentials",
    ".config/gh", ".config/glab-cli", ".config/hub", ".pgpass", ".my.cnf", ".mylogin.cnf",
    # browsers and mail
    ".mozilla", ".config/google-chrome", ".config/chromium", ".config/BraveSoftware", ".config/microsoft-edge",
    ".config/vivaldi",
    ".config/opera", ".librewolf", ".waterfox", ".thunderbird", ".config/evolution", ".local/share/evolution",
    ".mutt", ".config/Signal",
    ".config/Slack", ".config/discord", ".local/share/TelegramDesktop", "snap/firefox", "snap/chromium", ".var/app",
    # what a shell remembers, and the display
    ".bash_history", ".zsh_history", ".local/share/fish/fish_history", ".python_history", ".node_repl_history",
    ".psql_history",
    ".mysql_history", ".lesshst", ".Xauthority", ".ICEauthority",
    # macOS
    "Library/Keychains", "Library/Cookies", "Library/Mail", "Library/Messages", "Library/Safari",
    "Library/Application Support/Firefox", "Library/Application Support/Google/Chrome",
    "Library/Application Support/Chromium",
    "Library/Application Support/BraveSoftware", "Library/Application Support/Microsoft Edge",
    "Library/Containers/com.apple.Safari",
)  # fmt: skip

#: What only root may read: no user can, unless the town is run by root.
SYSTEM_SECRETS = (
    "/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/sudoers.d", "/etc/ssl/private",
    "/var/lib/docker", "/var/lib/containerd", "/var/lib/kubelet", "/etc/kubernetes", "/etc/rancher",
    "/sys/kernel/debug", "/sys/kernel/tracing",
)  # fmt: skip

#: Directories that are the box's own, empty at first. Sockets of the machine's services are in ``/run``.
OWN = ("/tmp", "/var/tmp", "/run")
#: What is in them all the same, read-only: name resolution, and programs of NixOS.
SHARED = (
    "/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/resolvconf/resolv.conf",
    "/run/NetworkManager/resolv.conf", "/run/current-system", "/run/opengl-driver", "/run/booted-system",
)  # fmt: skip

#: In directories of coding CLIs that are writable with a person's own login: what the CLI obeys or runs for that person later.
OBEYED = (
    ".claude/settings.json", ".claude/settings.local.json", ".claude/CLAUDE.md", ".claude/agents", ".claude/commands",
    ".claude/hooks", ".claude/plugins", ".claude/skills", ".codex/config.toml", ".codex/AGENTS.md", ".codex/hooks.json",
    ".codex/prompts", ".codex/rules", ".gemini/settings.json", ".gemini/GEMINI.md", ".gemini/commands",
    ".gemini/extensions", ".copilot/mcp-config.json", ".cursor/mcp.json", ".config/opencode", ".augment/settings.json",
)  # fmt: skip
#: Executed by whoever uses git there later, or what leads to it, so out of reach of who may only write files.
_GIT_PROTECTED = ("hooks", "config", "config.worktree", "commondir", "gitdir")
#: Repositories within a repository, of linked worktrees and submodules, with all that.
_GIT_INNER = ("worktrees", "modules")
#: Variables that say where secrets and services are, if not in their usual place.
_SECRETS_ELSEWHERE = (
    "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AZURE_CONFIG_DIR", "CLOUDSDK_CONFIG", "DOCKER_CONFIG", "GNUPGHOME",
    "GOOGLE_APPLICATION_CREDENTIALS", "KUBECONFIG", "NETRC", "NPM_CONFIG_USERCONFIG", "PASSWORD_STORE_DIR", "PGPASSFILE",
    "XAUTHORITY",
    # where services of the person listen: a socket that is opened later is not seen when a box is made
    "XDG_RUNTIME_DIR",
)  # fmt: skip


def accesses(box: Box, settings: Settings, environment: Mapping[str, str]) -> dict[Path, Access]:
    """How each of these places is to be seen; the nearest one above a file decides, and everything else is read-only.

    Places that are not there are left out, and links are resolved.
    """
    chosen: dict[Path, Access] = {}

    def put(access: Access, paths: Iterable[Path | str]) -> None:
        for path in paths:
            with suppress(OSError, RuntimeError, ValueError):
                chosen[Path(path).resolve(strict=True)] = access

    def named(texts: Iterable[str]) -> Iterator[Path]:
        for text in texts:
            yield Path(text).expanduser() if text.startswith("~/") else box.workspace / text

    # Of two that name the same place the later one wins.
    put("hidden", (home / name for home in _homes(environment) for name in SECRETS))
    put("hidden", (place for place in map(os.environ.get, _SECRETS_ELSEWHERE) if place))
    if os.geteuid() == 0:
        put("hidden", [*SYSTEM_SECRETS, *Path("/etc/ssh").glob("ssh_host_*_key")])
    put("read", SHARED)
    git = [path.resolve() for path in git_directories(box.workspace)]
    if box.profile == "write":
        put(
            "write", [box.workspace, *git]
        )  # each a mount of its own, which nobody can rename to put another in its place
        for directory in git:
            put("read", (directory / name for name in (*_GIT_PROTECTED, *_GIT_INNER) if directory / name not in git))
            chosen.setdefault(directory / "hooks", "empty")
            if _has_worktree_settings(directory):
                chosen.setdefault(directory / "config.worktree", "blank")
        for name in _GIT_INNER if git else ():
            chosen.setdefault(git[0] / name, "empty")
    else:
        put("read", [box.workspace, *git])
    put("hidden", box.hidden)
    for path in box.writable:
        put("write", [path])
        with suppress(OSError):  # the kernel writes there, too: nobody must exchange one of these for a link
            below = [entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink()]
            put("write", (entry for entry in below if entry not in box.hidden))
    put("read", (home / name for home in _homes(environment) for name in OBEYED))
    put("read", _programs())
    put("read", box.read_only)
    put("hidden", named(settings.hide))
    put("read", named(settings.show))
    put("write", named(settings.writable))
    return chosen


def _has_worktree_settings(directory: Path) -> bool:
    """Whether git reads a ``config.worktree``, also one that is not there yet."""
    with suppress(OSError):
        return b"worktreeconfig" in read_agent_file(directory / "config").lower()
    return False


def writable_repositories(box: Box) -> list[Path]:
    """The directories of git's own in which a run may write: the workspace's repository, and its part of it."""
    return [*git_directories(box.workspace)] if box.profile == "write" else []


def planted_file(box: Box) -> list[Path]:
    """The file by which a repository passes itself off as that of a linked worktree, to have its settings elsewhere.

    That it is made cannot be prevented: git makes others beside it. Only an agent makes this one there.
    """
    return [directory / "commondir" for directory in writable_repositories(box)[:1]]


def access_to(path: Path, chosen: Mapping[Path, Access]) -> Access:
    """How `path` is seen: as the nearest of the `chosen` places that it is in."""
    for place in (path, *path.parents):
        if place in chosen:
            return chosen[place]
    return "read"


def foreign_sockets(chosen: Mapping[Path, Access]) -> list[Path]:
    """The sockets that somebody listens on and that a box would show: to be read-only keeps nobody from connecting.

    Source: proc_net(5), ``unix``: the fourth field is 00010000 for one that is listened on, the eighth is its path.
    """
    found: set[Path] = set()
    with suppress(OSError), open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as listing:
        for line in listing:
            fields = line.rstrip("\n").split(maxsplit=7)
            if len(fields) == 8 and fields[3] == "00010000" and fields[7].startswith("/"):
                with suppress(OSError):
                    if stat.S_ISSOCK(os.stat(fields[7]).st_mode):
                        found.add(Path(fields[7]).resolve())
    return sorted(path for path in found if access_to(path, chosen) == "read" and not is_own(path))


def temporary_programs(command: Path, environment: Mapping[str, str], chosen: Mapping[Path, Access]) -> list[Path]:
    """What the command needs of the machine's own ``/tmp``, which a box does not have: of files there, programs alone.

    They are the installation of the command, those that PATH leads to, and where this interpreter imports from.
    """
    on_path = [Path(name, "any") for name in environment.get("PATH", "").split(os.pathsep) if os.path.isabs(name)]
    wanted = [installation(program) for program in (command, command.resolve(), *on_path)]
    wanted += [Path(name) for name in sys.path if os.path.isabs(name)]
    return [
        path
        for path in dict.fromkeys([*wanted, *(path.resolve() for path in wanted)])
        if is_own(path) and path.exists() and not any(place in chosen for place in (path, *path.parents))
    ]


def installation(program: Path) -> Path:
    """The directory with all that `program` was installed with, such as a virtual environment; itself if it is alone."""
    modules = [path for path in program.parents if path.name == "node_modules"]
    if modules:
        return modules[-1]
    prefix = program.parent.parent
    is_prefix = program.parent.name == "bin" and any((prefix / name).exists() for name in ("pyvenv.cfg", "lib"))
    return prefix if is_prefix and str(prefix) not in OWN else program


def is_own(path: Path) -> bool:
    """Whether `path` is in a directory that is the box's own."""
    return any(path.is_relative_to(place) for place in OWN)


def _homes(environment: Mapping[str, str]) -> set[Path]:
    """The home directories that secrets may be in: as the system has it, the kernel, and the command."""
    named = [environment.get("HOME"), os.environ.get("HOME")]
    with suppress(KeyError):
        named.append(pwd.getpwuid(os.geteuid()).pw_dir)
    return {Path(home) for home in named if home and home != "/"}


def _programs() -> list[Path]:
    """What the kernel runs from: a workspace that holds it must not change it."""
    ours = [module for name, module in list(sys.modules.items()) if name.startswith("tinytown") and "." not in name]
    packages = [Path(module.__file__).parent for module in ours if module.__file__]
    return [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parent, *packages]
