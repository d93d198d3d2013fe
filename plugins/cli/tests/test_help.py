from __future__ import annotations

import pytest
from tinytown_cli.commands import help
from tinytown_testing.shell import Shell


@pytest.mark.parametrize("words", [("send",), ("task", "show"), ("task", "import"), ("backlog",), ()])
def test_help_shows_what_the_option_shows(tt: Shell, words: tuple[str, ...]) -> None:
    assert tt("help", *words).out.split() == tt(*words, "--help").out.split()


def test_a_topic_lists_the_commands_about_it(tt: Shell) -> None:
    names = [command["name"] for command in tt.json("help", "messages")["commands"]]
    assert {"inbox", "dead"} <= set(names)
    assert tt("help", "messages").out.startswith("COMMAND")
    assert [command["name"] for command in tt.json("help", "emergency")["commands"]] == ["estop"]
    assert [command["name"] for command in tt.json("help", "cancel")["commands"]] == ["task cancel", "backlog remove"]
    assert "did you mean inbox?" in tt("help", "box", code=2).err  # a word, not a part of one
    assert tt.json("help", "send")["help"].startswith("Usage: tt send ")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("upgrade", "reload"),
        ("backup", "save"),
        ("money", "costs"),
        ("undo", "task reopen"),
        ("webhook", "notify"),
    ],
)
def test_other_words_for_it_find_it_too(tt: Shell, word: str, expected: str) -> None:
    assert expected in [command["name"] for command in tt.json("help", word)["commands"]]


def test_each_command_that_another_word_means_is_there(tt: Shell) -> None:
    for name in {name for names in help._OTHER_WORDS.values() for name in names}:  # pyright: ignore[reportPrivateUsage]
        assert tt("help", *name.split()).out.startswith(f"Usage: tt {name} ")


def test_a_topic_that_there_is_not_suggests_one(tt: Shell) -> None:
    assert "did you mean send?" in tt("help", "sned", code=2).err
    error = tt("help", "zzz", "--json", code=2).error
    assert error["hint"] == "tt help lists the commands"


@pytest.mark.parametrize(
    ("alias", "words"),
    [(("tasks",), ("task", "list")), (("agents",), ("list",)), (("tasks", "--json"), ("task", "list", "--json"))],
)
def test_plurals_list(in_town: Shell, alias: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert in_town(*alias).out == in_town(*words).out
    assert in_town("help", alias[0]).out.startswith(f"Usage: tt {' '.join(words[:2]).removesuffix(' --json')} ")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("send", "wroker", "hello"), "did you mean worker?"),
        (("assign", "WORKRE", "work"), "did you mean worker?"),
        (("interrupt", "worker", "wroker"), "did you mean worker?"),
        (("assign", "nobody-like-that", "work"), "tt list shows the agents"),
        (("spawn", "other", "--cli", "shlel"), "did you mean shell?"),
        (("spawn", "other", "--cli", "zzz"), "install its plugin, then restart the kernel"),
        (("sedn", "worker", "hello"), "did you mean send?"),
        (("task", "shwo", "1"), "did you mean show?"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(in_town: Shell, words: tuple[str, ...], hint: str) -> None:
    if not any(agent["name"] == "worker" for agent in in_town.json("list")["agents"]):
        in_town("spawn", "worker", "--cli", "shell")
    before = in_town.json("status")["tasks"]
    answer = in_town(*words, "--json", code=2 if words[0] in ("sedn", "task") else 3)
    assert hint in answer.error["hint"]
    assert in_town.json("status")["tasks"] == before
