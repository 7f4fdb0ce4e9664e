"""What each memory did, measured by leaving it out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from conftest import Open
from service_media import text

from generator.base import Condition, Generated
from generator.fake import FakeGenerator
from memory_service.app import Application
from memory_service.errors import NotFound
from memory_service.records import Episode, Generation, QueryPart

WHALE = QueryPart("text", b"a blue whale")
ALL = ("image", "text", "audio")


def test_effects_are_those_of_leaving_a_memory_out(app: Application) -> None:
    """Compared with what the generator makes by hand of the other memories."""
    for words in ("a blue whale", "a whale", "an old song"):
        app.memory.store([text(words)])
    record = app.generation.generate([WHALE], outputs=["text"], k=3, seed=4, explain=True)
    encoder = app.active.models.encoders["text"]
    made = [record.outputs[0].text]
    for left_out in record.memories:
        others = [share.memory_id for share in record.memories if share is not left_out]
        words = [app.memory.get(id).text for id in others]
        made.append(made_of(app, record, words))
    vectors = encoder.encode(made)
    for share, vector in zip(record.memories, vectors[1:], strict=True):
        assert share.effects["text"] == pytest.approx(1 - vectors[0] @ vector, abs=2e-3)
        assert share.effect == share.effects["text"]
    assert max(share.effects["text"] for share in record.memories) > 0.1


def made_of(app: Application, record: Generation, texts: Sequence[str | None]) -> str:
    from generator.base import Neighbour
    from generator.fusion import fuse

    rows = app.active.models.encoders["text"].encode(list(texts))
    fused, weights = fuse(record.query_vector, rows, record.fusion)
    neighbours = tuple(Neighbour("", "text", rows[n], each) for n, each in enumerate(texts))
    condition = Condition(record.query_vector, fused, neighbours, weights)
    generator = app.active.models.generator("text")
    made = generator.generate(condition, seed=record.seed, creativity=record.creativity)
    return str(made.media)


def test_a_memory_that_did_nothing_has_an_effect_of_zero(
    app: Application, animals: dict[str, Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    def heaviest(self: FakeGenerator, values: Any, condition: Condition) -> str:
        if not len(condition.weights):
            return "nothing"
        return condition.neighbours[int(np.argmax(condition.weights))].id

    monkeypatch.setattr(FakeGenerator, "_media", heaviest)
    record = app.generation.generate([WHALE], outputs=["text"], k=3, explain=True)
    effects = [share.effects["text"] for share in record.memories]
    most = int(np.argmax([share.weight for share in record.memories]))
    assert effects[most] > 0
    assert [effect for place, effect in enumerate(effects) if place != most] == [0.0] * (
        len(effects) - 1
    )
    assert (record.outputs[0].effect_of_all or 0) > 0


def test_explained_later_is_as_explained_at_once(
    app: Application, animals: dict[str, Episode], open_app: Open
) -> None:
    options: dict[str, Any] = {"outputs": ALL, "k": 3, "seed": 5}
    at_once = app.generation.generate([WHALE], explain=True, **options)
    plain = app.generation.generate([WHALE], **options)
    assert not any(share.effects for share in plain.memories)
    assert plain.memories[0].effect is None
    later = app.generations.explain(plain.id)
    for one, other in zip(at_once.memories, later.memories, strict=True):
        assert set(other.effects) == set(ALL)
        assert other.effects == pytest.approx(one.effects, abs=2e-3)
    assert [output.effect_of_all for output in later.outputs] == pytest.approx(
        [output.effect_of_all for output in at_once.outputs], abs=2e-3
    )
    assert all(app.generations.replay(at_once.id).values())
    app.close()
    app = open_app()
    for record in (at_once, later):
        again = app.generations.get(record.id)
        assert again.memories == record.memories
        assert again.outputs == record.outputs
        assert all(app.generations.replay(record.id).values())


def test_what_was_measured_is_not_measured_again(
    app: Application, animals: dict[str, Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = app.generation.generate([WHALE], explain=True)

    def never(*_: object, **__: object) -> Generated:
        raise AssertionError("made again")

    monkeypatch.setattr(FakeGenerator, "generate", never)
    assert app.generations.explain(record.id).memories == record.memories


def test_what_cannot_be_made_again_is_not_explained(
    app: Application, animals: dict[str, Episode]
) -> None:
    record = app.generation.generate([WHALE], k=1)
    app.memory.forget_episode(animals["whale"].id)
    with pytest.raises(NotFound, match="forgotten"):
        app.generations.explain(record.id)
    with pytest.raises(NotFound):
        app.generations.explain("nobody")
