"""The committed caption decoder, on vectors of known texts kept beside this file."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.base import Vectors, normalize
from encoders.registry import load_profile
from generator.base import Condition, Neighbour, derived_seed
from generator.fusion import fuse
from generator.registry import WEIGHTS
from generator.spelling import words_in
from generator.text import TextGenerator, towards_texts
from generator.wording import is_copy


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    return TextGenerator(WEIGHTS)


@pytest.fixture(scope="module")
def vectors() -> dict[str, Vectors]:
    texts = [*MEMORIES, *OTHERS, "a cat", ""]
    rows = load_profile("bundled").encoders["text"].encode(texts)
    return dict(zip(texts, rows, strict=True))


MEMORIES = ("A cat.", "A dog.", "A horse.")
OTHERS = ("A red truck.", "A fire engine.", "An airplane.")


def condition(vectors: dict[str, Vectors], query: str, texts: tuple[str, ...]) -> Condition:
    rows = np.stack([vectors[t] for t in texts]) if texts else np.zeros((0, 384), np.float32)
    fused, weights = fuse(vectors[query], rows, "attention")
    neighbours = tuple(Neighbour(str(i), "text", rows[i], t) for i, t in enumerate(texts))
    return Condition(vectors[query], fused, neighbours, weights)


def test_what_is_remembered_is_said(generator: TextGenerator, vectors: dict[str, Vectors]) -> None:
    made = generator.generate(condition(vectors, "a cat", MEMORIES), seed=0, creativity=0)
    assert "cat" in made.media.lower()
    assert made.details["read_memories"][0] == "0"


def test_the_memory_changes_the_text(generator: TextGenerator, vectors: dict[str, Vectors]) -> None:
    query = normalize(vectors[MEMORIES[0]] + vectors[OTHERS[0]])  # either would do
    texts = []
    for memory in (MEMORIES[0], OTHERS[0]):
        fused, weights = fuse(query, vectors[memory][None], "attention")
        neighbour = Neighbour("0", "text", vectors[memory], memory)
        known = Condition(query, fused, (neighbour,), weights)
        texts.append(generator.generate(known, seed=0, creativity=0).media)
    assert "truck" in texts[1]
    assert texts[0] != texts[1]


@pytest.mark.parametrize("creativity", [0.0, 0.4, 1.0])
def test_a_seed_repeats(
    generator: TextGenerator, vectors: dict[str, Vectors], creativity: float
) -> None:
    known = condition(vectors, "a cat", MEMORIES)
    first, again = (
        generator.generate(known, seed=7, creativity=creativity).media for _ in range(2)
    )
    assert first == again


def test_seeds_differ_when_creative(generator: TextGenerator, vectors: dict[str, Vectors]) -> None:
    known = condition(vectors, "a cat", MEMORIES)
    drawn = {generator.generate(known, seed=s, creativity=1.0).media for s in range(8)}
    fixed = {generator.generate(known, seed=s, creativity=0.0).media for s in range(3)}
    assert len(drawn) > 2
    assert len(fixed) == 1


@pytest.mark.parametrize("creativity", [-0.1, 1.1, float("nan")])
def test_creativity_has_bounds(
    generator: TextGenerator, vectors: dict[str, Vectors], creativity: float
) -> None:
    with pytest.raises(ValueError, match="creativity"):
        generator.generate(condition(vectors, "a cat", ()), seed=0, creativity=creativity)


def test_without_memories_it_still_writes(
    generator: TextGenerator, vectors: dict[str, Vectors]
) -> None:
    made = generator.generate(condition(vectors, "a cat", ()), seed=0, creativity=0)
    assert made.media
    assert made.details["read_memories"] == []


def test_odd_texts_are_read(generator: TextGenerator, vectors: dict[str, Vectors]) -> None:
    known = condition(vectors, "a cat", MEMORIES)
    odd = ("word " * 20_000, "", "\x00\n漢字 🐈")
    neighbours = tuple(
        Neighbour(str(i), "text", n.vector, text)
        for i, (n, text) in enumerate(zip(known.neighbours, odd, strict=True))
    )
    strange = Condition(known.query, known.fused, neighbours, known.weights)
    assert generator.generate(strange, seed=-1, creativity=0.5).media


def test_more_memories_than_it_reads(generator: TextGenerator, vectors: dict[str, Vectors]) -> None:
    known = condition(vectors, "a cat", (MEMORIES + OTHERS) * 5)
    made = generator.generate(known, seed=0, creativity=0)
    assert len(made.details["read_memories"]) <= 4


def test_towards_texts_is_a_unit_vector_nearer_to_them(vectors: dict[str, Vectors]) -> None:
    texts = np.stack([vectors[t] for t in MEMORIES])
    drawn = towards_texts(vectors["A red truck."], texts, strength=0.5)
    assert np.linalg.norm(drawn) == pytest.approx(1, abs=1e-5)
    assert (texts @ drawn).max() > (texts @ vectors["A red truck."]).max()
    none = np.zeros((0, 384), np.float32)
    assert np.array_equal(towards_texts(texts[0], none, strength=0.5), texts[0])


def test_copies_are_told() -> None:
    known = ["A cat.", "A black-and-white Emperor penguin."]
    for copy in ("A cat.", "cat", "the Cat", "black and white Emperor", "an Emperor penguin"):
        assert is_copy(copy, known) == (copy != "an Emperor penguin")
    for other in ("A cat and a dog.", "A white cat.", "penguin", "cats"):
        assert not is_copy(other, known)


def test_a_remembered_text_is_not_repeated(
    generator: TextGenerator, vectors: dict[str, Vectors]
) -> None:
    blank = vectors["a cat"] * 0 + vectors[""]
    rows = np.stack([vectors[t] for t in MEMORIES])
    neighbours = tuple(Neighbour(str(i), "text", rows[i], t) for i, t in enumerate(MEMORIES))
    fused, weights = fuse(blank, rows, "sum")
    for seed in range(4):
        made = generator.generate(
            Condition(blank, fused, neighbours, weights), seed=seed, creativity=0.3
        )
        assert made.details["is_copy"] == is_copy(made.media, MEMORIES)
        assert not made.details["is_copy"]


def test_words_are_finished(generator: TextGenerator) -> None:
    ids = generator.tokenizer.encode("A black-and-white Emperor.", add_special_tokens=False).ids
    spelling = generator.spelling
    words = spelling.words(ids)
    assert [generator.tokenizer.decode(list(word)).strip() for word in words] == [
        "A", "black", "and", "white", "Emperor",
    ]  # fmt: skip
    inside = [n for n in range(len(ids)) if spelling.breaks_off(ids[: n + 1], set(words))]
    pieces = [n for n, token in enumerate(ids) if spelling.goes_on[token]]
    assert inside
    assert all(n + 1 in pieces for n in inside)


def test_candidates_are_drafts_of_their_own(
    generator: TextGenerator, vectors: dict[str, Vectors]
) -> None:
    """The same seeds write the same again, and copies of the memory have no merit."""
    known = condition(vectors, "a cat", MEMORIES)
    first, again = (generator.candidates(known, seeds=range(8), creativity=1.0) for _ in range(2))
    assert first == again
    assert len({each.media for each in first}) > 2
    new = [each for each in first if not is_copy(each.media, MEMORIES)]
    assert new
    assert max(first, key=lambda each: each.merit) in new
    alone = generator.candidates(known, seeds=[3], creativity=1.0)
    assert alone == [generator.generate(known, seed=3, creativity=1.0)]


def test_what_is_not_recognised_is_mostly_written_in_other_words(
    generator: TextGenerator, vectors: dict[str, Vectors]
) -> None:
    """Captions of something else are read by one pair of drafts: the others cannot repeat them."""
    reading = []
    for query, texts in (("a cat", MEMORIES), ("A red truck.", MEMORIES)):
        known = condition(vectors, query, texts)
        made = generator.candidates(known, seeds=range(8), creativity=0.3)
        reading.append([each.details["captions_read"] for each in made])
        assert all(len(each.details["read_memories"]) == 3 for each in made)
    assert reading == [[True] * 8, [True] * 2 + [False] * 6]
    alone = generator.candidates(
        condition(vectors, "A red truck.", ()), seeds=range(8), creativity=0.3
    )
    assert not any(each.details["captions_read"] for each in alone)


def test_another_thing_is_not_called_what_is_remembered(
    generator: TextGenerator, vectors: dict[str, Vectors]
) -> None:
    """All drafts used to read the captions, and half of them named a remembered animal."""
    known = condition(vectors, "A red truck.", MEMORIES)
    named = 0
    for seed in range(3):
        seeds = [derived_seed(seed, number) for number in range(8)]
        made = generator.candidates(known, seeds=seeds, creativity=0.3)
        named += sum(bool({"cat", "dog", "horse"} & {*words_in(each.media)}) for each in made)
    assert named <= 6
