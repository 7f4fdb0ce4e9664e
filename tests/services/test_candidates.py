"""Several candidates of one output: the best is kept, the record tells of all."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from service_media import text

from generator.base import Condition, Generated, Generator, derived_seed
from generator.fake import FakeGenerator
from generator.fusion import fuse
from memory_service.app import Application
from memory_service.errors import InvalidInput, TooSimilar
from memory_service.records import Episode, Generation, QueryPart
from memory_service.services.making import MAX_ROUNDS

Open = Callable[..., Application]

WHALE = QueryPart("text", b"a blue whale")
ALL = ("image", "text", "audio")


def drawn(app: Application, **options: Any) -> Generation:
    return app.generation.generate([WHALE], seed=7, **{"creativity": 0.8, **options})


@pytest.mark.parametrize("modality", ALL)
def test_the_one_nearest_to_the_query_is_kept(
    app: Application, animals: dict[str, Episode], modality: str
) -> None:
    """Compared with each of them made alone, and encoded."""
    record = drawn(app, outputs=[modality], candidates=5)
    seeds = [derived_seed(7, number) for number in range(5)]
    alone = [
        app.generation.generate(
            [WHALE], outputs=[modality], seed=seed, creativity=0.8, candidates=1
        ).outputs[0]
        for seed in seeds
    ]
    memories = [app.store.catalog.memory(share.memory_id) for share in record.memories]
    key = record.space_id, record.space_fingerprint
    known = np.stack([vector_of(app, each.sequence, key) for each in memories])
    fused, _ = fuse(record.query_vector, known, record.fusion)
    asked = (record.query_vector + fused) / 2
    cosines = [float(asked @ vector) for vector in (each.vector for each in alone)]
    (output,) = record.outputs
    assert [draw.score for draw in output.draws] == pytest.approx(cosines, abs=1e-5)
    best = int(np.argmax(cosines))
    assert [draw.taken for draw in output.draws] == [place == best for place in range(5)]
    assert output.seed == seeds[best]
    assert output.media_sha256 == alone[best].media_sha256


def vector_of(app: Application, sequence: int, key: tuple[str, str]) -> Any:
    return app.store.catalog.vector(sequence, key)


def test_it_is_repeated_bit_for_bit(app: Application, animals: dict[str, Episode]) -> None:
    record = drawn(app, outputs=ALL, candidates=3, explain=True)
    assert app.generations.get(record.id).outputs == record.outputs
    assert app.generations.replay(record.id) == {output.id: True for output in record.outputs}
    assert any(share.effects["image"] > 0 for share in record.memories)


def test_what_goes_with_the_text_is_kept(app: Application, animals: dict[str, Episode]) -> None:
    """Compared with each of the pictures made alone, out of the same memories."""
    changed = 0
    for seed in range(6):
        options = {"candidates": 5, "seed": seed, "creativity": 0.8}
        picture, written = app.generation.generate(
            [WHALE], outputs=["image", "text"], **options
        ).outputs
        standing = []
        for draw in picture.draws:
            one, _ = app.generation.generate(
                [WHALE],
                outputs=["image", "text"],
                **{**options, "candidates": 1, "seed": draw.seed},
            ).outputs
            assert one.vector is not None
            assert written.vector is not None
            standing.append((draw.score or 0.0) + 0.5 * float(one.vector @ written.vector))
        taken = [draw.taken for draw in picture.draws].index(True)
        assert taken == int(np.argmax(standing))
        changed += taken != int(np.argmax([draw.score or 0.0 for draw in picture.draws]))
    assert changed


def test_a_replay_makes_the_same_candidates(
    app: Application, animals: dict[str, Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made at once may differ in its last bits from what is made alone."""
    record = drawn(app, outputs=["image"], candidates=3)
    calls: list[list[int]] = []
    candidates = Generator.candidates

    def watched(self: Generator, condition: Condition, *, seeds: Any, **options: Any) -> Any:
        calls.append(list(seeds))
        return candidates(self, condition, seeds=seeds, **options)

    monkeypatch.setattr(FakeGenerator, "candidates", watched)
    assert all(app.generations.replay(record.id).values())
    assert calls == [[derived_seed(7, number) for number in range(3)]]


