"""What concerns the tracker and not an issue: prime, config, version, where, and commands of bd that have nothing to do here."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from typing import Any

import click
from tinytown.errors import NotFound
from tinytown_beads.fields import CORE_TYPES, GASTOWN_TYPES, STATUSES
from tinytown_beads.ready import ready

from tinytown_gastown.bd.board import CONFIG, Board, cli_context
from tinytown_gastown.bd.inputs import clean_input
from tinytown_gastown.bd.memory import all_notes
from tinytown_gastown.bd.output import MORE_WORDS, Output, common_options, pass_output
from tinytown_gastown.bd.texts import line_of
from tinytown_gastown.bd.wisps import DATA
from tinytown_gastown.formulas.commands import cooked_formula
from tinytown_gastown.formulas.library import FormulaLibrary, Found

#: The version of bd whose commands and JSON these are.
ANSWERS_AS = "1.0.5"

#: Commands that succeed and do nothing, with the reason.
WITHOUT_EFFECT: dict[str, str] = {
    "dolt": "the town keeps its issues on its server; nothing to push, pull or commit",
    "sync": "the town keeps its issues on its server; tt beads sync syncs a bead file",
    "init": "issues are the tasks of this town; nothing to initialize",
    "bootstrap": "issues are the tasks of this town; nothing to bootstrap",
    "migrate": "issues are the tasks of this town; nothing to migrate",
    "setup": "agents of a town have their instructions in their prompts; nothing to set up",
    "onboard": "agents of a town have their instructions in their prompts; tt-bd prime prints them",
    "hooks": "a town needs no git hooks",
    "doctor": "tt doctor checks the town",
    "daemon": "there is no daemon; the town's kernel is tt start",
    "daemons": "there is no daemon; the town's kernel is tt start",
    "backup": "tt save keeps a town in git",
    "compact": "the town removes old finished tasks by itself",
    "flush": "nothing is buffered",
    "vc": "the town keeps its history itself: tt events, tt history",
    "ship": "labels and events are there at once; nothing to ship",
    "admin": "the town removes old finished tasks by itself",
    "quickstart": "tt-bd prime prints how to work with issues",
    "preflight": "gates of the town check work before it is completed",
}

_ABOUT_TYPES: dict[str, str] = {
    "bug": "Something that does not work",
    "feature": "New behavior",
    "task": "Any work (the default)",
    "epic": "Work that is divided into children",
    "chore": "Maintenance",
    "decision": "A decision and its reasons",
    "message": "A message between agents",
    "molecule": "A formula at work",
    "gate": "What work waits for besides other work",
    "spike": "An investigation with a limit",
    "story": "What a user wants to do",
    "milestone": "A point to reach, without work of its own",
    "event": "Something that happened",
}

_PRIME = """\
# Issues of the town {town}

`tt-bd` (often `alias bd=tt-bd`) has the commands of bd. Issues are the tasks of the town; the work of a round is assigned to you.

- Find work: `bd ready`, `bd list --status=open`, `bd show ID`, `bd blocked`
- Create work: `bd create "Title" -t task -p 2 -d "What and why"`, `--parent ID`, `--deps ID`; priorities are 0 (critical) to 4
- While you work: `bd update ID --claim`, `--append-notes TEXT`, `bd comment ID TEXT`, `bd dep add ID NEEDS-ID`
- Steps of your own: `bd mol wisp FORMULA`, `bd mol current`, `bd close STEP --continue`, `bd mol squash ID --summary TEXT`
- When you are done: `bd close ID -r "What was done"`; what is left to do becomes an issue of its own
- For later rounds: `bd remember "a fact"`, `bd memories`

Nothing has to be pushed or synced: every change is on the town's server at once.
"""


@click.command("prime", context_settings=MORE_WORDS)
@click.option("--full", "--mcp", "--stealth", "--export", "full", is_flag=True, help="Has no effect.")
@click.option("--memories-only", is_flag=True, help="Only the memories.")
@click.option("--hook-json", is_flag=True, help="As the answer of a hook of a coding CLI.")
@common_options
@pass_output
def prime(out: Output, full: bool, memories_only: bool, hook_json: bool) -> None:
    """Print how to work with issues, the memories, and what is ready."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        parts = [] if memories_only else [_PRIME.format(town=town.config.name)]
        if notes := all_notes(town):
            parts.append(
                "\n\n".join(["## Memories", *(f"### {key}\n{note.text}" for key, note in sorted(notes.items()))])
            )
        if not memories_only:
            found = ready(board.beads, board.now)[:10]
            parts.append(
                "\n".join(
                    ["## Ready", "", *(f"- {line_of(board, bead.id)}" for bead in found)]
                    if found
                    else ["Nothing is ready."]
                )
            )
    text = "\n\n".join(part.strip() for part in parts)
    if hook_json:
        out.json = True
        out.answer({"hookSpecificOutput": {"hookEventName": "SessionStart", "additionalContext": text}}, "")
    else:
        out.answer({"text": text}, text.splitlines())


