"""A program that behaves as `bd` does where a sync depends on it, with the differences of its versions.

``VERSION`` is replaced, and so is ``SERVER``: whether a server has the database, elsewhere, or a directory beside the file.
Records are kept in one file that grows with every write, as the journal of the real database does.
"""

import datetime
import json
import os
import pathlib
import re
import sys
import time
from typing import Any

VERSION = (1, 0, 5)
SERVER = False
OLD = VERSION < (0, 56, 0)
OLDEST = VERSION < (0, 47, 0)
CORE = {"bug", "feature", "task", "epic", "chore"}
if VERSION >= (0, 61, 0):
    CORE |= {"decision", "message", "molecule", "event"}
if VERSION >= (1, 0, 0):
    CORE |= {"spike", "story", "milestone"}
if VERSION >= (1, 0, 3):
    CORE |= {"gate"}
STATUSES = {"open", "in_progress", "blocked", "deferred", "closed", "pinned", "hooked"}
#: What an import changes of a known bead.
UPDATED = (
    "title description design acceptance_criteria notes status priority issue_type assignee estimated_minutes updated_at "
    "started_at closed_at external_ref close_reason metadata"
).split()
LOST = {"closed_by_session", "bonded_from", "source_formula", "source_location", "parent", "_type"}
LOST |= {"dependency_count", "dependent_count", "comment_count"}
if OLD:
    UPDATED = [key for key in UPDATED if key not in ("close_reason", "estimated_minutes", "metadata", "started_at")]
    LOST |= {"metadata", "source_system", "spec_id", "started_at", "wisp_type", "no_history"}
if OLDEST:
    LOST |= {"due_at", "defer_until", "owner"}
TIMES = ("created_at", "updated_at", "started_at", "closed_at", "due_at", "defer_until")
USAGE = (
    "Usage:\n  bd import [file] [flags]\n\nFlags:\n  -h, --help\n  -v, --verbose               Enable verbose output\n"
)

Record = dict[str, Any]


def fail(message: str, usage: str = "") -> None:
    if "--json" in sys.argv and not usage:
        print(json.dumps({"error": message}))
    else:
        sys.stderr.write(f"Error: {message}\n{usage}")
    sys.exit(1)


def beads_directory() -> pathlib.Path:
    if "BEADS_DIR" in os.environ:
        return pathlib.Path(os.environ["BEADS_DIR"])
    return pathlib.Path.cwd() / ".beads"


def journal() -> pathlib.Path:
    beads = beads_directory()
    if SERVER:
        return beads.parent.parent / f"{beads.parent.name}-server" / "journal"
    return beads / "beads.db" if OLD else beads / "embeddeddolt" / "tt" / ".dolt" / "noms" / "journal"


def load() -> Record:
    try:
        return json.loads(journal().read_bytes().splitlines()[-1])
    except (FileNotFoundError, IndexError):
        fail("no beads database found")
        raise


def save(database: Record) -> None:
    with journal().open("a") as file:
        file.write(json.dumps(database) + "\n")


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def moment(text: str) -> str:
    """Whole seconds of UTC, as the database keeps them."""
    head = re.sub(r"\.\d+", "", text)
    parsed = datetime.datetime.fromisoformat(head.replace("Z", "+00:00"))
    return parsed.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stored(record: Record) -> Record:
    """A record as the database keeps it."""
    kept = {key: value for key, value in record.items() if key not in LOST and value not in (None, "", [], False, {})}
    kept |= {key: record[key] for key in ("priority", "estimated_minutes") if record.get(key) is not None}
    kept.setdefault("status", "open")
    kept.setdefault("issue_type", "task")
    kept.setdefault("priority", 0)
    for key in TIMES:
        if key in kept:
            kept[key] = moment(kept[key])
    return kept


def check(record: Record, database: Record) -> None:
    """What aborts a whole import."""
    name = record.get("id", "")
    if not record.get("title"):
        fail(f"import failed: validation failed for issue {name}: title is required", USAGE)
    if len(record["title"].encode()) > 500:
        fail(f"import failed: validation failed for issue {name}: title must be 500 characters or less", USAGE)
    if record.get("status", "open") not in STATUSES | words(database, "status.custom"):
        fail(f"import failed: validation failed for issue {name}: invalid status: {record['status']}", USAGE)
    if record.get("issue_type", "task") not in CORE | words(database, "types.custom"):
        fail(f"import failed: validation failed for issue {name}: invalid issue type: {record['issue_type']}", USAGE)
    if record.get("closed_at") and record.get("status") != "closed":
        fail(f"import failed: validation failed for issue {name}: non-closed issues cannot have closed_at", USAGE)
    if OLD and not name.startswith(database["config"]["issue_prefix"] + "-"):
        fail(f"Import failed: prefix mismatch detected: database uses 'tt-' but found issues with prefixes: [{name}]")
    for comment in record.get("comments") or ():
        if OLD and not isinstance(comment.get("id", 0), int):
            fail(
                "failed to parse issue from JSONL: cannot unmarshal string into Go struct field Comment.id of type int64"
            )


