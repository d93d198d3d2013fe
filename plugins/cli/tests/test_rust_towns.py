"""What users of Tinytown 0.10 type out of habit: the error names what to type instead. Lists say when there is more."""

from __future__ import annotations

import pytest
from tinytown_cli.rust_towns import is_old
from tinytown_testing.shell import Shell


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("-V",), "tt version"),
        (("prune", "--all"), "tt prune NAME --force"),
        (("restart", "ada", "--foreground"), "tt start runs it in the foreground"),
        (("events", "--mission", "x"), "there are no missions"),
        (("bootstrap", "--cli", "claude"), "nothing is compiled"),
        (("bootstrap", "8.6"), "nothing is compiled"),
        (("history", "--agent", "ada"), "tt events --agent AGENT"),
        (("recover", "ada"), "tt restart NAME"),
        (("reset", "ada", "--force"), "tt prune NAME --force"),
        (("restore",), "tt save writes one"),
        (("config", "default_cli"), "tt config set default_cli VALUE"),
        (("mission", "list"), "there are no missions"),
        (("auth", "gen-key"), "tt auth key create"),
        (("agent-loop", "ada", "x", "1"), "tt spawn NAME"),
    ],
)
def test_a_habit_of_the_old_program_is_an_error_that_says_what_to_type(
    in_town: Shell, words: tuple[str, ...], hint: str
) -> None:
    assert hint in in_town(*words, "--json" if words != ("-V",) else "-V", code=2).err


def test_other_unknown_options_are_as_before(in_town: Shell) -> None:
    assert "see tt prune --help" in in_town("prune", "--everything", code=2).err
    assert "see tt thaw --help" in in_town("thaw", "one", "two", code=2).err
    assert "see tt trace --help" in in_town("trace", code=2).err


def test_a_list_of_tasks_says_when_there_is_more(in_town: Shell) -> None:
    for number in range(3):
        in_town("backlog", "add", f"task {number}", "--tags", "many")
    for words in (("task", "list"), ("backlog", "list")):
        answer = in_town(*words, "--tag", "many", "--limit", "2", "--json").json
        assert (len(answer["tasks"]), answer["more"]) == (2, True)
        assert in_town(*words, "--tag", "many", "--limit", "2").out.endswith("only the first 2; more with --limit\n")
        answer = in_town(*words, "--tag", "many", "--limit", "3", "--json").json
        assert (len(answer["tasks"]), answer["more"]) == (3, False)


@pytest.mark.parametrize(
    ("table", "old"),
    [
        ({"name": "x"}, False),
        ({"name": "x", "redis": {"url": "redis://h"}}, False),
        ({"name": "x", "redis": "redis://h"}, False),
        ({"name": "x", "redis": {"use_socket": True}}, True),
        ({"name": "x", "use_central_redis": False}, True),
        ({"name": "x", "townhall": {}}, True),
    ],
)
def test_the_file_of_an_old_town_is_told_by_its_keys(table: dict[str, object], old: bool) -> None:
    assert is_old(table) == old