@click.command("version", context_settings=MORE_WORDS)
@common_options
@pass_output
def version(out: Output) -> None:
    """Print the version of bd whose commands these are, and ours."""
    own = installed_version("tinytown-gastown")
    out.answer(
        {"version": ANSWERS_AS, "build": "tinytown", "tinytown": own},
        f"bd version {ANSWERS_AS} (tt-bd of tinytown-gastown {own})",
    )


@click.command("where", context_settings=MORE_WORDS)
@common_options
@pass_output
def where(out: Output) -> None:
    """Print where the issues are."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        answer = {"path": str(town.root), "prefix": board.store.prefix, "database_path": str(board.store.directory)}
    out.answer(answer, [answer["path"], f"  prefix: {answer['prefix']}"])


@click.command("info", context_settings=MORE_WORDS)
@click.option("--whats-new", "--schema", "news", is_flag=True, help="Has no effect.")
@common_options
@pass_output
def info(out: Output, news: bool) -> None:
    """Print where the issues are, and how many."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        answer = {"path": str(town.root), "prefix": board.store.prefix, "mode": "town", "issue_count": len(board.beads)}
    out.answer(answer, [f"{key.replace('_', ' ').title()}: {value}" for key, value in answer.items()])


@click.command("types")
@common_options
@pass_output
def types(out: Output) -> None:
    """List the types of issues."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        own = sorted({*GASTOWN_TYPES, *board.store.settings.types, *board.words("types.custom")} - set(CORE_TYPES))
    core = [{"name": name, "description": _ABOUT_TYPES[name]} for name in CORE_TYPES]
    out.answer({"core_types": core, "custom_types": own}, [*CORE_TYPES, *own])


@click.command("statuses")
@common_options
@pass_output
def statuses(out: Output) -> None:
    """List the statuses of issues."""
    with cli_context(out.directory).open_town() as town:
        own = Board(town).words("status.custom")
    built_in = {name: category for name, category in STATUSES.items() if name != "tombstone"}
    answer = {
        "built_in_statuses": [{"name": name, "category": category} for name, category in built_in.items()],
        "custom_statuses": [{"name": name} for name in own],
    }
    out.answer(answer, [f"{name} [{category}]" for name, category in built_in.items()] + own)


@click.command("human")
@click.argument("verb", required=False, type=click.Choice(["list", "stats"]), default="list")
@common_options
@pass_output
def human(out: Output, verb: str) -> None:
    """List the issues with the label human: a person is needed. tt inbox has the questions of agents."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [id_ for id_, bead in board.beads.items() if "human" in bead.labels and not bead.closed]
        out.answer(
            [board.shape(id_) for id_ in ids], [line_of(board, id_) for id_ in ids] or "No human-needed issues found."
        )


# -- configuration -------------------------------------------------------------------------------------------


@click.group("config")
@common_options
def config() -> None:
    """Values of the configuration. Types and statuses are used; others are only kept."""


@config.command("get")
@click.argument("key")
@common_options
@pass_output
def config_get(out: Output, key: str) -> None:
    """Print a value."""
    with cli_context(out.directory).open_town() as town:
        value = _configured(town).get(key, "")
    out.answer({"key": key, "value": value}, value or f"{key} (not set)")


def _configured(town: Any) -> dict[str, str]:
    data = town.run(town.operations.plugin_data(DATA))
    kept = {field.removeprefix(CONFIG): str(value) for field, value in data.items() if field.startswith(CONFIG)}
    return {"issue_prefix": Board(town).store.prefix, **kept}


