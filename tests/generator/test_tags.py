"""Tags of the committed vocabulary and of the memory."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoders.base import Encoder, Vectors
from encoders.media import on_white
from encoders.registry import load_profile
from generator.base import Condition, Neighbour
from generator.fusion import fuse
from generator.registry import WEIGHTS
from generator.tags import NO_TAGS, TagGenerator, load_vocabulary

SAMPLES = Path(__file__).parents[2] / "samples/tuxpaint-stamps"


@pytest.fixture(scope="module")
def encoders() -> dict[str, Encoder]:
    return dict(load_profile("bundled").encoders)


@pytest.fixture(scope="module")
def generator(encoders: dict[str, Encoder]) -> TagGenerator:
    return TagGenerator(encoders["text"], load_vocabulary(WEIGHTS))


def condition(query: Vectors, *neighbours: Neighbour) -> Condition:
    rows = np.stack([n.vector for n in neighbours]) if neighbours else np.zeros((0, 384), "f4")
    fused, weights = fuse(query, rows, "attention")
    return Condition(query, fused, neighbours, weights)


def test_the_vectors_are_those_of_the_text_encoder(encoders: dict[str, Encoder]) -> None:
    known = load_vocabulary(WEIGHTS)
    assert known.vectors.shape == (len(known.words), 384)
    assert list(known.words) == sorted(set(known.words))
    places = range(0, len(known.words), 60)
    rows = encoders["text"].encode([known.words[place] for place in places])
    assert ((rows * known.vectors[list(places)]).sum(1) > 0.998).all()


@pytest.mark.parametrize(
    ("name", "tag"), [("animals/mammals/cats/tiger", "animals"), ("vehicles/auto/beetle", "car")]
)
def test_a_picture_is_tagged_without_any_memory(
    encoders: dict[str, Encoder], generator: TagGenerator, name: str, tag: str
) -> None:
    picture = on_white(Image.open(SAMPLES / f"{name}.png"))
    made = generator.generate(
        condition(encoders["image"].encode([picture])[0]), seed=0, creativity=0
    )
    tags = [each["tag"] for each in made.details["tags"]]
    assert made.media == ", ".join(tags)
    assert tag in tags
    scores = [each["score"] for each in made.details["tags"]]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= made.details["threshold"]


def test_what_the_memory_names_is_named(
    encoders: dict[str, Encoder], generator: TagGenerator
) -> None:
    query, cat, note = encoders["text"].encode(["a cat", "A Siamese cat.", "the tax return"])
    memories = (
        Neighbour("m1", "text", cat, "A Siamese cat."),
        Neighbour("m2", "image", cat, None, ("Whiskers", "pet")),
        Neighbour("m3", "text", note, "A long text about the tax return, which is no tag at all."),
    )
    made = generator.generate(condition(query, *memories), seed=0, creativity=0)
    by = {each["tag"]: each["memory_ids"] for each in made.details["tags"]}
    assert by["siamese cat"] == ["m1"]
    assert "m3" not in {id for ids in by.values() for id in ids}
    assert len(by) <= 12


def test_nothing_fits_nothing(generator: TagGenerator) -> None:
    even = np.full(384, 384**-0.5, np.float32)
    flat = generator.generate(condition(even * 0), seed=0, creativity=0)
    assert (flat.media, flat.details["tags"]) == (NO_TAGS, [])


def test_sampling_repeats_with_its_seed(
    encoders: dict[str, Encoder], generator: TagGenerator
) -> None:
    asked = condition(encoders["text"].encode(["a happy birthday party"])[0])
    drawn = [generator.generate(asked, seed=seed, creativity=1.0).media for seed in range(6)]
    assert drawn == [generator.generate(asked, seed=s, creativity=1.0).media for s in range(6)]
    assert len(set(drawn)) > 1
    assert len({generator.generate(asked, seed=s, creativity=0).media for s in range(3)}) == 1
