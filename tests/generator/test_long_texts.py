"""Texts that the shipped decoder has not the room for, and characters that it spells by bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from encoders.base import Encoder
from encoders.registry import load_profile
from generator.base import Condition, Generated, Neighbour
from generator.fusion import fuse
from generator.registry import WEIGHTS
from generator.spelling import word_list, words_in
from generator.text import TextGenerator
from generator.wording import goes_on_after, is_copy

LONG = (
    "My grandmother played the violin every Sunday morning in the garden.",
    "The heating failed in the afternoon, lettuce at risk!",
    "Café Müller opened in 1926 near the old bridge of Würzburg.",
    "Rose 🌹 in the vase — naïve façade, as the neighbours call it since the spring of the year.",
)
STORY = (
    "I went to the market. The tomatoes were cheap this year, because it rained a lot in spring. "
    "Afterwards we sat in the sun and talked about the harvest until it was dark.\n"
) * 4


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    return TextGenerator(WEIGHTS)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_profile("bundled").encoders["text"]


def recalled(encoder: Encoder, texts: Sequence[str], asked: str | None = None) -> Condition:
    """Asked by a text, or by the first of those remembered, as a picture would: without words."""
    query, *rows = encoder.encode([asked or texts[0], *texts])
    fused, weights = fuse(query, np.stack(rows), "attention")
    neighbours = tuple(
        Neighbour(f"m{at}", "text", row, text)
        for at, (row, text) in enumerate(zip(rows, texts, strict=True))
    )
    return Condition(query, fused, neighbours, weights, words=asked or "")


@pytest.mark.parametrize("text", [*LONG, "A “Fuji” apple.", "Grandma’s old rag doll."])
def test_creativity_0_gives_back_what_is_remembered(
    generator: TextGenerator, encoder: Encoder, text: str
) -> None:
    made = generator.generate(recalled(encoder, [text]), seed=1, creativity=0)
    assert made.media == text
    assert made.details["is_copy"]


def test_a_quote_says_where_it_is_from(generator: TextGenerator, encoder: Encoder) -> None:
    known = recalled(encoder, [f"  {LONG[0]}\n", "A cat."], LONG[0])
    made = generator.generate(known, seed=1, creativity=0)
    assert made.details["quoted_from"] == {"memory_id": "m0", "start": 2, "end": 2 + len(LONG[0])}
    short = generator.generate(recalled(encoder, ["A cat."]), seed=1, creativity=0)
    assert short.media == "A cat."
    assert "quoted_from" not in short.details


def test_without_quotes_the_decoder_writes(generator: TextGenerator, encoder: Encoder) -> None:
    """As an evaluation asks: what it cannot write is not given back."""
    known = replace(recalled(encoder, [LONG[0]]), quotes=False)
    for creativity in (0.0, 0.3):
        made = generator.generate(known, seed=1, creativity=creativity)
        assert made.media != LONG[0]
        assert "quoted_from" not in made.details


@pytest.mark.parametrize("asked", ["Were tomatoes cheap?", "When did we talk about the harvest?"])
def test_of_a_story_the_part_that_answers_is_quoted(
    generator: TextGenerator, encoder: Encoder, asked: str
) -> None:
    text = "The dog sleeps. " * 40 + STORY.strip()
    made = generator.generate(recalled(encoder, [text], asked), seed=1, creativity=0)
    place = made.details["quoted_from"]
    assert made.media == text[place["start"] : place["end"]]
    assert 200 < len(made.media) <= 400
    wanted = "harvest" if "harvest" in asked else "tomatoes"
    assert wanted in made.media
    assert made.media.endswith(".")
    assert text[: place["start"]].endswith((" ", "\n"))


def test_of_a_sentence_without_end_whole_words_are_quoted(
    generator: TextGenerator, encoder: Encoder
) -> None:
    text = "wordy " * 300
    made = generator.generate(recalled(encoder, [text]), seed=1, creativity=0)
    assert set(made.media.split()) == {"wordy"}
    assert 390 < len(made.media) <= 400
    assert not made.details["ended"]


@pytest.mark.parametrize("creativity", [0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("text", [*LONG, STORY, "A “Fuji” apple."])
def test_drafts_are_whole_words_and_characters(
    generator: TextGenerator, encoder: Encoder, text: str, creativity: float
) -> None:
    known = recalled(encoder, [text])
    lexicon = {*word_list(), *words_in(text)}
    for quotes in (True, False):
        made = generator.candidates(
            replace(known, quotes=quotes), seeds=range(8), creativity=creativity
        )
        for each in made:
            assert "\ufffd" not in each.media
            words = re.findall(r"[^\W_]+", each.media.lower())
            assert words
            assert all(word in lexicon or (len(word) <= 2 and word.isdecimal()) for word in words)
            assert each.details["ended"] or not goes_on_after(each.media) or len(words) == 1
        assert best(made).details["ended"] or not any(each.details["ended"] for each in made)


def best(made: Sequence[Generated]) -> Generated:
    return max(made, key=lambda each: each.merit)


def test_parts_of_what_is_too_long_are_quoted_whole(
    generator: TextGenerator, encoder: Encoder
) -> None:
    """With creativity, where the decoder has nothing of its own to say."""
    made = generator.candidates(recalled(encoder, [LONG[1]]), seeds=range(8), creativity=0.1)
    quoted = [each for each in made if "quoted_from" in each.details]
    assert quoted
    assert {each.media for each in quoted} == {LONG[1]}
    assert all(is_copy(each.media, [LONG[1]]) == each.details["is_copy"] for each in made)
    assert max(each.merit for each in quoted) < -1  # whatever else is there comes first


def test_what_was_refused_is_written_further_away(
    generator: TextGenerator, encoder: Encoder
) -> None:
    known = recalled(encoder, ["A red apple.", "A green apple."], "a red apple")
    near, far = (
        generator.candidates(known, seeds=range(8), creativity=0.5, refused=refused)
        for refused in (0, 2)
    )
    copies = [sum(each.details["is_copy"] for each in made) for made in (near, far)]
    assert copies[1] < copies[0]
