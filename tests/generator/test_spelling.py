"""Which tokens spell words that there are, and where texts are cut."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from generator.quoting import passage
from generator.registry import WEIGHTS
from generator.spelling import Spelling, word_list, words_in
from generator.wording import ends, is_copy, longest_start, once, rounded_off, slips


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(WEIGHTS / "text.tokenizer.json"))


@pytest.fixture(scope="module")
def spelling(tokenizer: Tokenizer) -> Spelling:
    return Spelling.of(tokenizer, word_list())


def allowed(tokenizer: Tokenizer, spelling: Spelling, text: str, known: set[str]) -> bool:
    """Whether each token may follow those before it, and the text end after the last."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    steps = all(spelling.may_follow(ids[:at], ids[at], known) for at in range(len(ids)))
    return steps and spelling.may_end(ids, known)


@pytest.mark.parametrize(
    ("text", "known", "may"),
    [
        ("A strawberry and 12 cats.", set(), True),
        ("A Strawberry’s leaf—two “leaves”…", set(), True),
        ("A strawarin orange.", set(), False),
        ("A strawarin orange.", {"strawarin"}, True),
        ("theorn", set(), False),
        ("A mountaji.", set(), False),
        ("in 1926", set(), False),
        ("in 1926", {"1926"}, True),
        ("Müller", set(), False),
        ("Müller", {"müller", "ü"}, True),
        ("A rose 🌹.", set(), False),
        ("A rose 🌹.", {"🌹"}, True),
        ("A straw", set(), True),
        ("A strawb", set(), False),
        ("A badger badger.", set(), False),
        ("A cat: cat", set(), False),
        ("A A cat", set(), False),
        ("A cat and a cat.", set(), True),
        ("A yo-yo.", set(), True),
        ("Choo choo, says the train.", {"choo"}, False),
        ("Choo choo, says the train.", {*words_in("A choo-choo."), "choo choo"}, True),
    ],
)
def test_words_and_characters_there_are(
    tokenizer: Tokenizer, spelling: Spelling, text: str, known: set[str], may: bool
) -> None:
    assert allowed(tokenizer, spelling, text, known) == may


def test_tokens_write_what_they_decode_to(tokenizer: Tokenizer, spelling: Spelling) -> None:
    for text in ("A “Fuji” apple, naïve — 漢字 🐈\n\ttwo  blanks", "\x00\x7f\xad~"):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert spelling.text(ids) == f" {text}"
    assert not any(spelling.pieces[tokenizer.token_to_id(mark)] for mark in ("<pad>", "<eos>"))


def test_half_a_character_is_no_end(tokenizer: Tokenizer, spelling: Spelling) -> None:
    ids = tokenizer.encode("A rose 🌹", add_special_tokens=False).ids
    known = {"🌹"}
    cut = next(at for at in range(1, len(ids)) if spelling.pending(ids[:at]))
    assert not spelling.may_end(ids[:cut], known)
    assert spelling.text(ids[:cut]) == " A rose "
    letter = tokenizer.encode("b", add_special_tokens=False).ids[0]
    assert not spelling.may_follow(ids[:cut], letter, known)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("We sat in the sun. Afterwards it", "We sat in the sun."),
        ("Oh. We sat in the sun with the", "Oh. We sat in the sun"),
        ("The pears were cheap this year, because it rained", "The pears were cheap this year"),
        ("Near the old— a", "Near the old"),
        ("the", "the"),
        ("in the", "in"),
    ],
)  # fmt: skip
def test_what_was_cut_is_rounded_off(text: str, left: str) -> None:
    assert rounded_off(text) == left


def test_sentences_end() -> None:
    assert all(map(ends, ("A cat.", "A cat! ", "A “cat.”", "Well…")))
    assert not any(map(ends, ("A cat", "A “cat.", "A cat,", "")))


def test_the_longest_start_that_fits() -> None:
    def most(count: int, text: str) -> str:
        return longest_start(text, lambda part: len(part) <= count)

    assert most(7, "one two three") == "one two"
    assert most(12, "one two three") == "one two"
    assert most(13, "one two three") == "one two three"
    assert most(3, "漢字漢字漢字 漢") == "漢字漢"


def test_a_passage_grows_from_the_best_sentence() -> None:
    text = "\nA dog barks. The cat sleeps. Rain falls on it. The end is near.  "

    def of(count: int, asked: str) -> str:
        part = passage(text, asked, lambda each: len(each) <= count)
        return text[part.start : part.end]

    assert of(100, "") == text.strip()
    assert of(20, "a cat") == "The cat sleeps."
    assert of(34, "a cat") == "The cat sleeps. Rain falls on it."
    assert of(30, "the end") == "The end is near."
    assert of(34, "the end") == "Rain falls on it. The end is near."
    assert of(9, "a cat") == "The cat"
    assert of(12, "") == "A dog barks."
    assert passage(" \n ", "", lambda each: True)[:2] == (3, 3)
    assert passage("…!", "", lambda each: len(each) < 2) == (0, 1, False)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("A cat and a dog.", 0),
        ("A bowl of bowl.", 1),
        ("A cloud with clouds, clouding.", 2),
        ("A car and a card.", 0),
        ("A olive and a eye.", 2),
        ("An penguin.", 1),
        ("An hour of a European, a one-eyed and an 8-legged spider: an X.", 0),
    ],
)
def test_slips_are_counted(text: str, count: int) -> None:
    assert slips(text) == count


def test_what_is_said_before_a_word_comes_again() -> None:
    """Else "A frog with a frog." passes for another way to say "A frog."."""
    assert once("A frog with a frog.") == "A frog"
    assert once("A european bear with a bear.") == "A european bear"
    assert once("A frog with a toad.") == "A frog with a toad."
    assert is_copy(once("A frog and frogs."), ["A frog."])


def test_what_comes_twice_in_a_row_is_known_of_a_memory() -> None:
    assert words_in("The choo choo, Choo train") == [
        "the",
        "choo",
        "choo",
        "choo",
        "train",
        "choo choo",
    ]
