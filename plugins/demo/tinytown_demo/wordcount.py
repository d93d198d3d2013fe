# ruff: noqa: RUF001 - the texts are about characters that look like others
"""The files that the scripted agents write: a small tool that counts words, in its versions. Texts only.

The first version of the core has a real defect that its own tests miss; the reviewer's trial texts reveal it.
"""

from __future__ import annotations

DESIGN = """\
# wordcount

Counts the words of a text and prints the most frequent ones.

## Words

- A run of letters and digits, of any script: `naïve`, `Straße`, `слово`, `2024`.
- An apostrophe *inside* a word is part of it: `don't` is one word. Quotes around a word are not.
- Everything else separates words, including dashes of every kind: `now—or never` has three words.
- Case does not matter.

## wordcount/core.py (backend)

    count_words(text: str) -> collections.Counter[str]

## wordcount/__main__.py (frontend)

    python -m wordcount [--top N] [FILE ...]

Reads the files, or standard input if none is given, and prints one word per line: the right-aligned count and the word.
`--top N` prints only the N most frequent. An unreadable file is one line on stderr and exit code 1.
The two modules are written at the same time: the command imports `wordcount.core` only inside `main()`.
"""

TIES_QUESTION = "DESIGN.md does not define the order of words with the same count. Which one do you want?"
TIES_ANSWER = "Alphabetical, so that the same text always gives the same output."

PACKAGE = '"""Counts words: see DESIGN.md."""\n'

CORE_FIRST = '''\
"""Splits a text into words and counts them."""

from __future__ import annotations

from collections import Counter

_AROUND_A_WORD = ".,;:!?\\"'()[]{}<>`*_#-–—…“”‘’"


def count_words(text: str) -> Counter[str]:
    """How often each word occurs in `text`, in lower case."""
    pieces = (piece.strip(_AROUND_A_WORD) for piece in text.casefold().split())
    return Counter(piece for piece in pieces if piece)
'''

CORE_TESTS = """\
import unittest

from wordcount.core import count_words


class CountWords(unittest.TestCase):
    def test_case_does_not_matter(self) -> None:
        self.assertEqual(count_words("Tea tea TEA"), {"tea": 3})

    def test_punctuation_around_a_word_is_not_part_of_it(self) -> None:
        self.assertEqual(count_words("'Well,' (she said)."), {"well": 1, "she": 1, "said": 1})

    def test_an_apostrophe_inside_a_word_is(self) -> None:
        self.assertEqual(count_words("Don't, don't!"), {"don't": 2})

    def test_letters_of_every_script_count(self) -> None:
        self.assertEqual(count_words("Слово, naïve"), {"слово": 1, "naïve": 1})
"""

CORE_FIXED = '''\
"""Splits a text into words and counts them."""

from __future__ import annotations

import re
from collections import Counter

# Letters and digits of any script; an apostrophe between two of them belongs to the word.
_WORD = re.compile(r"[^\\W_]+(?:['’][^\\W_]+)*")


def count_words(text: str) -> Counter[str]:
    """How often each word occurs in `text`, in lower case."""
    return Counter(_WORD.findall(text.casefold()))
'''

CORE_REGRESSION_TEST = """
    def test_dashes_of_every_kind_separate_words(self) -> None:
        for dash in "-–—":
            self.assertEqual(count_words(f"now{dash}or never"), {"now": 1, "or": 1, "never": 1})
"""

COMMAND = '''\
"""The command: python -m wordcount [--top N] [FILE ...]"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def lines_of(counts: Mapping[str, int], top: int | None = None) -> list[str]:
    """One line a word, the most frequent first, words of the same count in alphabetical order."""
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))[:top]
    width = max((len(str(count)) for _, count in rows), default=0)
    return [f"{count:>{width}}  {word}" for word, count in rows]


def main(words: Sequence[str] | None = None) -> int:
    """Print the words of the files, or of standard input."""
    from wordcount.core import count_words

    parser = argparse.ArgumentParser(prog="wordcount", description="Count the words of a text.")
    parser.add_argument("--top", type=int, metavar="N", help="print the N most frequent only")
    parser.add_argument("files", nargs="*", metavar="FILE", type=Path)
    asked = parser.parse_args(words)
    try:
        texts = [path.read_text(encoding="utf-8") for path in asked.files] or [sys.stdin.read()]
    except (OSError, UnicodeDecodeError) as error:
        print(f"wordcount: {error}", file=sys.stderr)
        return 1
    print("\\n".join(lines_of(count_words("\\n".join(texts)), asked.top)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
'''

COMMAND_TESTS = """\
import unittest

from wordcount.__main__ import lines_of


class LinesOf(unittest.TestCase):
    def test_the_most_frequent_word_comes_first(self) -> None:
        self.assertEqual(lines_of({"tea": 2, "milk": 10}), ["10  milk", " 2  tea"])

    def test_words_of_the_same_count_are_in_alphabetical_order(self) -> None:
        self.assertEqual(lines_of({"tea": 1, "milk": 1}), ["1  milk", "1  tea"])

    def test_top_cuts_the_list(self) -> None:
        self.assertEqual(lines_of({"tea": 2, "milk": 1}, top=1), ["2  tea"])

    def test_no_words_give_no_lines(self) -> None:
        self.assertEqual(lines_of({}), [])
"""

#: The texts that the reviewer tries, with the word counts according to DESIGN.md.
TRIALS: tuple[tuple[str, dict[str, int]], ...] = (
    ("Tea, tea and 'tea'.", {"tea": 3, "and": 1}),
    ("Now—or never, now!", {"now": 2, "or": 1, "never": 1}),
    ("ÉCLAIR éclair don't", {"éclair": 2, "don't": 1}),
)