def test_what_is_too_like_a_memory_is_left_out(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy fits the query best."""
    memory = app.memory.store([text("a blue whale")]).episode.memories[0]
    copying(monkeypatch, [derived_seed(7, 2), derived_seed(7, 3)])
    (output,) = drawn(app, outputs=["text"], candidates=4, max_similarity=0.9).outputs
    assert [draw.nearest_memory_id for draw in output.draws] == [memory.id] * 4
    scores = [draw.score or 0.0 for draw in output.draws]
    allowed = [place for place, draw in enumerate(output.draws) if (draw.similarity or 0) <= 0.9]
    assert allowed == [2, 3]
    assert max(scores) == max(scores[:2])
    taken = [place for place, draw in enumerate(output.draws) if draw.taken]
    assert taken == [max(allowed, key=lambda place: scores[place])]


def test_where_all_are_too_like_a_memory_as_many_are_drawn_again(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.memory.store([text("a blue whale")])
    copying(monkeypatch, [derived_seed(7, 5)])
    record = drawn(app, outputs=["text"], candidates=3, max_similarity=0.9)
    (output,) = record.outputs
    assert output.seed == derived_seed(7, 5)
    assert [draw.round for draw in output.draws] == [0, 0, 0, 1, 1, 1]
    assert [draw.taken for draw in output.draws] == [False] * 5 + [True]
    assert app.generations.replay(record.id) == {output.id: True}


def test_copies_without_end_are_refused(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    app.memory.store([text("a blue whale")])
    copying(monkeypatch, [])
    with pytest.raises(TooSimilar) as caught:
        drawn(app, outputs=["text"], candidates=4, max_similarity=0.9)
    assert len({draw["seed"] for draw in caught.value.details["draws"]}) == 4 * MAX_ROUNDS


def test_a_score_is_a_cosine_whatever_the_generator_thinks(open_app: Open) -> None:
    """The decoder that is shipped puts copies last; its opinion is no part of what is told."""
    app = open_app(profile="bundled")
    for words in ("A red apple.", "A green apple.", "A yellow pear."):
        app.memory.store([text(words)])
    record = app.generation.generate(
        [QueryPart("text", b"a red apple")], outputs=["text"], seed=1, creativity=0.5
    )
    (output,) = record.outputs
    scores = [draw.score for draw in output.draws if draw.score is not None]
    assert len(scores) == len(output.draws) == 8
    assert all(0.1 < score <= 1.0 for score in scores)
    facts = app.generations.card(record.id).outputs[0].facts
    assert facts["how they fit"] == " ".join(f"{score:.2f}" for score in scores)
    taken = next(draw for draw in output.draws if draw.taken)
    assert output.vector is not None
    nearest = max(scores)
    assert output.details["is_copy"] is False
    assert (taken.score or 0.0) < nearest  # that of a copy, which was put aside
    assert app.generations.replay(record.id) == {output.id: True}


def test_drafts_that_repeat_no_memory_are_found(open_app: Open) -> None:
    app = open_app(profile="bundled")
    for words in ("A red apple.", "A green apple.", "A yellow pear."):
        app.memory.store([text(words)])
    record = app.generation.generate(
        [QueryPart("text", b"a red apple")],
        outputs=["text"], seed=1, creativity=0.3, max_similarity=0.8,
    )  # fmt: skip
    (output,) = record.outputs
    taken = next(draw for draw in output.draws if draw.taken)
    assert (taken.similarity or 0.0) <= 0.8
    assert not output.details["is_copy"]
    assert app.generations.replay(record.id) == {output.id: True}


def copying(monkeypatch: pytest.MonkeyPatch, allowed: list[int]) -> None:
    """The generator repeats the query, unless it draws with one of these seeds."""

    def generate(self: FakeGenerator, condition: Any, *, seed: int, creativity: float) -> Any:
        from generator.base import Generated

        return Generated(f"something else, {seed}" if seed in allowed else "a blue whale")

    monkeypatch.setattr(FakeGenerator, "generate", generate)


def test_where_a_seed_draws_nothing_there_is_one(
    app: Application, animals: dict[str, Episode]
) -> None:
    (output,) = drawn(app, outputs=["image"], candidates=4, creativity=0.0).outputs
    assert (output.draws, output.seed) == ((), 7)


@pytest.mark.parametrize("wrong", [0, 9, True, 2.0, "4"])
def test_other_numbers_are_refused(
    app: Application, animals: dict[str, Episode], wrong: Any
) -> None:
    with pytest.raises(InvalidInput, match="candidates") as caught:
        drawn(app, candidates=wrong)
    assert caught.value.details["accepted"] == [1, 8]


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that repeat what they start from, or the query where that is one of the list."""
    found: list[str] = []

    def generate(self: FakeGenerator, condition: Condition, **options: Any) -> Generated:
        known = condition.ranked("text")
        if not known:
            return Generated("nothing", {"starts_from": None})
        words = "a blue whale" if known[0].media in found else known[0].media
        return Generated(words, {"starts_from": known[0].id})

    monkeypatch.setattr(FakeGenerator, "latent", True)
    monkeypatch.setattr(FakeGenerator, "generate", generate)
    return found


@pytest.mark.parametrize("limit", [None, 0.95])
def test_what_starts_from_a_memory_is_made_again_from_it(
    app: Application, starting: list[str], limit: float | None
) -> None:
    """The memories count alike, the second one leads to the best text: leaving out the first, which
    is no start any more, changes nothing."""
    for words in ("an old song", "a green field", "a red barn"):
        app.memory.store([text(words)])
    first = drawn(app, outputs=["text"], fusion="sum", k=3, candidates=1)
    best, second, third = [app.memory.get(share.memory_id) for share in first.memories]
    assert first.outputs[0].details["starts_from"] == best.id
    starting.append(str(second.text))
    record = drawn(
        app, outputs=["text"], fusion="sum", k=3, candidates=4, max_similarity=limit, explain=True
    )
    (output,) = record.outputs
    assert output.details["starts_from"] == second.id
    assert [draw.taken for draw in output.draws] == [False, True, False, False]
    assert app.generations.replay(record.id) == {output.id: True}
    effects = {share.memory_id: share.effects["text"] for share in record.memories}
    assert effects[best.id] == effects[third.id] == 0
    assert effects[second.id] > 0
