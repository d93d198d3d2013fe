"""From ``tinytown.toml``, the user's ``config.toml`` and the environment to frozen structs, and where a town is.

The town's file decides, the user's file fills what it leaves open, the environment overrides both. Unknown keys and
wrong types are errors that name the key. Nothing here talks to a server.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from tinytown.errors import ConfigError, NotFound, UsageError
from tinytown.model.ids import check_agent_name, check_label, check_town_name, check_word
from tinytown.model.messages import DEFAULT_MESSAGE_LIMIT_BYTES
from tinytown.model.text import check_text, shown

CONFIG_FILE = "tinytown.toml"

#: Overrides ``redis.url``.
URL_VARIABLE = "REDIS_URL"
#: Gives the password of ``redis.url`` without writing it into a file.
PASSWORD_VARIABLE = "TINYTOWN_REDIS_PASSWORD"
#: Overrides ``host.labels``: labels of this machine, with commas between them.
LABELS_VARIABLE = "TINYTOWN_HOST_LABELS"
#: Overrides ``~/.config/tinytown``, the directory of the user's own settings.
HOME_VARIABLE = "TINYTOWN_HOME"
#: Names of plugins that are not imported, separated by commas; ``*`` means all. Adds to ``blocked_plugins``.
BLOCK_VARIABLE = "TINYTOWN_BLOCK"

#: What a role may say: it goes into every prompt.
_ROLE_TEXT_BYTES = 20_000

T = TypeVar("T", bound=msgspec.Struct)

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000_000)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)]
Dollars: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)]
Tokens: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
BatchSize: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=100)]
Wake: TypeAlias = Literal["always", "work", "never"]
#: ``read`` changes nothing, ``write`` changes files in its workspace only, ``full`` does what the user can do.
Permissions: TypeAlias = Literal["read", "write", "full"]


class RedisConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[redis]``: which server. Without `url` the town has an embedded one among its state.

    ``durability``: ``safe`` has every write on disk before it is acknowledged; ``fast`` may lose the last seconds in a crash.
    """

    url: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    durability: Literal["safe", "fast"] = "safe"


class StateConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[state]``: where the town's state is, see `tinytown.state`, and how many snapshots of it are kept.

    `directory` is relative to the town's root. With `snapshots` of 0 none are taken, else one every `snapshot_every_s`
    seconds and one when the kernel ends.
    """

    directory: str | None = None
    snapshots: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 7
    snapshot_every_s: Annotated[float, msgspec.Meta(ge=1, le=1_000_000_000_000)] = 3600.0


class RoundConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[round]``: bounds of one run of an agent. Times in seconds; 0 means no limit.

    ``completion``: with ``auto`` a round that ends well submits its task with the final text; with ``explicit`` the
    agent has to say so itself, and is reminded up to `reminders` times. An agent that is idle for `idle_timeout_s` sleeps:
    its session is closed and it takes no host's place until there is something to do for it; 0 is never. Of the kernel's
    environment rounds get what tools need, and what the names or patterns (``AWS_*``) in `environment` allow.
    """

    timeout_s: Seconds = 3600.0
    silence_s: Seconds = 0.0
    grace_s: Seconds = 3.0
    max_attempts: Count = 3
    lineage_attempts: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 0
    retry_delay_s: Seconds = 2.0
    completion: Literal["auto", "explicit"] = "auto"
    reminders: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 2
    notes: Count = 20
    interrupt_on_urgent: bool = False
    environment: tuple[str, ...] = ()
    idle_timeout_s: Seconds = 0.0


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[limits]``: bounds that keep a town from growing for ever. Names end in their unit; `chatter` is of rounds, 0 none."""

    message_bytes: Count = DEFAULT_MESSAGE_LIMIT_BYTES
    mailbox_messages: Count = 10_000
    max_deliveries: Count = 5
    dead_letters: Count = 1_000
    rounds_kept: Count = 50
    trace_ttl_s: Count = 3_600
    finished_tasks: Count = 10_000
    finished_days: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 30.0
    events: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000
    costs_days: Count = 90
    chatter: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 20
    log_bytes: Count = 50 << 20
    disk_reserve_bytes: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 64 << 20


class AgentCli(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[agent_clis.NAME]``: a command that agents of this kind run, with the prompt on stdin or in a file.

    A command given as text is split like a shell does, but no shell runs it. ``{prompt_file}`` in it becomes the path
    of the prompt; ``workdir`` is relative to the town's root; ``timeout_s`` of 0 takes the town's, and so does no
    ``idle_timeout_s``. Kinds with the same ``account`` wait together when one of them is throttled.
    """

    command: str | tuple[str, ...]
    env: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    workdir: str | None = None
    timeout_s: Seconds = 0.0
    idle_timeout_s: Seconds | None = None
    prompt: Literal["stdin", "file"] = "stdin"
    account: str | None = None
    permissions: Permissions | None = None


class RoleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[roles.NAME]``: a role of the town, or changes to a built-in one. `cli` and `tags` are defaults for its agents."""

    purpose: str | None = None
    instructions: str | None = None
    tags: tuple[str, ...] | None = None
    cli: str | None = None
    authority: Literal["agent", "conductor"] | None = None


class WakeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[wake]``: which mail starts a round, by its sender, else by role or kind of the agent it is for; receipts never do.

    ``work``, the default: orders, questions and what is urgent. ``always``: information, too. ``never``: orders only.
    """

    senders: dict[str, Wake] = msgspec.field(default_factory=dict[str, Wake])
    roles: dict[str, Wake] = msgspec.field(default_factory=dict[str, Wake])
    kinds: dict[str, Wake] = msgspec.field(default_factory=dict[str, Wake])


class BatchConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[batch]``: how many tasks an agent takes into one round, by its role, else by its kind; one, unless named here."""

    roles: dict[str, BatchSize] = msgspec.field(default_factory=dict[str, BatchSize])
    kinds: dict[str, BatchSize] = msgspec.field(default_factory=dict[str, BatchSize])


class HostConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[host]``: what a kernel publishes about its machine. Agents may require its labels."""

    labels: tuple[str, ...] = ()


class RateConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[rates.KIND]``: dollars per million tokens, in place of what a backend reports.

    Without ``cached_usd_per_mtok``, cached input costs as much as other input.
    """

    input_usd_per_mtok: Dollars
    output_usd_per_mtok: Dollars
    cached_usd_per_mtok: Dollars | None = None


class AgentBudget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[budgets.agents.NAME]``: what one agent may spend, in place of ``agent_usd`` and ``agent_tokens``."""

    usd: Dollars | None = None
    tokens: Tokens | None = None


class BudgetsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[budgets]``: what may be spent, in dollars and in tokens without those from a cache. None is no limit.

    A round that begins reserves ``reserve_usd`` and ``reserve_tokens`` of the town's and the day's budget until it ends.
    """

    town_usd: Dollars | None = None
    day_usd: Dollars | None = None
    agent_usd: Dollars | None = None
    task_usd: Dollars | None = None
    town_tokens: Tokens | None = None
    day_tokens: Tokens | None = None
    agent_tokens: Tokens | None = None
    task_tokens: Tokens | None = None
    reserve_usd: Dollars = 0.5
    reserve_tokens: Tokens = 50_000
    agents: dict[str, AgentBudget] = msgspec.field(default_factory=dict[str, AgentBudget])

    @property
    def server_numbers(self) -> dict[str, int]:
        """What the server-side functions hold, by the names they know it under: money in millionths of a dollar."""
        numbers = msgspec.structs.asdict(self)
        for agent, own in numbers.pop("agents").items():
            numbers |= {f"agent_usd {agent.lower()}": own.usd, f"agent_tokens {agent.lower()}": own.tokens}
        numbers = {name: number for name, number in numbers.items() if number is not None}
        if all(name.startswith("reserve_") for name in numbers):
            return {}
        return {name: round(number * 1_000_000) if "_usd" in name else number for name, number in numbers.items()}


_SERVER_LIMITS = "message_bytes mailbox_messages max_deliveries dead_letters rounds_kept trace_ttl_s".split()


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A town's settings. ``plugins`` holds one table per plugin, read by the plugin's own settings type.

    `id` names the town's state, see `tinytown.state`; ``tt init`` makes one.
    """

    name: str
    id: str = ""
    default_cli: str | None = None
    permissions: Permissions | None = None
    max_agents: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    lease_s: Annotated[float, msgspec.Meta(ge=0.2, le=3600)] = 10.0
    drain_s: Seconds = 10.0
    capacity: Count = 10_000
    auto_claim: bool | Literal["tagged"] = True
    strict_plugins: bool = False
    blocked_plugins: tuple[str, ...] = ()
    allowed_plugins: tuple[str, ...] | None = None
    required_plugins: tuple[str, ...] = ()
    state: StateConfig = StateConfig()
    redis: RedisConfig = RedisConfig()
    round: RoundConfig = RoundConfig()
    limits: LimitsConfig = LimitsConfig()
    host: HostConfig = HostConfig()
    budgets: BudgetsConfig = BudgetsConfig()
    rates: dict[str, RateConfig] = msgspec.field(default_factory=dict[str, RateConfig])
    agent_clis: dict[str, AgentCli] = msgspec.field(default_factory=dict[str, AgentCli])
    roles: dict[str, RoleConfig] = msgspec.field(default_factory=dict[str, RoleConfig])
    wake: WakeConfig = WakeConfig()
    batch: BatchConfig = BatchConfig()
    plugins: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict[str, dict[str, Any]])

    def blocking(self, plugin: str) -> str:
        """Why a plugin is not imported, by the settings or `BLOCK_VARIABLE`; empty if it is."""
        blocked = {*self.blocked_plugins, *map(str.strip, os.environ.get(BLOCK_VARIABLE, "").split(","))}
        if blocked & {plugin, "*"}:
            return f"by blocked_plugins or {BLOCK_VARIABLE}"
        is_allowed = self.allowed_plugins is None or plugin in self.allowed_plugins
        return "" if is_allowed else "it is not among allowed_plugins"

    @property
    def server_settings(self) -> dict[str, int | str]:
        """The bounds and rules that the server-side functions hold, by the names they know them under."""
        return {name: getattr(self.limits, name) for name in _SERVER_LIMITS} | {
            "max_agents": self.max_agents,
            "auto_claim": 2 if self.auto_claim == "tagged" else int(self.auto_claim),
            "lineage_attempts": self.round.lineage_attempts,
            "wake": msgspec.json.encode(self.wake).decode(),
        }

    def tasks_per_round(self, role: str | None, kind: str) -> int:
        """How many tasks an agent may take into one round."""
        return self.batch.roles.get(role or "") or self.batch.kinds.get(kind, 1)

    def idle_timeout_s(self, kind: str) -> float:
        """After how many idle seconds an agent of this kind sleeps; inf when it never does."""
        named = self.agent_clis.get(kind)
        own = None if named is None else named.idle_timeout_s
        return (self.round.idle_timeout_s if own is None else own) or float("inf")


class UserConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``~/.config/tinytown/config.toml``: a person's defaults for every town."""

    default_cli: str | None = None
    redis: RedisConfig | None = None
    host: HostConfig | None = None
    agent_clis: dict[str, AgentCli] = msgspec.field(default_factory=dict[str, AgentCli])
    plugins: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict[str, dict[str, Any]])


def user_directory() -> Path:
    """Where a person's own settings lie: ``$XDG_CONFIG_HOME/tinytown`` unless TINYTOWN_HOME says otherwise.

    ``~/.tt`` is the directory of Tinytown 0.10, whose settings are others.
    """
    config = os.environ.get("XDG_CONFIG_HOME", "")
    home = config if os.path.isabs(config) else os.path.expanduser("~/.config")
    return Path(os.environ.get(HOME_VARIABLE) or os.path.join(home, "tinytown"))


def load_config(root: Path) -> Config:
    """The settings of the town at `root`.

    Raises: NotFound without a file; ConfigError, naming the line or the key, for one that cannot be read or is wrong.
    """
    path = root / CONFIG_FILE
    table = _read_toml(path)
    if table is None:
        raise NotFound(f"no town in {root}: no {CONFIG_FILE}", hint="tt init makes one")
    return read_config(table, path)


