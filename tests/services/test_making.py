"""Drawing again what is too like a memory, and the files that are made."""

from typing import Any

import numpy as np
import pytest
from service_media import text

from generator.base import Condition, derived_seed
from generator.fake import FakeGenerator
from memory_service import manifest
from memory_service.app import Application
from memory_service.errors import TooSimilar
from memory_service.records import Episode, QueryPart
from memory_service.services.making import MAX_DRAWS

WHALE = QueryPart("text", b"a blue whale")


@pytest.fixture
def copier(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The generator repeats a memory, unless it draws with a seed that is put into this list."""
    allowed: list[int] = []
    generate = FakeGenerator.generate

    def copying(self: FakeGenerator, condition: Any, *, seed: int, creativity: float) -> Any:
        self.copies = seed not in allowed  # type: ignore[attr-defined]
        return generate(self, condition, seed=seed, creativity=creativity)

    def media(self: FakeGenerator, values: Any, condition: Any) -> str:
        return "a blue whale" if self.copies else "something else entirely"  # type: ignore[attr-defined]

    monkeypatch.setattr(FakeGenerator, "generate", copying)
    monkeypatch.setattr(FakeGenerator, "_media", media)
    return allowed


def test_a_copy_is_drawn_again(app: Application, copier: list[int]) -> None:
    memory = app.memory.store([text("a blue whale")]).episode.memories[0]
    copier.append(derived_seed(7, 2))
    record = app.generation.generate([WHALE], outputs=["text"], seed=7, max_similarity=0.9)
    (output,) = record.outputs
    assert output.text == "something else entirely"
    assert [draw.seed for draw in output.draws] == [derived_seed(7, n) for n in range(3)]
    assert [draw.nearest_memory_id for draw in output.draws] == [memory.id] * 3
    assert output.draws[0].similarity == pytest.approx(1.0, abs=2e-3)
    assert (output.draws[2].similarity or 0) <= 0.9
    assert (record.seed, output.seed) == (7, derived_seed(7, 2))
    assert app.generations.get(record.id).outputs == record.outputs
    assert app.generations.replay(record.id) == {output.id: True}


def test_copies_without_end_are_refused(app: Application, copier: list[int]) -> None:
    app.memory.store([text("a blue whale")])
    with pytest.raises(TooSimilar, match="more similar") as caught:
        app.generation.generate([WHALE], outputs=["text"], max_similarity=0.9)
    details = caught.value.details
    assert len(details["draws"]) == MAX_DRAWS
    assert len({draw["seed"] for draw in details["draws"]}) == MAX_DRAWS
    assert details["found"] == pytest.approx(1.0, abs=2e-3)
    assert not app.store.catalog.select("SELECT * FROM generations")


def test_without_a_limit_it_is_drawn_once(app: Application, copier: list[int]) -> None:
    app.memory.store([text("a blue whale")])
    (output,) = app.generation.generate([WHALE], outputs=["text"], seed=3).outputs
    assert (output.draws, output.seed) == ((), 3)


def test_without_memories_of_the_modality_nothing_is_too_similar(app: Application) -> None:
    app.memory.store([text("a blue whale")])
    # What a query finds are texts only, and a picture is like none of them.
    options = {"outputs": ["image"], "max_similarity": 0.0, "creativity": 1.0}
    (output,) = app.generation.generate([WHALE], **options).outputs  # type: ignore[arg-type]
    assert [draw.similarity for draw in output.draws] == [None]


def test_a_look_alike_is_too_similar_whatever_its_embedding(
    app: Application, animals: dict[str, Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder takes it for something else, the pixels do not."""
    encoder = app.active.models.encoders["image"]
    vectors = iter(np.eye(384, dtype=np.float32))
    monkeypatch.setattr(type(encoder), "encode", lambda self, batch: next(vectors)[None])
    monkeypatch.setattr(FakeGenerator, "_media", first_of_its_kind)
    whale = next(each.id for each in animals["whale"].memories if each.modality == "image")
    query = app.active.models.encoders["text"]._encode(["a blue whale"])[0]
    with pytest.raises(TooSimilar) as caught:
        app.generation.generate([QueryPart(vector=query)], outputs=["image"], max_similarity=0.9)
    assert {draw["memory_id"] for draw in caught.value.details["draws"]} == {whale}
    assert caught.value.details["found"] == pytest.approx(1.0)


def first_of_its_kind(self: FakeGenerator, values: Any, condition: Condition) -> Any:
    return next(n.media for n in condition.neighbours if n.modality == self.modality)


def test_files_say_what_they_are(app: Application, animals: dict[str, Episode]) -> None:
    record = app.generation.generate([WHALE], outputs=["image", "text", "audio"], seed=9)
    for output in record.outputs:
        content = app.generations.content(record.id, output.id)[1]
        says = manifest.read(content)
        if output.modality == "text":
            assert says is None
            continue
        assert says
        assert (says["generation_id"], says["output_id"]) == (record.id, output.id)
        assert says["seed"] == 9
        assert [each["memory_id"] for each in says["memories"]] == [
            share.memory_id for share in record.memories
        ]
        assert says["generator"]["fingerprint"] == output.generator_fingerprint


def test_a_generated_file_can_be_stored(app: Application, animals: dict[str, Episode]) -> None:
    record = app.generation.generate([WHALE], outputs=["image", "audio"])
    for output in record.outputs:
        content = app.generations.content(record.id, output.id)[1]
        found = app.generation.generate([QueryPart(output.modality, content)], outputs=["text"])
        assert found.memories


def test_outputs_of_before_have_no_manifest(app: Application, animals: dict[str, Episode]) -> None:
    """As a store of the version before has them: replay makes what was made then."""
    record = app.generation.generate([WHALE], outputs=["image"])
    (output,) = record.outputs
    with app.store.catalog.transaction("making it old") as connection:
        connection.execute(
            "UPDATE generation_outputs SET blob = media_sha256, media_sha256 = NULL, seed = NULL"
        )
    assert app.generations.get(record.id).outputs[0].seed == record.seed
    assert app.generations.replay(record.id) == {output.id: True}