def words(database: Record, key: str) -> set[str]:
    return {word.partition(":")[0] for word in database["config"].get(key, "").split(",") if word}


def import_(path: str, database: Record) -> None:
    before = json.dumps(database, sort_keys=True)
    lines = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines() if line.strip()]
    issues = database["issues"]
    stale, skipped, taken = [], [], []
    for record in lines:
        if record.get("_type") == "memory":
            database["memories"][record["key"]] = record["value"]
        elif record.get("status") != "tombstone":
            check(record, database)
            old = issues.get(record["id"])
            if VERSION >= (1, 0, 5) and old and moment(record["updated_at"]) < old["updated_at"]:
                stale.append(record["id"])
            else:
                taken.append(record)
            if OLD and old and moment(record["updated_at"]) <= old["updated_at"]:
                taken.pop()
    for record in taken:
        new = stored(record)
        old = issues.get(record["id"])
        if old is None:
            issues[record["id"]] = new | {"labels": [], "dependencies": [], "comments": []}
            old = issues[record["id"]]
        for key in UPDATED:
            old.pop(key, None)
            if key in new:
                old[key] = new[key]
        old["labels"] = sorted({*old.get("labels", []), *(record.get("labels") or ())})
        for comment in record.get("comments") or ():
            if not any((c["author"], c["text"]) == (comment["author"], comment["text"]) for c in old["comments"]):
                old["comments"].append(comment)
    for record in taken:
        edges = issues[record["id"]]["dependencies"]
        for edge in record.get("dependencies") or ():
            if edge["depends_on_id"] not in issues:
                skipped.append(f"{record['id']} -> {edge['depends_on_id']}: target not found")
            elif all(edge["depends_on_id"] != other["depends_on_id"] for other in edges):
                names = ("issue_id", "depends_on_id", "type", "created_at")
                edges.append({name: edge[name] for name in names} | {"metadata": "{}"})
    if json.dumps(database, sort_keys=True) == before and not OLD and not SERVER and taken:
        fail("commit: dolt commit: Error 1105: nothing to commit", USAGE)
    save(database)
    if OLD:
        export(str(beads_directory() / "issues.jsonl"), database, everything=True)
    print(json.dumps({"created": len(taken), "stale_skipped_ids": stale, "skipped_dependencies": skipped}, indent=2))


def export(path: str, database: Record, everything: bool) -> None:
    lines = []
    for record in sorted(database["issues"].values(), key=lambda each: (each["priority"], each["id"])):
        if not everything and record.get("ephemeral"):
            continue
        hidden = ("defer_until", "due_at") if OLD else ()
        shown = {key: value for key, value in record.items() if value not in ([], {}) and key not in hidden}
        head = {"_type": "issue"} if VERSION >= (1, 0, 5) else {}
        lines.append(json.dumps(head | shown, separators=(",", ":"), ensure_ascii=False))
    if everything:
        lines += [json.dumps({"_type": "memory", "key": k, "value": v}) for k, v in database["memories"].items()]
    pathlib.Path(path).write_text("".join(f"{line}\n" for line in lines))
    sys.stderr.write(f"Exported {len(lines)} issues to {path}\n")


