from __future__ import annotations

import io
import json
import wave
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save
from service_media import audio, image, png, text
from store_consistency import assert_consistent
from stored_contents import alter

from encoders.base import Waveform
from encoders.fake import SPACE
from generator import learned_fusion
from generator.fake import FakeGenerator
from generator.learned_fusion import FusionSettings
from memory_service.app import Application
from memory_service.errors import (
    InvalidInput,
    InvalidVector,
    MemoryServiceError,
    ModalityUnavailable,
    NotFound,
    NothingRemembered,
    SpaceMismatch,
)
from memory_service.records import Episode, Generation, QueryPart
from memory_service.services.rendering import render

if TYPE_CHECKING:
    from conftest import Open

WHALE = QueryPart("text", b"a blue whale")
ALL = ("image", "text", "audio")


def contents(app: Application, record: Generation) -> list[bytes]:
    return [app.generations.content(record.id, output.id)[1] for output in record.outputs]


def test_makes_one_item_per_output(zoo: Application) -> None:
    record = zoo.generation.generate([WHALE], outputs=ALL, seed=7)
    picture, words, sound = contents(zoo, record)
    assert [output.modality for output in record.outputs] == list(ALL)
    kinds = [output.media_type for output in record.outputs]
    assert kinds == ["image/png", "text/plain", "audio/wav"]
    assert Image.open(io.BytesIO(picture)).format == "PNG"
    assert words.decode() == record.outputs[1].text
    with wave.open(io.BytesIO(sound)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
    assert [output.size_bytes for output in record.outputs] == list(
        map(len, (picture, words, sound))
    )
    assert record.seed == 7
    assert {"encode", "search", "fuse", "generate", "write", "total"} <= record.timings_ms.keys()


def test_tells_what_it_was_made_from(app: Application, animals: dict[str, Episode]) -> None:
    app.memory.store([text("an unrelated note")])
    record = app.generation.generate([WHALE], outputs=["image"], k=2)
    best, *_ = record.memories
    assert best.episode_id == animals["whale"].id
    by_modality = {m.modality: m for m in record.memories if m.episode_id == animals["whale"].id}
    # The memory that matched, and the picture that the generator works from.
    assert by_modality.keys() == {"text", "image"}
    assert by_modality["text"].cosine == pytest.approx(1.0, abs=1e-5)
    assert len({memory.episode_id for memory in record.memories}) == 2
    assert sum(memory.weight for memory in record.memories) == pytest.approx(1.0, abs=1e-5)
    assert not any(memory.deleted for memory in record.memories)


@pytest.mark.parametrize("fusion", ["sum", "weighted", "attention"])
def test_replays_bit_for_bit(zoo: Application, fusion: Any) -> None:
    record = zoo.generation.generate([WHALE], outputs=ALL, fusion=fusion, creativity=0.9)
    assert zoo.generations.replay(record.id) == {output.id: True for output in record.outputs}


def write_fusion(folder: Path) -> None:
    """Weights drawn by lot, for the fake profile's vectors."""
    settings = FusionSettings(dimension=SPACE.dimension, space_id=SPACE.id)
    width = settings.heads * settings.head_width
    sizes = {
        **dict.fromkeys(("query", "key", "value"), (width, SPACE.dimension)),
        "inner": (settings.hidden, 2 * SPACE.dimension + width),
        "outer": (SPACE.dimension, settings.hidden),
    }
    random = np.random.default_rng(0)
    state = {f"{n}.weight": random.normal(0, 0.02, s).astype("f4") for n, s in sizes.items()}
    state |= {f"{n}.bias": np.zeros(s[0], np.float32) for n, s in sizes.items()}
    state["sharpness"] = np.full(settings.heads, 2.0, np.float32)
    (folder / "fusion.json").write_text(json.dumps(asdict(settings)), "utf-8")
    (folder / "fusion.safetensors").write_bytes(save(state))


def test_a_learned_fusion_is_recorded_and_needs_its_weights(
    zoo: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned_fusion, "FOLDER", tmp_path)
    with pytest.raises(InvalidInput, match=r"sum, weighted, attention$"):
        zoo.generation.generate([WHALE], outputs=ALL, fusion="learned")
    write_fusion(tmp_path)
    record = zoo.generation.generate([WHALE], outputs=ALL, fusion="learned", creativity=0.9)
    assert len(record.fusion_fingerprint or "") == 64
    assert zoo.generations.get(record.id).fusion_fingerprint == record.fusion_fingerprint
    assert record.fusion_fingerprint in zoo.generations.card(record.id).fingerprints.values()
    assert zoo.generations.replay(record.id) == {output.id: True for output in record.outputs}
    assert sum(memory.weight for memory in record.memories) == pytest.approx(1.0, abs=1e-5)
    (tmp_path / "fusion.safetensors").unlink()
    with pytest.raises(ModalityUnavailable, match="weights"):
        zoo.generations.replay(record.id)


def test_the_seed_decides(zoo: Application) -> None:
    def made(seed: int | None) -> list[str | None]:
        record = zoo.generation.generate([WHALE], outputs=ALL, seed=seed)
        return [output.media_sha256 for output in record.outputs]

    assert made(1) == made(1)
    assert made(1) != made(2)
    assert made(None) != made(None)


def test_survives_a_restart(app: Application, animals: dict[str, Episode], open_app: Open) -> None:
    record = app.generation.generate([WHALE, QueryPart("image", png(1))], outputs=ALL, k=3)
    made = contents(app, record)
    app.close()
    app = open_app()
    again = app.generations.get(record.id)
    np.testing.assert_array_equal(again.query_vector, record.query_vector)
    timeless = {"query_vector": None, "timings_ms": None}
    assert replace(again, **timeless) == replace(record, **timeless)
    assert contents(app, again) == made
    assert all(app.generations.replay(record.id).values())


def test_the_record_keeps_the_words_of_the_query(app: Application) -> None:
    app.memory.store([text("a blue whale")])
    parts = [WHALE, QueryPart("image", png(1), weight=0.5), QueryPart("text", b"at sea")]
    record = app.generations.get(app.generation.generate(parts).id)
    assert [(part.modality, part.text, part.weight) for part in record.query] == [
        ("text", "a blue whale", 1.0),
        ("image", None, 0.5),
        ("text", "at sea", 1.0),
    ]
    assert record.words == "a blue whale\nat sea"


def test_outputs_of_one_space_tell_how_they_agree(zoo: Application) -> None:
    record = zoo.generation.generate([WHALE], outputs=ALL)
    vectors = {output.modality: output.vector for output in record.outputs}
    assert record.agreement.keys() == {"image-text", "image-audio", "text-audio"}
    for pair, cosine in record.agreement.items():
        one, other = pair.split("-")
        assert cosine == pytest.approx(float(vectors[one] @ vectors[other]), abs=1e-6)
    assert zoo.generations.get(record.id).agreement == record.agreement


def test_a_forgotten_memory_is_marked(app: Application, animals: dict[str, Episode]) -> None:
    record = app.generation.generate([WHALE], outputs=["image"], k=1)
    app.memory.forget_episode(animals["whale"].id)
    shares = app.generations.get(record.id).memories
    assert shares
    assert all(share.deleted for share in shares)
    with pytest.raises(NotFound, match="forgotten"):
        app.generations.replay(record.id)
    assert_consistent(app)


def test_a_blob_that_a_generation_shares_stays(app: Application) -> None:
    """A text memory of just the bytes that were generated: one file, two owners."""
    app.memory.store([text("seed")])
    record = app.generation.generate([WHALE], outputs=["text"])
    made = app.generations.content(record.id)[1]
    episode = app.memory.store([text(made.decode())]).episode
    assert app.memory.forget_episode(episode.id).blobs_removed == ()
    assert app.generations.content(record.id)[1] == made


def test_novelty_is_the_distance_to_the_nearest_memory(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    episode = app.memory.store([text("an old song"), image(3)]).episode
    app.memory.store([audio(500)])
    copy = app.generation.generate([WHALE], outputs=["text"]).outputs[0]
    assert copy.nearest_memory_id == episode.memories[0].id
    assert 0 < (copy.novelty or 0) < 1
    monkeypatch.setattr(FakeGenerator, "_media", lambda *_: "an old song")
    copied = app.generation.generate([WHALE], outputs=["text"]).outputs[0]
    assert copied.novelty == pytest.approx(0.0, abs=2e-3)


def test_novelty_in_pixels_log_mels_and_words(
    app: Application, animals: dict[str, Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made exactly as remembered, each is new by none of the measures."""
    kept = FakeGenerator._media

    def remembered(self: FakeGenerator, values: Any, condition: Any) -> Any:
        media = [n.media for n in condition.neighbours if n.modality == self.modality]
        return media[0] if media else kept(self, values, condition)

    made = app.generation.generate([WHALE], outputs=ALL)
    monkeypatch.setattr(FakeGenerator, "_media", remembered)
    copied = app.generation.generate([WHALE], outputs=ALL)
    for new, copy in zip(made.outputs, copied.outputs, strict=True):
        assert new.media_novelty
        assert copy.media_novelty
        assert new.media_novelty.measure == copy.media_novelty.measure
        assert copy.media_novelty.value == pytest.approx(0.0, abs=1e-6)
        assert app.memory.get(copy.media_novelty.memory_id).modality == copy.modality
    picture, _, sound = made.outputs
    assert picture.media_novelty.value > 0.5
    assert sound.media_novelty.value > 0.1


def test_novelty_is_unknown_without_memories_of_the_modality(app: Application) -> None:
    app.memory.store([text("only words")])
    output = app.generation.generate([WHALE], outputs=["audio"]).outputs[0]
    assert (output.novelty, output.nearest_memory_id) == (None, None)


def test_filter_and_namespace_bound_what_is_used(
    app: Application, animals: dict[str, Episode]
) -> None:
    record = app.generation.generate([WHALE], filter={"name": "frog"})
    assert {share.episode_id for share in record.memories} == {animals["frog"].id}
    for options in ({"namespace": "empty"}, {"filter": {"name": "unicorn"}}):
        with pytest.raises(NothingRemembered):
            app.generation.generate([WHALE], **options)  # type: ignore[arg-type]
    assert_consistent(app)


def test_content_by_modality_or_id(zoo: Application) -> None:
    record = zoo.generation.generate([WHALE], outputs=["text", "image"])
    first, second = record.outputs
    assert zoo.generations.content(record.id)[0] == first
    assert zoo.generations.content(record.id, "image")[0] == second
    assert zoo.generations.content(record.id, second.id)[0] == second
    for call in (
        lambda: zoo.generations.content(record.id, "audio"),
        lambda: zoo.generations.get("nobody"),
        lambda: zoo.generations.replay("nobody"),
    ):
        with pytest.raises(NotFound):
            call()


@pytest.mark.parametrize(
    ("parts", "options", "error"),
    [
        ([], {}, InvalidInput),
        ([WHALE], {"outputs": []}, InvalidInput),
        ([WHALE], {"outputs": ["smell"]}, InvalidInput),
        ([WHALE], {"k": 0}, InvalidInput),
        ([WHALE], {"k": 65}, InvalidInput),
        ([WHALE], {"creativity": 1.5}, InvalidInput),
        ([WHALE], {"creativity": float("nan")}, InvalidInput),
        ([WHALE], {"max_similarity": 1.5}, InvalidInput),
        ([WHALE], {"max_similarity": "all"}, InvalidInput),
        ([WHALE], {"max_similarity": 0.5, "creativity": 0.0}, InvalidInput),
        ([WHALE], {"seed": -1}, InvalidInput),
        ([WHALE], {"seed": 2**63}, InvalidInput),
        ([WHALE], {"fusion": "nuclear"}, InvalidInput),
        ([WHALE], {"mode": "psychic"}, InvalidInput),
        ([WHALE], {"namespace": ".."}, InvalidInput),
        ([QueryPart(vector=np.zeros(384, np.float32))], {}, InvalidVector),
    ],
)
def test_refuses(
    zoo: Application,
    parts: list[QueryPart],
    options: Mapping[str, Any],
    error: type[MemoryServiceError],
) -> None:
    with pytest.raises(error):
        zoo.generation.generate(parts, **options)


def test_a_profile_without_generators(
    app: Application, animals: dict[str, Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = app.generation.generate([WHALE])
    models = replace(app.active.models, generators={}, generator_space=None)
    monkeypatch.setattr(app.active, "_models", models)
    with pytest.raises(ModalityUnavailable):
        app.generation.generate([WHALE])
    with pytest.raises(SpaceMismatch):
        app.generations.replay(record.id)


def test_rendering_clips_and_survives_what_is_not_a_number() -> None:
    samples = np.array([0.0, 2.0, -2.0, np.nan, 0.5], np.float32)
    kind, content = render("audio", Waveform(samples, 16_000))
    with wave.open(io.BytesIO(content)) as file:
        values = np.frombuffer(file.readframes(5), "<i2").tolist()
    assert (kind, values) == ("audio/wav", [0, 32767, -32767, 0, 16384])


def test_what_cannot_be_read_is_left_out(app: Application, animals: dict[str, Episode]) -> None:
    picture = next(m for m in animals["whale"].memories if m.modality == "image")
    alter(app.store, picture.blob, b"damaged")
    record = app.generation.generate([WHALE], outputs=ALL, k=3)
    assert record.memories
    assert picture.id not in {memory.memory_id for memory in record.memories}


def test_limits_made_stricter_do_not_touch_what_is_stored(open_app: Open) -> None:
    app = open_app()
    app.memory.store([text("a blue whale"), image(2)])
    app.close()
    record = open_app(max_pixels=10).generation.generate([WHALE], outputs=["image"])
    assert any(memory.modality == "image" for memory in record.memories)
