"""The bundled picture generator with its committed weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

from encoders.base import Vectors, normalize
from generator import networks
from generator.base import Condition, Neighbour
from generator.image import PictureGenerator, square
from generator.registry import WEIGHTS

SAMPLES = Path(__file__).parents[2] / "samples/tuxpaint-stamps"
PICTURES = {
    name: SAMPLES / f"{name}.png"
    for name in ("animals/mammals/bovines/cow", "food/fruit/apple_red", "vehicles/auto/beetle")
}
QUERY, OTHER = (normalize(np.random.default_rng(n).standard_normal(384)) for n in (0, 1))


@pytest.fixture(scope="module")
def generator() -> PictureGenerator:
    return PictureGenerator(WEIGHTS)


@pytest.fixture(scope="module")
def exact() -> PictureGenerator:
    """In single precision, whatever the processor has besides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "HALVED", frozenset())
        return PictureGenerator(WEIGHTS)


def picture(name: str) -> Image.Image:
    return Image.open(PICTURES[name])


def remembering(*names: str, vector: Vectors = QUERY) -> Condition:
    neighbours = tuple(Neighbour(name, "image", vector, picture(name)) for name in names)
    weights = np.full(len(names), 1 / max(1, len(names)), np.float32)
    return Condition(QUERY, QUERY, neighbours, weights)


def pixels(
    generator: PictureGenerator, condition: Condition, seed: int, creativity: float
) -> npt.NDArray[np.uint8]:
    media = generator.generate(condition, seed=seed, creativity=creativity).media
    assert media.size == (64, 64)
    assert media.mode == "RGB"
    return np.asarray(media)


@pytest.mark.parametrize("name", PICTURES)
def test_without_creativity_the_remembered_picture_comes_back(
    generator: PictureGenerator, name: str
) -> None:
    made = pixels(generator, remembering(name), 0, 0.0)
    likeness = {
        other: structural_similarity(made, square(picture(other), 64), channel_axis=2)
        for other in PICTURES
    }
    assert max(likeness, key=lambda other: likeness[other]) == name
    assert likeness[name] > 0.6


def test_the_same_seed_gives_the_same_picture(generator: PictureGenerator) -> None:
    condition = remembering("food/fruit/apple_red")
    first, again, other = (pixels(generator, condition, seed, 0.7) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 1


def test_another_memory_gives_another_picture(generator: PictureGenerator) -> None:
    made = [pixels(generator, remembering(name), 1, 0.4).astype(int) for name in PICTURES]
    assert min(np.abs(made[0] - made[1]).mean(), np.abs(made[0] - made[2]).mean()) > 5


def test_creativity_leads_away_from_the_memory(generator: PictureGenerator) -> None:
    name = "vehicles/auto/beetle"
    original = square(picture(name), 64).astype(int)
    distances = [
        np.abs(pixels(generator, remembering(name), 3, creativity) - original).mean()
        for creativity in (0.0, 0.5, 1.0)
    ]
    assert distances == sorted(distances)


def test_without_a_remembered_picture_it_is_drawn_from_the_prior(
    generator: PictureGenerator,
) -> None:
    made = generator.generate(remembering(), seed=1, creativity=0.0)
    assert made.details["noise"] == 1.0
    assert made.details["starts_from"] is None


@pytest.mark.parametrize("creativity", [-0.1, 1.1, float("nan")])
def test_creativity_out_of_range_is_refused(generator: PictureGenerator, creativity: float) -> None:
    with pytest.raises(ValueError, match="creativity"):
        generator.generate(remembering(), seed=1, creativity=creativity)


def test_pictures_of_any_shape_keep_their_proportions() -> None:
    wide = Image.new("RGBA", (200, 20), (255, 0, 0, 255))
    made = square(wide, 64)
    assert made.shape == (64, 64, 3)
    assert (made[32] == (255, 0, 0)).all()
    assert (made[:28] == 255).all()


def apart(one: Image.Image, other: Image.Image) -> npt.NDArray[np.int16]:
    """Levels by which they differ."""
    return np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))


def test_candidates_are_those_of_their_seeds(exact: PictureGenerator) -> None:
    """But for the last bits, which several at once may round otherwise."""
    condition = remembering("food/fruit/apple_red")
    first, second, again = exact.candidates(condition, seeds=(3, 4, 3), creativity=0.6)
    assert not apart(first.media, again.media).any()
    assert apart(first.media, second.media).mean() > 1
    for seed, each in ((3, first), (4, second)):
        alone = exact.generate(condition, seed=seed, creativity=0.6)
        assert apart(alone.media, each.media).max() <= 1


def test_candidates_look_like_those_of_their_seeds(generator: PictureGenerator) -> None:
    """In the processor's own arithmetic, the bits of which may depend on how many there are."""
    condition = remembering("food/fruit/apple_red")
    made = generator.candidates(condition, seeds=(3, 4), creativity=0.6)
    assert apart(made[0].media, made[1].media).mean() > 10
    for seed, each in zip((3, 4), made, strict=True):
        alone = generator.generate(condition, seed=seed, creativity=0.6)
        assert apart(alone.media, each.media).mean() < 1


def test_candidates_start_from_each_picture_that_matches_alike(generator: PictureGenerator) -> None:
    """In turns, with that one first among those that are read; each is like its own start."""
    cow, apple, beetle = PICTURES
    known = remembering(cow, apple, beetle, vector=OTHER)
    known = replace(known, weights=np.array([0.3, 0.1, 0.6], np.float32))
    made = generator.candidates(known, seeds=range(3), creativity=0.3)
    assert [each.details["starts_from"] for each in made] == [beetle, cow, beetle]
    assert made[1].details["read_memories"] == [cow, beetle, apple]
    for each in made:
        likeness = {
            name: structural_similarity(
                np.asarray(each.media), square(picture(name), 64), channel_axis=2
            )
            for name in PICTURES
        }
        assert max(likeness, key=lambda name: likeness[name]) == each.details["starts_from"]
    free = generator.candidates(known, seeds=range(2), creativity=1.0)
    assert [each.details["starts_from"] for each in free] == [beetle, beetle]
    named = replace(known, start=cow)
    alone = generator.generate(named, seed=1, creativity=0.3)
    assert apart(alone.media, made[1].media).mean() < 1
    again = generator.candidates(named, seeds=range(3), creativity=0.3)
    assert {each.details["starts_from"] for each in again} == {cow}


def test_what_is_recalled_without_doubt_is_what_all_start_from(generator: PictureGenerator) -> None:
    """By weight; or the query is a memory itself, however near another one comes."""
    cow, apple, _ = PICTURES
    known = replace(
        remembering(cow, apple, vector=OTHER), weights=np.array([0.05, 0.95], np.float32)
    )
    itself = replace(remembering(cow, apple), weights=np.array([0.45, 0.55], np.float32))
    for condition in (known, itself):
        made = generator.candidates(condition, seeds=range(3), creativity=0.3)
        assert {each.details["starts_from"] for each in made} == {apple}
    # A text alone that is the query says nothing of the pictures.
    note = Neighbour("note", "text", QUERY, "a note")
    weights = np.array([0.2, 0.2, 0.6], np.float32)
    noted = replace(known, neighbours=(*known.neighbours, note), weights=weights)
    assert noted.starts("image") == [cow, apple]
    gone = generator.generate(replace(known, start="forgotten"), seed=0, creativity=0.3)
    assert gone.details["starts_from"] == apple
