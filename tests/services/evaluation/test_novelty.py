"""A thing is new only where neither its meaning nor its pixels, mels or words say copy."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from encoders.base import Vectors, Waveform, normalize
from memory_service.services.evaluation.novelty import Novelty, copied, copied_as_media, no_copy


def unit(*values: float) -> Vectors:
    vector: Vectors = normalize(np.array(values, np.float32))
    return vector


class Lab:
    """One memory, and vectors as they are given."""

    def __init__(self, media: Any, vector: Vectors) -> None:
        self.cases = SimpleNamespace(
            media=lambda modality, places: [media] * len(places),
            vectors=lambda modality, places: np.stack([vector] * len(places)),
        )

    def generator(self, modality: str) -> Any:
        return SimpleNamespace(recode=lambda media: None)

    def encode(self, modality: str, media: Any) -> Vectors:
        found: Vectors = self.cases.vectors(modality, media)
        return found


def measured(modality: Any, memory: Any, made: Any, vector: Vectors) -> dict[str, float]:
    novelty = Novelty(Lab(memory, unit(1, 0)), modality)  # type: ignore[arg-type]
    found = novelty.measures([made], vector[None], [np.array([0])])
    return {name: float(values[0]) for name, values in found.items()}


@pytest.fixture
def picture() -> Image.Image:
    drawn = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(drawn).ellipse((10, 14, 50, 54), "brown", "black", 3)
    return drawn


def test_a_noisy_memory_is_a_copy_whatever_the_cosine_says(picture: Image.Image) -> None:
    made = picture.filter(ImageFilter.GaussianBlur(0.7))
    found = measured("image", picture, made, unit(0.5, 1))
    assert found["novelty"] > 0.4
    assert 0 < found["media_novelty"] < 0.2
    assert found["novel"] == 0


def test_another_picture_is_new_unless_it_means_the_same(picture: Image.Image) -> None:
    other = Image.effect_noise((64, 64), 90).convert("RGB")
    assert measured("image", picture, other, unit(0.5, 1))["novel"] == 1
    assert measured("image", picture, other, unit(1, 0.1))["novel"] == 0


def test_sounds_by_their_mels_and_texts_by_their_words() -> None:
    random = np.random.default_rng(0)
    sound, other = (
        Waveform((level * random.standard_normal(16_000)).astype(np.float32), 16_000)
        for level in (0.3, 0.3 * np.repeat(random.random(16), 1000))
    )
    assert measured("audio", sound, sound, unit(0.5, 1))["novel"] == 0
    assert measured("audio", sound, other, unit(0.5, 1))["media_novelty"] > 0
    quoted = measured("text", "a red fox in the snow", "a red fox in the snow!", unit(0.5, 1))
    assert (quoted["quoted"], quoted["media_novelty"], quoted["novel"]) == (1, 0, 0)
    assert measured("text", "a red fox in the snow", "two owls", unit(0.5, 1))["novel"] == 1


def test_nothing_is_said_of_what_was_made_from_nothing() -> None:
    novelty = Novelty(Lab("a", unit(1, 0)), "text")  # type: ignore[arg-type]
    assert novelty.measures(["a"], unit(1, 0)[None], [np.empty(0, np.int64)]) == {}


def test_the_shares_of_copies_are_told_apart() -> None:
    by_cosine, as_media = np.array([0.01, 0.5, 0.5]), np.array([0.5, 0.1, 0.5])
    assert copied(by_cosine).tolist() == [True, False, False]
    assert copied_as_media("image", as_media).tolist() == [False, True, False]
    assert no_copy("image", by_cosine, as_media).tolist() == [0, 0, 1]
