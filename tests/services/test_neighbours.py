"""Which of the recalled media a generator starts from: those of the episode that matched best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from service_media import text

from encoders.base import normalize
from encoders.calibration import Calibration, Logistic
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


AS_MEASURED = Calibration(
    {("text", "text"): Logistic(8.0, -2.0), ("text", "image"): Logistic(15.0, -1.5)}
)


def made_of(sources: list[Source], calibration: Calibration = AS_MEASURED) -> Condition:
    return condition(QUERY, sources, "attention", "fake", calibration=calibration)


def test_a_picture_counts_as_much_as_the_text_that_it_was_recalled_by() -> None:
    sources = [
        source("its text", "right", "text", 0.99),
        source("right picture", "right", "image", 0.2),
        source("another text", "wrong", "text", 0.3),
        source("wrong picture", "wrong", "image", 0.4),
    ]
    made = made_of(sources)
    assert made.weights[3] > made.weights[1]  # what each has in common with the query, as before
    assert made.weights.sum() == pytest.approx(1)
    assert [each.id for each in made.ranked("image")] == ["right picture", "wrong picture"]
    assert made.ranking[0] == made.ranking[1] == 1 > made.ranking[2] == made.ranking[3]


def test_cosines_are_compared_by_what_they_mean_in_their_modalities() -> None:
    """A text has a larger one to any text than to the picture that it describes."""
    sources = [
        source("some text", "wrong", "text", 0.7),
        source("wrong picture", "wrong", "image", 0.1),
        source("right picture", "right", "image", 0.5),
    ]
    made = made_of(sources)
    assert made.weights[0] > made.weights[2]
    assert [each.id for each in made.ranked("image")] == ["right picture", "wrong picture"]
    assert made_of(sources, Calibration()).ranked("image")[0].id == "wrong picture"


def test_nothing_is_surer_than_the_very_thing_that_was_asked_for() -> None:
    sources = [
        source("its text", "right", "text", 1.0),
        source("right picture", "right", "image", 0.2),
        source("picture", "wrong", "image", 0.9),  # by the map above surer than any text
    ]
    made = made_of(sources)
    assert made.ranked("image")[0].id == "right picture"
    assert made.starts("image") == ["right picture"]


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


def test_a_text_recalls_what_it_was_stored_with_beside_its_like(open_app: Open) -> None:
    """Its own picture fits it so well that it is recalled by that, and not by the text itself,
    which a doe's text is nearly like."""
    app = open_app(profile="bundled")
    own = {}
    for path in sorted(SAMPLES.glob("**/deer*.png")) + sorted(SAMPLES.glob("**/doe*.png")):
        words = path.with_suffix(".txt").read_text()
        stored = app.memory.store([Upload("image", path.read_bytes()), text(words)])
        own[words] = stored.episode.memories[0].id
    assert len(own) > 1
    for words, picture in own.items():
        part = QueryPart("text", words.encode())
        (made,) = app.generation.generate([part], creativity=0.0, seed=0).outputs
        assert made.details["starts_from"] == picture
