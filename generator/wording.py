"""What repeats what among texts, and where a text may be cut.

Knows no decoder and no tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher

COPIED_WORDS = 4  # so many remembered words in a row are a copy
JOINTS = {"and", "the", "with"}
# Words after which a text does not end.
_LEADING = """
a an the and or but nor of in on at to from with without by for as into onto near over under behind
beside between through because although while when where which who whose if than so its his her
their our my your this that these those is are was were be
"""
LEADING = frozenset(_LEADING.split())
_ENDINGS = {"", "s", "es", "ed", "er", "ers", "ing"}
# Letters and how they usually sound: a "one", a "European", an "hour", an "X".
_MISFIT = re.compile(
    r"\b(?:[Aa] (?!one|once|eu|ew)[aeio]|[Aa]n (?!hour|hono|hones|heir)[b-df-hj-np-tv-z][a-z])"
)
_CLAUSE_END = re.compile(r"[,;:](?=\s)|\s?[—–]")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)")


def is_copy(text: str, remembered: Iterable[str]) -> bool:
    """Whether `text` repeats a remembered one: all of it, half of it, or four words in a row.

    Case, punctuation and leading articles do not make a difference.
    """
    words = _words(text)
    return any(
        f" {' '.join(words)} " in f" {' '.join(known)} "
        and (len(words) >= COPIED_WORDS or 2 * len(words) >= len(known))
        for known in map(_words, remembered)
    )


def likeness(text: str, remembered: str) -> float:
    """Share of the words of both that they have in common and in order, in [0, 1]."""
    return SequenceMatcher(None, _words(text), _words(remembered), autojunk=False).ratio()


def slips(text: str) -> int:
    """How often a word comes again ("dog and dogs"), and an article does not fit ("a olive")."""
    return len(_again(text)) + len(_MISFIT.findall(text))


def once(text: str) -> str:
    """What is said before a word comes again: "A dog" of "A dog with a dog."."""
    places = _again(text)
    return rounded_off(text[: places[0]]) if places else text


def _again(text: str) -> list[int]:
    """Where words begin that were there before."""
    words = [each for each in re.finditer(r"\w{3,}", text.lower()) if each[0] not in JOINTS]
    return [
        word.start()
        for place, word in enumerate(words)
        if any(_same(word[0], before[0]) for before in words[:place])
    ]


def _same(one: str, other: str) -> bool:
    """Whether two words are equal but for a common ending."""
    short, long = sorted((one, other), key=len)
    return long.startswith(short) and long[len(short) :] in _ENDINGS


def rounded_off(text: str) -> str:
    """Of a text that was cut, its whole sentences, or else what is before the last comma, where
    that is long enough; otherwise without the words and marks after which nothing ends."""
    stops = [match.end() for match in _SENTENCE_END.finditer(text)]
    if stops and len(_words(text[: stops[-1]])) >= 3:
        return text[: stops[-1]]
    commas = [match.start() for match in _CLAUSE_END.finditer(text)]
    if commas and len(_words(text[: commas[-1]])) >= 4:
        text = text[: commas[-1]]
    words = text.split()
    while len(words) > 1 and (goes_on_after(words[-1]) or not any(map(str.isalnum, words[-1]))):
        words.pop()
    return " ".join(words).rstrip("—–-,;:“‘\"'( ") or text


def goes_on_after(text: str) -> bool:
    """Whether its last word is one that another has to follow: an article, a preposition."""
    words = re.findall(r"[^\W_]+", text.lower())
    return bool(words) and words[-1] in LEADING


def ends(text: str) -> bool:
    """Whether it ends as a sentence does, with no quotation open."""
    return bool(_SENTENCE_END.search(text.rstrip()[-3:])) and text.count("“") == text.count("”")


def longest_start(text: str, fits: Callable[[str], bool]) -> str:
    """The most of its beginning that fits: whole words, of one long word its characters."""
    ends = [match.end() for match in re.finditer(r"\S+", text)] or [len(text)]
    if not fits(text[: ends[0]]):
        ends = list(range(1, ends[0] + 1))
    low, high = 0, len(ends)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(text[: ends[middle]]) else (low, middle)
    return text[: ends[low]]


def _words(text: str) -> list[str]:
    words = re.findall(r"\w+", text.lower())
    return words[1:] if len(words) > 1 and words[0] in {"a", "an", "the"} else words
