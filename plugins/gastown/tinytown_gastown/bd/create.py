"""``tt-bd create`` and ``tt-bd q``."""

from __future__ import annotations

from typing import Any

import click
from tinytown.errors import Refused, UsageError
from tinytown_beads.bead import ALL_CHILDREN, ANY_CHILDREN
from tinytown_beads.fields import CHILDREN_EDGE, PARENT_EDGE
from tinytown_beads.patch_record import edge_record

from tinytown_gastown.bd.board import Board, Record, cli_context, stamp_now
from tinytown_gastown.bd.inputs import (
    ASSIGNEE,
    BODY_FILE,
    DESCRIPTION,
    DESIGN_FILE,
    PRIORITY,
    STDIN,
    actor_of,
    clean_input,
    find_agent,
    given_description,
    json_object,
    split_values,
    text_of_file,
    valid_type,
)
from tinytown_gastown.bd.output import Output, common_options, pass_output
from tinytown_gastown.bd.times import parse_moment

_TYPE = click.option("-t", "--type", "issue_type", default="task", help="task, bug, feature, epic, chore, ...")
_LABELS = click.option("-l", "--labels", "--label", "labels", multiple=True, help="Labels, separated by commas.")
#: Texts that go into the record as they are, by their option.
_TEXTS = {
    "design": "design", "acceptance": "acceptance_criteria", "notes": "notes", "external_ref": "external_ref",
    "spec_id": "spec_id", "wisp_type": "wisp_type", "mol_type": "mol_type", "event_kind": "event_kind", "event_actor": "actor",
    "event_target": "target", "event_payload": "payload", "await_type": "await_type", "await_id": "await_id",
}  # fmt: skip


@click.command("create")
@click.argument("title", required=False)
@click.option("--title", "named", help="Its title.")
@DESCRIPTION
@BODY_FILE
@STDIN
@_TYPE
@PRIORITY
@_LABELS
@click.option("--parent", default="", help="The parent issue.")
@click.option("--no-inherit-labels", is_flag=True, help="Do not take over the parent's labels.")
@click.option("--deps", multiple=True, help="Dependencies: ID or TYPE:ID, separated by commas.")
@click.option("--waits-for", default="", metavar="ID", help="Wait for the children of this issue.")
@click.option(
    "--waits-for-gate",
    "gate",
    type=click.Choice([ALL_CHILDREN, ANY_CHILDREN]),
    default=ALL_CHILDREN,
    help="Which of them.",
)
@click.option("--id", "own_id", default="", help="Its id.")
@ASSIGNEE
@click.option("--design", help="Design notes.")
@DESIGN_FILE
@click.option("--acceptance", help="Acceptance criteria.")
@click.option("--notes", "--append-notes", "notes", help="Notes.")
@click.option("--context", help="Context, added to the description.")
@click.option("--skills", help="Skills, added to the description.")
@click.option("--external-ref", help="A reference to another system.")
@click.option("--spec-id", help="The document that specifies it.")
@click.option("-e", "--estimate", type=click.IntRange(0), help="Minutes.")
@click.option("--due", metavar="TIME", help="When it is due: +6h, tomorrow, 2025-01-15.")
@click.option("--defer", metavar="TIME", help="Not before this time.")
@click.option("--metadata", help="A JSON object, or @FILE.")
@click.option("--ephemeral", is_flag=True, help="A wisp: not written to bead files.")
@click.option("--wisp-type", help="The kind of a wisp: heartbeat, patrol, ...")
@click.option("--mol-type", help="The kind of a molecule: swarm, patrol, work.")
@click.option("--event-category", "event_kind", help="The kind of an event.")
@click.option("--event-actor", help="Who caused an event.")
@click.option("--event-target", help="What an event is about.")
@click.option("--event-payload", help="The data of an event.")
@click.option("--rig", "--prefix", "--repo", metavar="NAME", help="Has no effect: a town is one rig.")
@click.option("--no-history", is_flag=True, help="Has no effect: a town keeps its own history.")
@click.option("--force", is_flag=True, help="Has no effect: any prefix is allowed.")
@click.option("--validate", is_flag=True, help="Has no effect.")
@click.option("--silent", is_flag=True, help="Print only the id.")
@click.option("--dry-run", is_flag=True, help="Only show what would be created.")
@common_options
@pass_output
def create(out: Output, /, title: str | None, named: str | None, **given: Any) -> None:
    """Create an issue."""
    create_issue(out, title or named or "", **given)


