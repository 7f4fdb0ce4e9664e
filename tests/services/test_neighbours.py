"""Which of the recalled media a generator starts from: those of the episode that matched best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from service_media import text

from encoders.base import normalize
from generator.base import Condition, Neighbour
from memory_service.records import Memory, QueryPart, Upload
from memory_service.services.neighbours import Source, condition

if TYPE_CHECKING:
    from conftest import Open

SAMPLES = Path(__file__).parents[2] / "samples/tuxpaint-stamps"
QUERY = np.array([1, 0, 0], np.float32)


def source(id: str, episode: str, modality: str, cosine: float) -> Source:
    vector = normalize(np.array([cosine, np.sqrt(1 - cosine**2), 0]))
    memory = Memory(id, 1, "n", episode, modality, "x/x", "", 0, {}, 0.0)
    return Source(memory, Neighbour(id, modality, vector, id))


def test_a_picture_counts_as_much_as_the_text_that_it_was_recalled_by() -> None:
    sources = [
        source("its text", "right", "text", 0.99),
        source("right picture", "right", "image", 0.2),
        source("another text", "wrong", "text", 0.3),
        source("wrong picture", "wrong", "image", 0.4),
    ]
    made = condition(QUERY, sources, "attention", "fake")
    assert made.weights[3] > made.weights[1]  # what each has in common with the query, as before
    assert made.weights.sum() == pytest.approx(1)
    assert [each.id for each in made.ranked("image")] == ["right picture", "wrong picture"]
    np.testing.assert_allclose(made.ranking, made.weights[[0, 0, 3, 3]])


def test_without_episodes_each_stands_for_itself() -> None:
    neighbours = tuple(each.neighbour for each in (source("a", "a", "image", 0.1),) * 2)
    weights = np.array([0.25, 0.75], np.float32)
    assert Condition(QUERY, QUERY, neighbours, weights).ranking is weights


def test_a_picture_comes_back_by_its_own_text(open_app: Open) -> None:
    """The towers think that another picture fits the words better: the episode decides."""
    app = open_app(profile="bundled")
    names = ("animals/birds/owl", "animals/birds/rooster", "animals/mammals/dogs/fox")
    pictures = {}
    for number, name in enumerate(names):  # each text is stored with another one's picture
        picture = (SAMPLES / names[number - 1]).with_suffix(".png").read_bytes()
        words = (SAMPLES / name).with_suffix(".txt").read_text()
        stored = app.memory.store([Upload("image", picture), text(words)])
        pictures[words] = stored.episode.memories[0].id
    for words, own in pictures.items():
        part = QueryPart("text", words.encode())
        made = app.generation.generate([part], outputs=("image", "text"), creativity=0.0, seed=0)
        by_modality = {each.modality: each for each in made.outputs}
        assert by_modality["image"].details["starts_from"] == own
        assert by_modality["text"].text == words.strip()