def options(rest: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Words, and the values of flags, each of which takes one."""
    plain, given = [], {}
    rest = [word for word in rest if word not in ("--json", "--force", "--all", "--quiet", "--non-interactive",
                                                  "--skip-hooks", "--skip-agents")]  # fmt: skip
    while rest:
        word, _, value = rest.pop(0).partition("=")
        if word.startswith("-"):
            given.setdefault(word, []).append(value or rest.pop(0))
        else:
            plain.append(word)
    return plain, given


def update(record: Record, given: dict[str, list[str]], database: Record) -> None:
    fields = {"--title": "title", "--status": "status", "--notes": "notes", "--assignee": "assignee", "--type": "issue_type",
              "--description": "description"}  # fmt: skip
    for flag, values in given.items():
        value = values[-1]
        if flag in fields:
            record[fields[flag]] = value
        elif flag == "--priority":
            record["priority"] = int(value)
        elif flag == "--add-label":
            record["labels"] = sorted({*record["labels"], *values})
        elif flag == "--remove-label":
            record["labels"] = [label for label in record["labels"] if label not in values]
        elif flag in ("--defer", "--due", "--spec-id") and not OLDEST:
            key = {"--defer": "defer_until", "--due": "due_at", "--spec-id": "spec_id"}[flag]
            record.pop(key, None)
            if value:
                record[key] = value if flag == "--spec-id" else moment(value)
            if flag == "--defer" and "--status" not in given and not OLD:
                record["status"] = "deferred" if value else "open"
        else:
            fail(f"unknown flag: {flag}")
    if record["issue_type"] not in CORE | words(database, "types.custom"):
        fail(f'invalid issue type "{record["issue_type"]}"')
    if record["status"] == "closed":
        record.setdefault("closed_at", now())
    else:
        record.pop("closed_at", None)
        record.pop("close_reason", None)
    record["updated_at"] = now()


def main() -> None:
    if "STAND_IN_LOG" in os.environ:
        with open(os.environ["STAND_IN_LOG"], "a") as log:
            log.write(json.dumps(sys.argv[1:]) + "\n")
    rest = [word for word in sys.argv[1:] if word != "--sandbox"]
    command = rest.pop(0)
    if command == "version":
        print(f"bd version {'.'.join(map(str, VERSION))} (stand-in)")
        return
    if command == "init":
        if "--help" in rest:
            print("" if OLD else "--non-interactive")
            return
        journal().parent.mkdir(parents=True, exist_ok=True)
        (beads_directory() / "metadata.json").write_text('{"project_id": "p-1"}')
        prefix = rest[rest.index("--prefix") + 1] if "--prefix" in rest else ""
        save({"issues": {}, "memories": {}, "config": {"issue_prefix": prefix}})
        return
    database = load()
    issues = database["issues"]
    if command == "export":
        everything = "--all" in rest
        if everything and OLD:
            fail("unknown flag: --all", USAGE)
        export(options(rest)[1]["-o"][0], database, everything)
        return
    if command == "import":
        plain, given = options(rest)
        if bool(plain) == OLD:
            fail("accepts 0 arg(s), received 1" if OLD else "file required", USAGE)
        import_(plain[0] if plain else given["-i"][0], database)
        return
    plain, given = options(rest)
    if command == "config":
        if plain[0] == "set":
            database["config"][plain[1]] = plain[2]
            save(database)
        else:
            print(json.dumps({"key": plain[1], "value": database["config"].get(plain[1], "")}))
        return
    if command == "create":
        id_ = given.pop("--id")[0]
        issues[id_] = {"id": id_, "title": plain[0], "status": "open", "priority": 2, "issue_type": "task", "labels": [],
                       "dependencies": [], "comments": [], "created_at": now(), "updated_at": now()}  # fmt: skip
        if labels := given.pop("--labels", None):
            issues[id_]["labels"] = labels[0].split(",")
        if given.pop("--ephemeral", None):
            issues[id_]["ephemeral"] = True
        update(issues[id_], given, database)
    elif command == "update":
        if plain[0] not in issues:
            fail(f"no issue found matching {plain[0]}")
        update(issues[plain[0]], given, database)
    elif command == "close":
        issues[plain[0]] |= {"status": "closed", "closed_at": now(), "updated_at": now()}
        issues[plain[0]]["close_reason"] = given.get("--reason", ["Closed"])[0]
    elif command == "delete":
        del issues[plain[0]]
        for other in issues.values():
            other["dependencies"] = [edge for edge in other["dependencies"] if edge["depends_on_id"] != plain[0]]
    elif command == "dep":
        record = issues[plain[1]]
        if plain[0] == "remove":
            kept = [edge for edge in record["dependencies"] if edge["depends_on_id"] != plain[2]]
            if kept == record["dependencies"]:
                fail(f"no dependency from {plain[1]} to {plain[2]}")
            record["dependencies"] = kept
        else:
            type_ = given.get("--type", ["blocks"])[0]
            edge = {"issue_id": plain[1], "depends_on_id": plain[2], "type": type_, "created_at": now()}
            record["dependencies"].append(edge | {"metadata": "{}"})
    else:
        fail(f'unknown command "{command}" for "bd"', USAGE)
    save(database)


main()
