"""``tt-bd audit``: what an agent did with a model or a tool, as events of the town."""

from __future__ import annotations

import secrets

import click
from tinytown.errors import UsageError
from tinytown.model.text import shown

from tinytown_gastown.bd.board import cli_context
from tinytown_gastown.bd.inputs import actor_of
from tinytown_gastown.bd.output import Output, common_options, pass_output

_TEXT = 2_000


@click.group("audit")
@common_options
def audit() -> None:
    """Record what agents do; tt events shows it."""


@audit.command("record")
@click.option("--kind", help="llm_call, tool_call, label, ...")
@click.option("--model", default="", help="The model.")
@click.option("--prompt", default="", help="What it was asked.")
@click.option("--response", default="", help="What it answered.")
@click.option("--tool-name", default="", help="The tool.")
@click.option("--exit-code", type=int, help="How the tool ended.")
@click.option("--error", default="", help="What went wrong.")
@click.option("--issue-id", default="", help="The issue that it is about.")
@common_options
@pass_output
def record(
    out: Output,
    kind: str | None,
    model: str,
    prompt: str,
    response: str,
    tool_name: str,
    exit_code: int | None,
    error: str,
    issue_id: str,
) -> None:
    """Record a call of a model or a tool."""
    if not kind:
        raise UsageError("--kind is required")
    said = {
        "kind": kind, "model": model, "prompt": prompt, "response": response, "tool": tool_name, "error": error,
        "issue": issue_id, "exit_code": "" if exit_code is None else str(exit_code),
    }  # fmt: skip
    _emit(out, "bd_interaction", f"int-{secrets.token_hex(4)}", said)


@audit.command("label")
@click.argument("id_", metavar="ID")
@click.option("--label", required=True, help="good, bad, ...")
@click.option("--reason", default="", help="Why.")
@common_options
@pass_output
def label(out: Output, id_: str, label: str, reason: str) -> None:
    """Label a recorded interaction."""
    _emit(
        out, "bd_interaction_labelled", f"int-{secrets.token_hex(4)}", {"about": id_, "label": label, "reason": reason}
    )


def _emit(out: Output, type_: str, id_: str, said: dict[str, str]) -> None:
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        members = {name: shown(value, _TEXT) for name, value in said.items() if value}
        town.run(town.operations.emit(type_, {"interaction": id_, "actor": actor_of(out, town), **members}))
    out.answer({"id": id_}, id_)
