"""The manual's page on configuration says every key with its default, and nothing that does not exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tinytown import config
from tinytown.config import (
    AgentBudget,
    AgentCli,
    BatchConfig,
    BudgetsConfig,
    Config,
    HostConfig,
    LimitsConfig,
    RateConfig,
    RedisConfig,
    RoleConfig,
    RoundConfig,
    StateConfig,
    UserConfig,
    WakeConfig,
)

#: Objects on the pages for programmers, whose members have names of settings.
OBJECTS = {"town", "tinytown", "tinytown_prompts"}
PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text()
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "## The town": Config,
    "## `[state]`": StateConfig,
    "## `[redis]`": RedisConfig,
    "## `[round]`": RoundConfig,
    "## `[limits]`": LimitsConfig,
    "## `[host]`": HostConfig,
    "## `[budgets]`": BudgetsConfig,
    "## `[budgets.agents.NAME]`": AgentBudget,
    "## `[rates.KIND]`": RateConfig,
    "## `[agent_clis.NAME]`": AgentCli,
    "## `[roles.NAME]`": RoleConfig,
    "## `[wake]`": WakeConfig,
    "## `[batch]`": BatchConfig,
    "## The user's file": UserConfig,
}
OWN_SECTIONS = {
    "state",
    "host",
    "budgets",
    "rates",
    "agents",
    "redis",
    "round",
    "limits",
    "agent_clis",
    "roles",
    "plugins",
    "wake",
    "batch",
}


def rows(heading: str) -> dict[str, str]:
    """Key -> what stands in the second column, of the table below a heading."""
    section = PAGE.split(heading + "\n", 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `([a-zA-Z_]+)` \| ([^|]*?) \|", section, re.MULTILINE))


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_lists_exactly_the_keys_that_exist(heading: str) -> None:
    kind = SECTIONS[heading]
    keys = set(kind.__struct_fields__) - (set() if kind in (UserConfig, WakeConfig, BatchConfig) else OWN_SECTIONS)
    assert set(rows(heading)) == keys


@pytest.mark.parametrize("heading", [heading for heading, kind in SECTIONS.items() if kind is not UserConfig])
def test_a_default_on_the_page_is_the_default_in_the_code(heading: str) -> None:
    reported = rows(heading)
    for field in msgspec.structs.fields(SECTIONS[heading]):
        if field.name not in reported:
            continue
        default: Any = field.default
        if default is msgspec.NODEFAULT:
            expected = "required" if field.required else "{}"
        elif default is None:
            expected = "none"
        elif isinstance(default, str):
            expected = f'"{default}"'
        elif isinstance(default, bool):
            expected = str(default).lower()
        else:
            expected = "[]" if default == () else str(default)
        assert reported[field.name].strip("`") == expected, field.name


def test_the_manual_names_no_setting_that_does_not_exist() -> None:
    tables = {
        field.name: {key.name for key in msgspec.structs.fields(field.type)}
        for field in msgspec.structs.fields(Config)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
    }
    keys = set[str]().union(*tables.values())
    root = Path(__file__).parents[2]
    pages = [
        root / "README.md",
        *(page for page in root.glob("docs/*.md") if page.name != "extend.md"),
        *root.glob("docs/reference/*.md"),
        *root.glob("plugins/*/README.md"),
    ]
    wrong = [
        f"{page.name}: {table}.{key}"
        for page in pages
        for table, key in re.findall(r"`([a-z_]+)\.([a-z_]+)`", page.read_text())
        if (table in tables and key not in tables[table]) or (table not in {*tables, *OBJECTS} and key in keys)
    ]
    assert wrong == []


def test_every_environment_variable_that_the_code_reads_is_on_the_page() -> None:
    core = Path(config.__file__).parent
    named = set[str]()
    for path in [*core.rglob("*.py"), *(Path(__file__).parents[2] / "plugins").glob("*/tinytown_*/*.py")]:
        named |= set(re.findall(r"\b(TINYTOWN_[A-Z_]+[A-Z]|REDIS_URL|NO_COLOR)\b", path.read_text()))
    named -= {
        "TINYTOWN_HOOK_API",
        "TINYTOWN_FAULT",
    }  # no variables: the name of a constant, and what some of tests begin with
    missing = {name for name in named if f"`{name}`" not in PAGE}
    assert not missing
