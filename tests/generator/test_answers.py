"""Sentences, the words that they share with a question, and what is quoted."""

from dataclasses import replace

import numpy as np
import pytest

from encoders.base import Encoder
from encoders.registry import load_profile
from generator.answers import NOT_FOUND, AnswerGenerator, content_words, overlap, split
from generator.base import Condition, Neighbour
from generator.fusion import fuse

COW = "Cows chew grass and clover. A cow gives 25 litres of milk. They sleep only four hours."
OWL = "Owls hear a mouse under the snow. Their feathers make no sound in flight."


@pytest.fixture(scope="module")
def texts() -> Encoder:
    return load_profile("bundled").encoders["text"]


def condition(texts: Encoder, question: str, *memories: str) -> Condition:
    query, *rows = texts.encode([question, *memories])
    stacked = np.stack(rows) if rows else np.zeros((0, 384), np.float32)
    fused, weights = fuse(query, stacked, "attention")
    pairs = zip(rows, memories, strict=True)
    neighbours = tuple(Neighbour(f"m{n}", "text", *pair) for n, pair in enumerate(pairs))
    return Condition(query, fused, neighbours, weights, question)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How much milk does a cow give?", "A cow gives 25 litres of milk."),
        ("How long do cows sleep?", "They sleep only four hours."),
        ("What do owls hear under the snow?", "Owls hear a mouse under the snow."),
    ],
)
def test_the_sentence_that_answers_is_quoted(texts: Encoder, question: str, answer: str) -> None:
    made = AnswerGenerator(texts).generate(
        condition(texts, question, OWL, COW), seed=0, creativity=0
    )
    assert made.media == answer
    details = made.details
    assert details["found"] is True
    source = {"m0": OWL, "m1": COW}[details["memory_id"]]
    assert source[details["start"] : details["end"]] == answer
    assert details["candidates"][0]["text"] == answer
    assert details["score"] >= details["threshold"]


@pytest.mark.parametrize("question", ["Who wrote Hamlet?", "What is the capital of France?"])
def test_what_nobody_remembers_is_not_answered(texts: Encoder, question: str) -> None:
    made = AnswerGenerator(texts).generate(
        condition(texts, question, OWL, COW), seed=0, creativity=0
    )
    assert (made.media, made.details["found"]) == (NOT_FOUND, False)
    assert "memory_id" not in made.details
    assert len(made.details["candidates"]) == 3


def test_a_picture_says_what_the_question_is_about(texts: Encoder) -> None:
    """Of the owl there is no such sentence: what is known of cows is no answer."""
    asked = condition(texts, "How much milk does it give?", OWL, COW)
    weights = np.array([0.9, 0.1], np.float32)
    generator = AnswerGenerator(texts)
    by_words = generator.generate(replace(asked, weights=weights), seed=0, creativity=0)
    assert by_words.media == "A cow gives 25 litres of milk."
    shown = replace(asked, weights=weights, pointed=True)
    made = generator.generate(shown, seed=0, creativity=0)
    assert made.media == NOT_FOUND
    assert {each["memory_id"] for each in made.details["candidates"]} == {"m0"}
    cow = replace(shown, weights=weights[::-1].copy())
    assert generator.generate(cow, seed=0, creativity=0).media == by_words.media


def test_without_texts_there_is_no_answer(texts: Encoder) -> None:
    made = AnswerGenerator(texts).generate(
        condition(texts, "What do cows eat?"), seed=0, creativity=0
    )
    assert made.media == NOT_FOUND
    assert made.details["candidates"] == []


def test_sampling_repeats_with_its_seed(texts: Encoder) -> None:
    memories = [f"Cow number {number} gives {number} litres of milk." for number in range(8)]
    asked = condition(texts, "How much milk does a cow give?", *memories)
    generator = AnswerGenerator(texts)
    drawn = [generator.generate(asked, seed=seed, creativity=1.0).media for seed in range(12)]
    again = [generator.generate(asked, seed=seed, creativity=1.0).media for seed in range(12)]
    assert drawn == again
    assert len(set(drawn)) > 2
    assert len({generator.generate(asked, seed=s, creativity=0).media for s in range(3)}) == 1


def test_a_book_is_read_by_the_words_of_the_question(texts: Encoder) -> None:
    book = " ".join(f"Nothing happened on day {day}." for day in range(400))
    asked = condition(texts, "How much milk does a cow give?", f"{book} {COW}")
    made = AnswerGenerator(texts).generate(asked, seed=0, creativity=0)
    assert made.media == "A cow gives 25 litres of milk."
    assert made.details["sentences"] == 48


def test_sentences_are_told_with_their_places() -> None:
    text = 'They live in Asia, e.g. India.\n A U.S. zoo has two! Dr. Smith said "No." And so on\n…'
    found = split(text, 5)
    assert [each.text for each in found] == [
        "They live in Asia, e.g. India.",
        "A U.S. zoo has two!",
        'Dr. Smith said "No."',
        "And so on",
    ]
    assert all(text[each.start : each.end] == each.text and each.place == 5 for each in found)
    assert split("...") == []


def test_words_meet_their_other_forms() -> None:
    assert content_words("Does it eat berries? Running horses") == ["eat", "berry", "run", "hors"]
    assert content_words("berry eats horse runs") == ["berry", "eat", "hors", "run"]


def test_rare_words_weigh_more() -> None:
    sentences = ["a tiger sleeps", "a tiger hunts", "a tiger swims"]
    shares = overlap("do tigers swim", sentences)
    assert shares[2] == pytest.approx(1.0)
    assert shares[0] == shares[1] < 0.5
    assert not overlap("who is it", sentences).any()