@config.command("set")
@click.argument("key")
@click.argument("value")
@common_options
@pass_output
def config_set(out: Output, key: str, value: str) -> None:
    """Set a value."""
    out.refuse_readonly()
    text = clean_input(value)
    with cli_context(out.directory).open_town() as town:
        town.run(town.operations.set_plugin_field(DATA, CONFIG + key, text))
    out.answer({"key": key, "value": text}, f"Set {key} = {text}")


@config.command("unset")
@click.argument("key")
@common_options
@pass_output
def config_unset(out: Output, key: str) -> None:
    """Remove a value."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        town.run(town.operations.set_plugin_field(DATA, CONFIG + key, None))
    out.answer({"key": key, "status": "unset"}, f"Unset {key}")


@config.command("list")
@common_options
@pass_output
def config_list(out: Output) -> None:
    """List all values."""
    with cli_context(out.directory).open_town() as town:
        values = _configured(town)
    out.answer(values, [f"  {key} = {value}" for key, value in sorted(values.items())])


# -- formulas ------------------------------------------------------------------------------------------------


@click.group("formula")
@common_options
def formula() -> None:
    """The formulas that can be poured."""


@formula.command("list")
@click.option("--type", "kind", default="", help="Only this type.")
@common_options
@pass_output
def formula_list(out: Output, kind: str) -> None:
    """List the formulas."""
    with cli_context(out.directory).open_town() as town:
        library = FormulaLibrary(town.root)
        rows: list[dict[str, Any]] = []
        for name, (path, _) in library.files().items():
            found = library.find(name).formula
            about = found.description.strip().partition("\n")[0]
            rows.append(
                {
                    "name": name, "type": found.kind, "description": about, "source": str(path), "steps": len(found.steps),
                    "vars": len(found.variables),
                }
            )  # fmt: skip
    rows = [row for row in rows if not kind or row["type"] == kind]
    out.answer(rows, [f"  {row['name']} ({row['type']}): {row['description']}" for row in rows] or "No formulas found.")


def formula_head(found: Found) -> dict[str, Any]:
    """A formula as bd prints it, without its steps."""
    own = found.formula
    return {
        "formula": own.formula, "type": own.kind, "version": own.version, "description": own.description, "source": found.file,
        "vars": {
            key: {"description": value.description, "default": value.default, "required": value.required}
            for key, value in own.variables.items()
        },
    }  # fmt: skip


@formula.command("show")
@click.argument("name")
@common_options
@pass_output
def formula_show(out: Output, name: str) -> None:
    """Show a formula with its variables and steps."""
    with cli_context(out.directory).open_town() as town:
        library = FormulaLibrary(town.root)
        found = library.find(name)
        steps = cooked_formula(library, name, (), strict=False).steps if found.formula.steps else ()
    rows = [
        {"id": step.id, "title": step.title, "description": step.description, "needs": list(step.needs)}
        for step in steps
    ]
    answer = formula_head(found) | {"steps": rows}
    lines = [f"{found.formula.formula} ({found.formula.kind})", *found.formula.description.strip().splitlines()]
    lines += [f"  --var {key}=...  {value.description}" for key, value in found.formula.variables.items()]
    out.answer(answer, [*lines, *(f"  {row['id']}: {row['title']}" for row in rows)])


# -- commands without effect ---------------------------------------------------------------------------------


def without_effect(name: str) -> click.Command:
    """The command `name`, which takes any words and says why there is nothing to do."""
    reason = WITHOUT_EFFECT[name]

    @click.command(name, help=f"Has no effect: {reason}.", context_settings={"ignore_unknown_options": True})
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    @common_options
    @pass_output
    def command(out: Output, words: tuple[str, ...]) -> None:
        out.answer({"status": "skipped", "reason": reason}, f"{' '.join(('bd', name, *words))[:80]}: {reason}")

    return command


@click.command("help")
@click.argument("words", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Has no effect: all commands are shown.")
@click.pass_context
def help_(context: click.Context, words: tuple[str, ...], everything: bool) -> None:
    """Show the help of a command."""
    parent = context.parent or context
    command: click.Command | None = parent.command
    for word in words:
        command = command.get_command(parent, word) if isinstance(command, click.Group) else None
        if command is None:
            raise NotFound(f"no command {' '.join(words)[:80]!r}")
    sys.stdout.write(
        (command or parent.command).get_help(
            click.Context(command or parent.command, info_name=" ".join(("tt-bd", *words)))
        )
        + "\n"
    )
