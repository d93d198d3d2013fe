"""``tt-bd create`` and ``tt-bd q``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec
from tinytown.errors import Refused, UsageError

from tinytown_gastown.bd.board import Board, Record, cli_context, stamp_now
from tinytown_gastown.bd.inputs import (
    ASSIGNEE,
    DESCRIPTION,
    PRIORITY,
    actor_of,
    clean_input,
    find_agent,
    split_values,
)
from tinytown_gastown.bd.output import Output, common_options, pass_output


@click.command("create")
@click.argument("title", required=False)
@click.option("--title", "named", help="Its title.")
@DESCRIPTION
@click.option("-t", "--type", "issue_type", default="task", help="task, bug, feature, epic, chore, ...")
@PRIORITY
@click.option("-l", "--labels", multiple=True, help="Labels, separated by commas.")
@click.option("--parent", default="", help="The parent issue.")
@click.option("--deps", multiple=True, help="Dependencies: ID or TYPE:ID, separated by commas.")
@click.option("--id", "own_id", default="", help="Its id.")
@ASSIGNEE
@click.option("--design", help="Design notes.")
@click.option("--acceptance", help="Acceptance criteria.")
@click.option("--notes", help="Notes.")
@click.option("--external-ref", help="A reference to another system.")
@click.option("-e", "--estimate", type=click.IntRange(0), help="Minutes.")
@click.option("--metadata", help="A JSON object.")
@click.option("--silent", is_flag=True, help="Print only the id.")
@common_options
@pass_output
def create(out: Output, /, title: str | None, named: str | None, silent: bool, **given: Any) -> None:
    """Create an issue."""
    _create(out, title or named or "", silent=silent, **given)


@click.command("q")
@click.argument("title")
@click.option("-t", "--type", "issue_type", default="task", help="task, bug, feature, epic, chore, ...")
@PRIORITY
@click.option("-l", "--labels", multiple=True, help="Labels, separated by commas.")
@common_options
@pass_output
def quick(out: Output, /, title: str, **given: Any) -> None:
    """Create an issue and print only its id."""
    _create(out, title, silent=True, **given)


def _create(out: Output, title: str, *, silent: bool, issue_type: str, priority: int | None, labels: Sequence[str],
            parent: str = "", deps: Sequence[str] = (), own_id: str = "", assignee: str | None = None,
            metadata: str | None = None, estimate: int | None = None, **texts: str | None) -> None:  # fmt: skip
    out.refuse_readonly()
    title = clean_input(title).strip()
    if not title:
        raise UsageError("title required")
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        above = board.find(parent) if parent else ""
        id_ = own_id or board.fresh_id(above)
        if id_ in board.records:
            raise Refused(f"issue {id_} already exists")
        now = stamp_now()
        record: Record = {
            "_type": "issue", "id": id_, "title": title, "status": "open",
            "priority": 2 if priority is None else priority, "issue_type": issue_type, "created_at": now,
            "created_by": actor_of(out, town), "updated_at": now,
        }  # fmt: skip
        names = {"acceptance": "acceptance_criteria"}
        record |= {names.get(key, key): clean_input(value) for key, value in texts.items() if value}
        record |= {"assignee": assignee} if assignee else {}
        record |= {} if estimate is None else {"estimated_minutes": estimate}
        record |= {"metadata": _object(metadata)} if metadata else {}
        record |= {"labels": sorted(set(split_values(labels)))} if labels else {}
        edges = [_edge(board, id_, word, now) for word in split_values(deps)]
        if above:
            edges.append({"issue_id": id_, "depends_on_id": above, "type": "parent-child", "created_at": now})
        record |= {"dependencies": edges} if edges else {}
        board.add(record, agent=find_agent(town, assignee) if assignee else "")
        board.load()
        shape = board.shape(id_)
    if silent and not out.json:
        click.echo(id_)
    else:
        out.answer(shape, f"Created issue: {id_} - {title}")


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"invalid metadata: expected a JSON object: {error}") from error


def _edge(board: Board, id_: str, word: str, now: str) -> Record:
    type_, colon, target = word.partition(":")
    if not colon:
        type_, target = "blocks", word
    return {"issue_id": id_, "depends_on_id": board.find(target), "type": type_, "created_at": now}
