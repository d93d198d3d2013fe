"""The manual's page on plugins names every hook with its arguments, every contract with its methods, every setting."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import inspect
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tinytown_cli.contracts
import tinytown_mcp.contracts
from tinytown import contracts
from tinytown.contracts import AgentContext, Outcome, PromptParts, Round, Usage, Verdict, WorkContext
from tinytown.hookspecs import HOOK_API
from tinytown.plugin.loader import hook_specs
from tinytown_cli.contracts import Command, Completer, Converted, Finding, SectionContent
from tinytown_mcp.contracts import ToolResult
from tinytown_notify.settings import Rule, Webhook
from tinytown_prompts.hookspecs import ReportingGuide

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "plugins.md").read_text()
HEADINGS = re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE)
CONTRACTS = {
    name: kind
    for module in (contracts, tinytown_cli.contracts, tinytown_mcp.contracts)
    for name, kind in vars(module).items()
    if getattr(kind, "_is_protocol", False) and kind.__module__.startswith("tinytown")
}
PLUGINS = ("shell", "echo", "journal", "notify", "otel", "metrics", "ops", "beads")
#: Tables within the table of a plugin.
TABLES = {"[[plugins.notify.rules]]": Rule, "[[plugins.notify.webhooks]]": Webhook}


def section(heading: str) -> str:
    """What stands below a heading of the third level."""
    _, _, rest = PAGE.partition(f"\n### {heading}\n")
    assert rest, f"there is no heading {heading!r}"
    return re.split(r"\n##", rest, maxsplit=1)[0]


def rows(text: str) -> dict[str, str]:
    """First column -> second column of the tables in a section, for rows that begin with code."""
    return {
        first: second.strip("`") for first, second in re.findall(r"^\| `([^`|]+)` \| ([^|]*?) \|", text, re.MULTILINE)
    }


def test_the_headings_about_hooks_are_the_hooks_with_their_exact_arguments() -> None:
    reported = [heading for heading in HEADINGS if heading.startswith("tinytown_")]
    assert reported == [f"{name}({', '.join(arguments)})" for name, arguments in hook_specs().arguments.items()]


def test_the_page_says_the_version_of_the_hooks() -> None:
    assert f"TINYTOWN_HOOK_API = {HOOK_API}\n" in PAGE


def test_every_contract_has_a_heading() -> None:
    assert {"AgentBackend", "AgentSession", "Service"} <= set(CONTRACTS)
    assert set(CONTRACTS) <= set(HEADINGS)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_contract_is_told_with_its_methods_and_their_arguments(name: str) -> None:
    kind, text = CONTRACTS[name], section(f"`{name}`")
    methods = {
        f"{each}({', '.join(list(inspect.signature(function).parameters)[1:])})": inspect.iscoroutinefunction(function)
        for each, function in vars(kind).items()
        if inspect.isfunction(function) and not each.startswith("_")
    }
    reported = dict(re.findall(r"^- `(\w+\(.*?\))`: (`async`)?", text, re.MULTILINE))
    assert {each: bool(is_async) for each, is_async in reported.items()} == methods
    attributes = inspect.get_annotations(kind)
    listed = re.findall(r"^- (.*)", text, re.MULTILINE)
    assert [each for each in attributes if not any(f"`{each}`" in line for line in listed)] == []


@pytest.mark.parametrize(
    ("name", "kind"), [("AgentBackend", AgentContext), ("AgentSession", Round), ("Gate", WorkContext)]
)
def test_what_a_session_is_given_is_told_field_by_field(name: str, kind: type[Any]) -> None:
    assert list(rows(section(f"`{name}`"))) == [field.name for field in dataclasses.fields(kind)]


def test_the_outcomes_are_told_with_their_fields() -> None:
    reported = {name: fields.replace("`", "").split(", ") for name, fields in rows(section("Outcomes")).items()}
    assert reported == {kind.__name__: list(kind.__struct_fields__) for kind in Outcome.__args__}


@pytest.mark.parametrize(
    "kind",
    [Usage, Converted, Verdict, Command, Completer, Finding, SectionContent, PromptParts, ReportingGuide, ToolResult],
)
def test_small_values_are_told_with_their_fields(kind: type[Any]) -> None:
    names = [*inspect.get_annotations(kind)]
    paragraphs = [each for each in re.split(r"\n\n|\n- ", PAGE) if f"`{kind.__name__}" in each]
    assert any(all(re.search(rf"\b{name}\b", each) for name in names) for each in paragraphs)


@pytest.mark.parametrize("name", PLUGINS)
def test_every_setting_of_a_plugin_of_ours_is_told_with_its_default(name: str) -> None:
    (entry_point,) = importlib.metadata.entry_points(group="tinytown", name=name)
    kind = entry_point.load().tinytown_settings_type()
    assert rows(section(f"`[plugins.{name}]`")) == defaults(kind)


@pytest.mark.parametrize("heading", TABLES)
def test_every_setting_of_a_table_within_one_is_told_with_its_default(heading: str) -> None:
    assert rows(section(f"`{heading}`")) == defaults(TABLES[heading])


def defaults(kind: type[Any]) -> dict[str, str]:
    """The keys of a table, with what they are if they are left out."""
    reported: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        reported[field.name] = "required" if field.required else msgspec.json.encode(default).decode()
    return reported


def test_the_example_of_the_page_is_a_plugin() -> None:
    source, *_ = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(source, "plugins.md", "exec"), namespace)
    assert namespace["tinytown_prompt_sections"](None, None) == ["## House rules\n\nCommit early."]
    assert importlib.import_module("tinytown.hookspecs").hookimpl is namespace["hookimpl"]