@click.command("q")
@click.argument("title")
@_TYPE
@PRIORITY
@_LABELS
@common_options
@pass_output
def quick(out: Output, /, title: str, **given: Any) -> None:
    """Create an issue and print only its id."""
    create_issue(out, title, silent=True, **given)


def create_issue(out: Output, title: str, *, silent: bool = False, dry_run: bool = False, **given: Any) -> str:
    """Create an issue from the options of ``create``, or show what would be created; its id. Raises: UsageError; Refused."""
    out.refuse_readonly()
    title = clean_input(title).strip()
    if not title:
        raise UsageError("title required")
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        above = board.find(given["parent"]) if given.get("parent") else ""
        id_ = given.get("own_id") or ("" if dry_run else board.fresh_id(above))
        if id_ in board.records:
            raise Refused(f"issue {id_} already exists")
        record = {"_type": "issue", "id": id_, "title": title, "created_by": actor_of(out, town)}
        record |= _fields(board, **given)
        if above and not given.get("no_inherit_labels"):
            record["labels"] = sorted({*record.get("labels", []), *board.beads[above].labels})
        edges = _edges(board, id_, above, **given)
        record |= {"dependencies": edges} if edges else {}
        if dry_run:
            shape = {key: value for key, value in record.items() if key not in ("_type", "dependencies")}
            lines = [f"  ID: {id_ or '(will be generated)'}", f"  Title: {title}", f"  Type: {record['issue_type']}"]
            lines += [f"  Priority: P{record['priority']}", f"  Status: {record['status']}"]
            out.answer(shape, ["[DRY RUN] Would create issue:", *lines])
            return ""
        assignee = record.get("assignee")
        board.add(record, agent=find_agent(town, assignee) if assignee else "")
        board.load()
        shape = {key: value for key, value in board.shape(id_).items() if key != "dependencies"}
    if silent and not out.json:
        click.echo(id_)
    else:
        out.answer(
            shape,
            [f"✓ Created issue: {id_} - {title}", f"  Priority: P{shape['priority']}", f"  Status: {shape['status']}"],
        )
    return id_


def _fields(board: Board, **given: Any) -> Record:
    """The fields of a new record, without id and edges."""
    now = stamp_now()
    priority = given.get("priority")
    record: Record = {
        "status": "open", "priority": 2 if priority is None else priority,
        "issue_type": valid_type(board, given.get("issue_type") or "task"), "created_at": now, "updated_at": now,
    }  # fmt: skip
    description = given_description(given.get("description"), given.get("body_file"), bool(given.get("stdin")))
    parts = [
        description or "",
        *(f"## {name.title()}\n\n{clean_input(given[name])}" for name in ("context", "skills") if given.get(name)),
    ]
    if text := "\n\n".join(part for part in parts if part):
        record["description"] = text
    if given.get("design_file"):
        record["design"] = text_of_file(given["design_file"])
    record |= {key: clean_input(given[name]) for name, key in _TEXTS.items() if given.get(name)}
    record |= {"assignee": given["assignee"]} if given.get("assignee") else {}
    record |= {} if given.get("estimate") is None else {"estimated_minutes": given["estimate"]}
    record |= {"timeout": given["timeout"]} if given.get("timeout") else {}
    record |= {"metadata": json_object(given["metadata"])} if given.get("metadata") else {}
    record |= {"labels": sorted(set(split_values(given["labels"])))} if given.get("labels") else {}
    record |= {"due_at": parse_moment(given["due"])} if given.get("due") else {}
    if given.get("defer"):
        record |= {"defer_until": parse_moment(given["defer"]), "status": "deferred"}
    return record | ({"ephemeral": True} if given.get("ephemeral") else {})


def _edges(board: Board, id_: str, above: str, **given: Any) -> list[Record]:
    now = board.now
    edges = [edge for word in split_values(given.get("deps") or ()) for edge in [_edge(board, id_, word)]]
    if given.get("waits_for"):
        gate = "" if given["gate"] == ALL_CHILDREN else f":{given['gate']}"
        edges.append(edge_record(id_, board.find(given["waits_for"]), f"{CHILDREN_EDGE}{gate}", now))
    if above:
        edges.append(edge_record(id_, above, PARENT_EDGE, now))
    return edges


def _edge(board: Board, id_: str, word: str) -> Record:
    """The edge that ``TYPE:ID`` names; with the type ``blocks`` the new issue waits for the other one, too."""
    type_, colon, target = word.partition(":")
    if not colon:
        type_, target = "blocks", word
    return edge_record(id_, board.find(target), type_, board.now)
