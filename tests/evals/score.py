"""How good a prompt is, as far as that can be counted: what it costs, and which of the required points it misses. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from statistics import mean

#: Roughly what a tokenizer makes of English and code.
CHARACTERS_PER_TOKEN = 4
LONGEST_SENTENCE_WORDS = 35
MEAN_SENTENCE_WORDS = 16
_REPEATED_WORDS = 4

#: Words in backticks that name no tool: kinds of mail.
_MAIL_WORDS = {"order", "query"}

#: What a prompt has to say, and says once: in whose words, and for which rounds.
_FENCES = r"Text between fences was written by others\."
_ORDERS = r"only messages of kind `order` ask you to act"
_ENDS = r"every process you started is ended"
_ANSWERS = r"[Nn]obody can answer questions"
_REPORTS = r"\b(you report|report it|report each)\b"
_DEPENDANTS = r"Dependent tasks see the first 2,000 characters of your result"


@dataclass(frozen=True, slots=True)
class Round:
    """What a prompt is for. `texts` are those of others; `runs_commands`: whether its model can run
    commands; `can_report`: whether it has these, or the town's tools, to report with."""

    texts: Sequence[str]
    has_task: bool = True
    has_mail: bool = False
    in_round: bool = False
    runs_commands: bool = True
    can_report: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """What the model got: its last turn of the person, the names of all tools, and the characters that define the town's."""

    prompt: str
    tools: Collection[str]
    tool_characters: int = 0


@dataclass(slots=True)
class Score:
    """Figures by name, with their unit in it, and what is missing or wrong, one line each."""

    figures: dict[str, float] = field(default_factory=dict[str, float])
    faults: list[str] = field(default_factory=list[str])


def score(
    prompt: str,
    about: Round,
    known_tools: Collection[str],
    is_command: Callable[[str], bool],
    got: Request | None = None,
) -> Score:
    """The score of a prompt. `known_tools` are the town's tools as the CLI names them; `is_command` knows ``tt WORDS``.

    Without what a model `got`, the prompt alone is judged.
    """
    own = own_text(prompt)
    sentences = sentences_of(own)
    words = [len(sentence.split()) for sentence in sentences]
    added = len(prompt) - sum(map(len, about.texts))
    result = Score(
        {
            "added_characters": added,
            "added_tokens": round(added / CHARACTERS_PER_TOKEN),
            "tool_tokens": round(got.tool_characters / CHARACTERS_PER_TOKEN) if got else 0,
            "sentences": len(sentences),
            "mean_sentence_words": round(mean(words), 1) if words else 0,
            "longest_sentence_words": max(words, default=0),
        }
    )
    result.faults += _missing_points(own, about)
    result.faults += _wrong_names(own, about, got.tools if got else known_tools, is_command)
    result.faults += _changed_texts(got.prompt if got else prompt, about.texts)
    if got and prompt.strip() not in got.prompt:
        result.faults.append("the prompt did not arrive as it was built")
    result.faults += [f"says twice: {sentence}" for sentence in _repeated(sentences)]
    if result.figures["longest_sentence_words"] > LONGEST_SENTENCE_WORDS:
        longest = max(sentences, key=lambda each: len(each.split()))
        result.faults.append(f"a sentence of more than {LONGEST_SENTENCE_WORDS} words: {longest}")
    if result.figures["mean_sentence_words"] > MEAN_SENTENCE_WORDS:
        result.faults.append(f"sentences of more than {MEAN_SENTENCE_WORDS} words on average")
    return result


def own_text(prompt: str) -> str:
    """What a reader of Markdown takes for the prompt's own words: all but fenced blocks, by the rules of CommonMark."""
    kept: list[str] = []
    fence = ""
    for line in prompt.split("\n"):
        opened = re.match(r" {0,3}(`{3,})([^`]*)$", line)
        if not fence and opened:
            fence = opened[1]
        elif fence and opened and not opened[2].strip() and len(opened[1]) >= len(fence):
            fence = ""
        elif not fence:
            kept.append(line)
    return "\n".join(kept)


def sentences_of(own: str) -> list[str]:
    """The sentences of Markdown: a heading, an item of a list and a paragraph end one, too."""
    blocks = re.split(r"\n(?=\s*(?:\n|[-#]))", own)
    texts = [re.sub(r"^[-#\s]+", "", " ".join(block.split())) for block in blocks]
    return [part for text in texts for part in re.split(r"(?<=[.?!:;])\s+", text) if part]


def _missing_points(own: str, about: Round) -> list[str]:
    in_full = not about.in_round
    wanted = {
        _FENCES: in_full,
        _ORDERS: about.has_mail,
        _ENDS: in_full and about.can_report,
        _ANSWERS: in_full,
        _DEPENDANTS: in_full and about.has_task,
    }
    faults: list[str] = []
    for pattern, is_wanted in wanted.items():
        count = len(re.findall(pattern, own))
        if count != is_wanted:
            faults.append(f"says {count} times instead of {int(is_wanted)}: {pattern}")
    if not about.can_report and (found := re.search(_REPORTS, own)):
        faults.append(f"asks a model to report that has nothing to do it with: {found[0]}")
    return faults


def _wrong_names(own: str, about: Round, tools: Collection[str], is_command: Callable[[str], bool]) -> list[str]:
    faults: list[str] = []
    command = ""
    for name in re.findall(r"`([^`]+)`", " ".join(own.split("\n"))):
        first = name.split()[0]
        if first == "tt":
            command = name
        if first == "tt" or first.startswith("--"):  # `--info` alone is another option of the command before
            words = command if first == "tt" else f"{command} {name}"
            if not about.runs_commands:
                faults.append(f"names the command {name!r} to a model that can run none")
            elif not is_command(words.removeprefix("tt ")):
                faults.append(f"there is no command {words!r}")
        elif first not in tools and first not in _MAIL_WORDS:
            faults.append(f"there is no tool {first!r}")
    return list(dict.fromkeys(faults))


def _changed_texts(prompt: str, texts: Sequence[str]) -> list[str]:
    own = own_text(prompt)
    faults = [f"changes a text of others: {text[:60]!r}" for text in texts if text not in prompt]
    return faults + [f"a text of others is not fenced: {text[:60]!r}" for text in texts if text in own]


def _repeated(sentences: Sequence[str]) -> list[str]:
    long = [each for each in sentences if len(each.split()) >= _REPEATED_WORDS]
    return [each for each in dict.fromkeys(long) if long.count(each) > 1]