def read_config(table: Mapping[str, Any], path: Path) -> Config:
    """The settings of a town whose file at `path` holds, or is to hold, `table`. Raises ConfigError like `load_config`."""
    user = load_user_config()
    config = convert_settings(Config, table, path)
    _check(config, path)
    names = user.plugins | config.plugins
    plugins = {name: user.plugins.get(name, {}) | config.plugins.get(name, {}) for name in names}
    merged: dict[str, Any] = {"agent_clis": user.agent_clis | config.agent_clis, "plugins": plugins}
    if user.default_cli and "default_cli" not in table:
        merged["default_cli"] = user.default_cli
    redis = config.redis if "redis" in table else user.redis or config.redis
    if os.environ.get(URL_VARIABLE):
        redis = msgspec.structs.replace(redis, url=os.environ[URL_VARIABLE])
    return msgspec.structs.replace(config, redis=redis, host=_host(config, table, user), **merged)


def _host(config: Config, table: Mapping[str, Any], user: UserConfig) -> HostConfig:
    """The labels of this machine. Raises: UsageError for an invalid label."""
    host = config.host if "host" in table else user.host or config.host
    if LABELS_VARIABLE in os.environ:
        named = os.environ[LABELS_VARIABLE].split(",")
        host = HostConfig(labels=tuple(label.strip() for label in named if label.strip()))
    for label in host.labels:
        check_label(label)
    return host


def load_user_config() -> UserConfig:
    """A person's own settings; the defaults when there is no file. Raises ConfigError like `load_config`."""
    path = user_directory() / "config.toml"
    table = _read_toml(path)
    return UserConfig() if table is None else convert_settings(UserConfig, table, path)


def _read_toml(path: Path) -> dict[str, Any] | None:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        why = f"cannot read {path}: {error.strerror}"
        raise ConfigError(why, hint="check its owner and mode", path=str(path)) from error
    try:
        return tomllib.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})", path=str(path)) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", hint="fix that line", path=str(path)) from error


def convert_settings(kind: type[T], table: Mapping[str, Any], path: Path, prefix: str = "") -> T:
    """`table` of the file at `path` as a `kind`. Raises: ConfigError with the key, led by `prefix` (``plugins.journal``)."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        table_key = _name_entry(kind, table, where.strip("`").removeprefix("$").removeprefix("."))
        unknown = what.partition("unknown field `")[2].rstrip("`")
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind)) if not table_key else ""
        place = ".".join(part for part in (prefix, table_key, unknown) if part)
        raise ConfigError(
            f"{path}: {'unknown key' if unknown else what}" + (f" at {place}" if place else ""),
            hint=f"known here: {known}" if unknown and known else "",
            path=str(path),
            key=place,
        ) from error


def _name_entry(kind: type[msgspec.Struct], table: Mapping[str, Any], key: str) -> str:
    """The `key` of an error with the name of the table in it, where msgspec says ``roles[...]``."""
    section, unnamed, rest = key.partition("[...]")
    if unnamed and isinstance(table.get(section), dict):
        for name, entry in table[section].items():
            try:
                msgspec.convert({**table, section: {name: entry}}, kind)
            except msgspec.ValidationError:
                return f"{section}.{shown(name)}{rest}"
    return key


def _check(config: Config, path: Path) -> None:
    """What types alone cannot check."""
    with _blaming(path, "name"):
        check_town_name(config.name)
    if config.id:
        with _blaming(path, "id"):
            check_town_name(config.id)
    for kind, cli in config.agent_clis.items():
        with _blaming(path, f"agent_clis.{shown(kind)}.command"):
            check_agent_name(kind)
            if not "".join(cli.command).strip():
                raise UsageError("expected a command")
    for name, role in config.roles.items():
        with _blaming(path, f"roles.{shown(name)}"):
            check_word("role", name)
            for tag in role.tags or ():
                check_word("tag", tag)
            if role.cli is not None:
                check_agent_name(role.cli)
            for what, text in (("purpose", role.purpose), ("instructions", role.instructions)):
                if text:
                    check_text(f"the {what} of a role", text, _ROLE_TEXT_BYTES)


@contextmanager
def _blaming(path: Path, key: str) -> Generator[None]:
    """Name the place of an invalid value. Raises: ConfigError."""
    try:
        yield
    except UsageError as error:
        raise ConfigError(f"{path}: {error.message} at {key}", hint=error.hint, path=str(path), key=key) from error
