"""A modality that lives in two spaces: texts beside pictures, and texts beside sounds."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Open
from service_media import audio, image, png, text, wav

from encoders.base import Encoder, Space, Vectors
from encoders.fake import FakeImageEncoder, FakeTextEncoder
from encoders.registry import Profile
from memory_service import bootstrap
from memory_service.app import Application
from memory_service.errors import (
    InvalidInput,
    InvalidVector,
    ModalityUnavailable,
    SpaceMismatch,
)
from memory_service.records import QueryPart, Retrieval
from memory_service.services.models import Models

SIGHT = FakeTextEncoder.space
HEARING = Space("hearing", SIGHT.dimension, "hearing-1")  # no vector tells of which space it is


def pitch(frequency_hz: float) -> Vectors:
    """Near for like pitches: one bump on a scale of 12 steps an octave."""
    place = 12 * np.log2(max(frequency_hz, 20) / 20)
    return np.exp(-0.5 * ((np.arange(HEARING.dimension) - place) / 2) ** 2).astype(np.float32)


class PitchOfText(Encoder):
    """The first number in it, as Hz."""

    modality = "text"
    space = HEARING

    def _encode(self, batch: Any) -> Vectors:
        numbers = [re.search(r"\d+", each) for each in batch]
        return np.stack([pitch(float(each[0]) if each else 20_000) for each in numbers])


class PitchOfSound(Encoder):
    """The loudest frequency."""

    modality = "audio"
    space = HEARING

    def _encode(self, batch: Any) -> Vectors:
        return np.stack([self._one(sound.samples, sound.sample_rate) for sound in batch])

    def _one(self, samples: Any, rate: int) -> Vectors:
        spectrum = np.abs(np.fft.rfft(samples))
        return pitch(float(np.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()]))


TWO_SPACES = Profile(
    name="two-spaces",
    encoders={"image": FakeImageEncoder(), "text": FakeTextEncoder(), "audio": PitchOfSound()},
    further=(PitchOfText(),),
)
ONE_SPACE = Profile("one-space", {"image": FakeImageEncoder(), "text": FakeTextEncoder()})

Activate = Callable[[Profile], None]


@pytest.fixture
def activate(monkeypatch: pytest.MonkeyPatch) -> Activate:
    return lambda profile: monkeypatch.setattr(bootstrap, "load_profile", lambda name: profile)


@pytest.fixture
def app(activate: Activate, open_app: Open) -> Application:
    activate(TWO_SPACES)
    app = open_app()
    for hz in (300, 700, 1500):
        app.memory.store([text(f"a tone of {hz} Hz")], metadata={"hz": hz})
        app.memory.store([audio(hz)], metadata={"hz": hz})
    return app


def ask(app: Application, *parts: QueryPart, **options: Any) -> Retrieval:
    return app.retriever.retrieve(parts, **options)


def first(found: Retrieval, modality: str) -> int:
    hz: int = found.hits[modality][0].memory.metadata["hz"]
    return hz


def test_a_text_has_a_vector_in_each_space(app: Application) -> None:
    counts = {(each.modality, each.space_id): each.count for each in app.memory.stats()}
    assert counts == {("text", "fake"): 3, ("text", "hearing"): 3, ("audio", "hearing"): 3}
    assert app.memory.count() == 6
    encoders = [(each.modality, each.space_id) for each in app.profile.encoders]
    assert encoders == [
        ("image", "fake"),
        ("text", "fake"),
        ("audio", "hearing"),
        ("text", "hearing"),
    ]


def test_text_and_sound_find_each_other_directly(app: Application) -> None:
    by_text = ask(app, QueryPart("text", b"700 Hz"), mode="direct")
    assert first(by_text, "audio") == 700
    assert by_text.hits["audio"][0].cosine == pytest.approx(1, abs=1e-3)
    assert by_text.spaces == {"image": "fake", "text": "fake", "audio": "hearing"}
    by_sound = ask(app, QueryPart("audio", wav(1500)), mode="direct")
    assert first(by_sound, "text") == 1500
    assert by_sound.spaces == {"image": None, "text": "hearing", "audio": "hearing"}


def test_familiarity_is_told_in_the_space_of_the_comparison(app: Application) -> None:
    assert ask(app, QueryPart("audio", wav(700))).familiarity.keys() == {"text", "audio"}
    known = ask(app, QueryPart("audio", wav(700))).familiarity["text"]
    assert known > ask(app, QueryPart("audio", wav(7000))).familiarity["text"]


def test_pictures_and_sounds_meet_by_association_only(app: Application) -> None:
    app.memory.store([image(5), audio(2500)], metadata={"hz": 2500})
    shown = QueryPart("image", png(5))
    direct = ask(app, shown, mode="direct")
    assert direct.hits["audio"] == ()
    assert direct.spaces["audio"] is None
    for mode in ("auto", "associative"):
        found = ask(app, shown, mode=mode, modalities=["audio"])
        assert first(found, "audio") == 2500
        assert found.hits["audio"][0].cosine is None
        assert found.hits["audio"][0].reached_by[0].via_modality == "image"
    back = ask(app, QueryPart("audio", wav(2500)), modalities=["image"])
    assert first(back, "image") == 2500


def test_of_two_spaces_the_one_with_more_of_the_query_is_compared_in(app: Application) -> None:
    tone, words = QueryPart("audio", wav(1500)), QueryPart("text", b"1500")
    assert ask(app, words).spaces["text"] == "fake"
    found = ask(app, words, tone, mode="direct")
    assert found.spaces["text"] == "hearing"
    assert first(found, "text") == 1500
    assert ask(app, QueryPart("image", png(1)), tone).spaces["text"] == "fake"


def test_a_bare_vector_says_of_which_space_it_is(app: Application) -> None:
    vector = pitch(300)
    with pytest.raises(InvalidVector, match="fake, hearing") as caught:
        ask(app, QueryPart(vector=vector))
    assert caught.value.details["accepted"] == ["fake", "hearing"]
    found = ask(app, QueryPart(vector=vector, space="hearing"), mode="direct")
    assert (first(found, "audio"), first(found, "text")) == (300, 300)
    assert found.hits["image"] == ()
    with pytest.raises(InvalidVector, match="there are: fake, hearing"):
        ask(app, QueryPart(vector=vector, space="smell"))
    with pytest.raises(InvalidVector, match="5 values"):
        ask(app, QueryPart(vector=vector[44:49], space="hearing"))
    with pytest.raises(InvalidInput, match="not for media"):
        ask(app, QueryPart("text", b"x", space="hearing"))


def test_forgetting_takes_both_vectors(app: Application) -> None:
    for memory in app.memory.list(modality="text")[0]:
        app.memory.forget(memory.id)
    assert {(each.modality, each.space_id) for each in app.memory.stats()} == {("audio", "hearing")}
    assert ask(app, QueryPart("audio", wav(300))).hits["text"] == ()
    assert not app.store.catalog.select(
        "SELECT 1 FROM vectors v JOIN memories m USING (sequence) WHERE m.modality = 'text'"
    )


def test_everything_is_there_after_a_restart(app: Application, open_app: Open) -> None:
    before, stats = ask(app, QueryPart("audio", wav(700))), app.memory.stats()
    app.close()
    again = open_app()
    assert ask(again, QueryPart("audio", wav(700))).hits == before.hits
    assert again.memory.stats() == stats


def test_a_space_that_came_later_is_a_mismatch_until_re_embedded(
    activate: Activate, open_app: Open
) -> None:
    """Searched as it is, it would pass over all texts from before: nothing is dropped silently."""
    activate(ONE_SPACE)
    app = open_app()
    app.memory.store([text("a tone of 300 Hz"), image(1)])
    app.close()
    activate(TWO_SPACES)
    app = open_app()
    for call in (
        lambda: app.memory.store([text("later")]),
        lambda: ask(app, QueryPart("audio", wav(300)), modalities=["text"], mode="direct"),
        lambda: ask(app, QueryPart("text", b"300")),
    ):
        with pytest.raises(SpaceMismatch, match=r"no vector in space hearing.*reembed") as caught:
            call()
        assert [each["id"] for each in caught.value.details["active"]] == ["fake", "hearing"]
    # Pictures have what they need.
    found = ask(app, QueryPart("image", png(1)), modalities=["image"], mode="direct")
    assert found.hits["image"][0].score == 1.0


def test_a_space_that_is_gone_is_a_mismatch(
    app: Application, activate: Activate, open_app: Open
) -> None:
    app.close()
    activate(ONE_SPACE)
    without = open_app()
    with pytest.raises(SpaceMismatch, match=r"made in space hearing"):
        without.memory.store([text("later")])


def test_generators_of_different_spaces_say_what_goes_together() -> None:
    models = Models(
        "p",
        {},
        calibration=None,  # type: ignore[arg-type]
        generators=dict.fromkeys(("image", "text", "audio")),  # type: ignore[arg-type]
        generator_space=SIGHT,
        generator_spaces={"audio": HEARING},
    )
    assert models.space_to_generate(["text", "image"]) == SIGHT
    assert models.space_to_generate(["audio"]) == HEARING
    with pytest.raises(ModalityUnavailable, match="image and text; audio") as caught:
        models.space_to_generate(["text", "audio"])
    assert caught.value.details == {
        "found": {"text": "fake", "audio": "hearing"},
        "accepted": [["image", "text"], ["audio"]],
    }
