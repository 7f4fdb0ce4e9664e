import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from service_media import audio, image, png, text, wav

from memory_service.app import Application
from memory_service.errors import (
    InvalidInput,
    InvalidMedia,
    InvalidVector,
    MemoryServiceError,
    TooLarge,
    UnsupportedMedia,
)
from memory_service.records import Episode, Hit, QueryPart, Retrieval
from memory_service.services import retrieval as retrieval_module


def words(content: str, weight: float = 1.0) -> QueryPart:
    return QueryPart("text", content.encode(), weight=weight)


def names(hits: tuple[Hit, ...]) -> list[str]:
    return [hit.memory.metadata["name"] for hit in hits]


def paths(hit: Hit) -> list[str]:
    return [reach.path for reach in hit.reached_by]


class TestWays:
    @pytest.mark.parametrize("mode", ["direct", "auto"])
    @pytest.mark.parametrize(
        "part", [words("a red fox"), QueryPart("image", png(0)), QueryPart("audio", wav(300))]
    )
    def test_the_same_thing_is_found(self, zoo: Application, part: QueryPart, mode: Any) -> None:
        found = zoo.retriever.retrieve([part], mode=mode, k=1)
        assert found.hits.keys() == {"image", "text", "audio", "sensor"}
        (hit,) = found.hits[part.modality or ""]
        assert hit.memory.metadata["name"] == "fox"
        assert hit.cosine == pytest.approx(1.0, abs=2e-3)
        assert hit.score == pytest.approx(1.0, abs=2e-3)
        assert hit.reached_by[0].path == "direct"
        assert hit.reached_by[0].rank == 1

    @pytest.mark.parametrize("mode", ["associative", "auto"])
    @pytest.mark.parametrize("modality", ["image", "audio"])
    def test_the_episode_leads_to_other_modalities(
        self, app: Application, animals: dict[str, Episode], mode: Any, modality: str
    ) -> None:
        """The fake text and picture encoders know nothing of each other: only episodes do."""
        for name, episode in animals.items():
            found = app.retriever.retrieve([words(name)], modalities=[modality], mode=mode, k=3)
            hit = found.hits[modality][0]
            assert hit.memory.episode_id == episode.id
            reach = hit.reached_by[-1]
            assert (reach.path, reach.rank, reach.via_modality) == ("associative", 1, "text")
            assert reach.via == episode.memories[1].id
            assert reach.cosine == pytest.approx(1 / math.sqrt(3), abs=0.05)
            assert hit.score >= app_score(reach.cosine)

    def test_direct_stays_within_the_space(self, zoo: Application) -> None:
        found = zoo.retriever.retrieve([words("whale")], mode="direct", k=3)
        hits = list(itertools.chain(*found.hits.values()))
        assert len(hits) == 12
        assert all(paths(hit) == ["direct"] for hit in hits)
        for ranked in found.hits.values():
            cosines = [hit.cosine or 0.0 for hit in ranked]
            assert cosines == sorted(cosines, reverse=True)

    def test_associative_hits_tell_their_own_cosine(self, zoo: Application) -> None:
        part = words("whale")
        direct = zoo.retriever.retrieve([part], mode="direct", modalities=["audio"])
        associative = zoo.retriever.retrieve([part], mode="associative", modalities=["audio"])
        own = {hit.memory.id: hit.cosine for hit in direct.hits["audio"]}
        assert {hit.memory.id: hit.cosine for hit in associative.hits["audio"]} == own

    @pytest.mark.usefixtures("animals")
    def test_a_memory_is_no_mate_of_itself(self, app: Application) -> None:
        app.memory.store([text("lonely zebra")], metadata={"name": "zebra"})
        found = app.retriever.retrieve([words("zebra")], mode="associative", modalities=["text"])
        assert "zebra" not in names(found.hits["text"])

    def test_a_memory_alone_is_not_buried_by_those_with_mates(self, app: Application) -> None:
        app.memory.store([text("zebra")], metadata={"name": "zebra"})
        for number in range(20):
            app.memory.store([image(50 + number), text("zebra crossing")], metadata={"name": "-"})
        found = app.retriever.retrieve([words("zebra")], modalities=["text"])
        assert names(found.hits["text"])[0] == "zebra"

    @pytest.mark.usefixtures("animals")
    def test_two_of_one_modality_in_an_episode(self, app: Application) -> None:
        app.memory.store([text("okapi"), text("forest giraffe")], metadata={"name": "okapi"})
        found = app.retriever.retrieve([words("okapi")], mode="associative", modalities=["text"])
        (first, *_) = found.hits["text"]
        assert first.memory.text == "forest giraffe"
        assert first.reached_by[0].via_modality == "text"


def app_score(cosine: float) -> float:
    return (1 + cosine) / 2  # the fake profile has no fitted calibration


def test_few_mates_among_many_memories(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest have no mate of the modality asked for: those that have are searched alone."""
    monkeypatch.setattr(retrieval_module, "MIN_DEPTH", 4)
    for _ in range(30):
        app.memory.store([text("plain bird")])
    for number in range(3):
        app.memory.store([text(f"bird {number} with a song and more"), audio(300 + 200 * number)])
    found = app.retriever.retrieve(
        [words("plain bird")], mode="associative", modalities=["audio"], k=3
    )
    assert len(found.hits["audio"]) == 3


class TestFilters:
    @pytest.mark.parametrize("mode", ["direct", "associative", "auto"])
    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ({"name": "frog"}, {"frog"}),
            ({"number": [0, 2]}, {"fox", "frog"}),
            ({"wet": True, "number": 1}, {"whale"}),
            ({"name": "unicorn"}, set()),
        ],
    )
    def test_only_what_fits(
        self, zoo: Application, mode: Any, filter: Mapping[str, Any], expected: set[str]
    ) -> None:
        found = zoo.retriever.retrieve([words("a red fox")], mode=mode, filter=filter)
        assert all(set(names(hits)) == expected for hits in found.hits.values())

    def test_a_filter_that_leaves_few_of_many_is_exact(self, app: Application) -> None:
        for number in range(60):
            app.memory.store([text(f"thing {number}")], metadata={"rare": number % 15 == 0})
        found = app.retriever.retrieve(
            [words("thing 45")], modalities=["text"], k=4, filter={"rare": True}
        )
        assert found.hits["text"][0].memory.text == "thing 45"
        assert len(found.hits["text"]) == 4


class TestQueries:
    def test_parts_are_weighed(self, zoo: Application) -> None:
        fox, frog = "fox", "frog"
        for heavy, light in ((fox, frog), (frog, fox)):
            found = zoo.retriever.retrieve(
                [words(heavy, 3.0), words(light)], modalities=["text"], mode="direct"
            )
            assert names(found.hits["text"])[:2] == [heavy, light]

    def test_parts_of_several_modalities(self, zoo: Application) -> None:
        parts = [QueryPart("image", png(2)), words("frog")]
        found = zoo.retriever.retrieve(parts, k=1)
        assert [names(hits) for hits in found.hits.values()] == [["frog"]] * 4

    def test_a_vector_finds_its_memory(self, zoo: Application) -> None:
        by_text = zoo.retriever.retrieve([words("a red fox")], modalities=["text"])
        for vector in (by_text.query_vector * 1e20, by_text.query_vector.astype(float).tolist()):
            found = zoo.retriever.retrieve([QueryPart(vector=vector)], modalities=["text"])
            assert names(found.hits["text"])[0] == "fox"
            np.testing.assert_allclose(found.query_vector, by_text.query_vector, atol=1e-6)

    def test_k_bounds_each_modality(self, zoo: Application) -> None:
        for k in (1, 2, 1000):
            found = zoo.retriever.retrieve([words("fox")], k=k)
            assert {len(hits) for hits in found.hits.values()} == {min(k, 3)}

    def test_says_how_long_it_took(self, zoo: Application) -> None:
        timings = zoo.retriever.retrieve([words("fox")]).timings_ms
        assert timings.keys() == {"encode", "search", "total"}


def test_nothing_stored_nothing_found(empty_app: Application) -> None:
    found = empty_app.retriever.retrieve([words("fox")])
    assert found.hits == dict.fromkeys(("image", "text", "audio", "sensor"), ())
    assert found.familiarity == dict.fromkeys(found.hits, 0.0)


@pytest.mark.usefixtures("animals")
def test_namespaces_do_not_see_each_other(app: Application) -> None:
    app.memory.store([text("a red fox")], namespace="other", metadata={"name": "other"})
    here: Retrieval = app.retriever.retrieve([words("a red fox")])
    there = app.retriever.retrieve([words("a red fox")], namespace="other")
    assert "other" not in names(here.hits["text"])
    assert names(there.hits["text"]) == ["other"]
    assert there.hits["image"] == ()


def test_familiarity_is_the_cosine_with_the_trace(app: Application) -> None:
    for _ in range(3):
        app.memory.store([text("cat")])
    app.memory.store([text("dog")])
    familiar = {
        word: app.retriever.retrieve([words(word)]).familiarity["text"]
        for word in ("cat", "dog", "volcano")
    }
    assert familiar["cat"] == pytest.approx(3 / math.sqrt(10), abs=0.06)
    assert familiar["cat"] > familiar["dog"] > familiar["volcano"]


def test_forgotten_means_not_found(app: Application, animals: dict[str, Episode]) -> None:
    fox = animals["fox"]
    probes = [words("a red fox"), QueryPart("image", png(0)), QueryPart("audio", wav(300))]
    app.memory.forget_episode(fox.id)
    for part, mode in itertools.product(probes, ("direct", "associative", "auto")):
        found = app.retriever.retrieve([part], mode=mode, k=1000)  # type: ignore[arg-type]
        assert all(set(names(hits)) == {"whale", "frog"} for hits in found.hits.values())
        assert all(hit.score < 0.99 for hits in found.hits.values() for hit in hits)


VECTOR = np.ones(384, np.float32)


@pytest.mark.parametrize(
    ("parts", "options", "error"),
    [
        ([], {}, InvalidInput),
        ([words("x")] * 17, {}, TooLarge),
        ([words("x", 0.0)], {}, InvalidInput),
        ([words("x", -1.0)], {}, InvalidInput),
        ([words("x", float("nan"))], {}, InvalidInput),
        ([words("x", float("inf"))], {}, InvalidInput),
        ([QueryPart("text")], {}, InvalidInput),
        ([QueryPart("text", b"x", vector=VECTOR)], {}, InvalidInput),
        ([QueryPart(None, b"x")], {}, InvalidInput),
        ([QueryPart("smell", b"x")], {}, InvalidInput),
        ([QueryPart("smell", vector=VECTOR)], {}, InvalidInput),
        ([QueryPart("text", b"")], {}, InvalidMedia),
        ([QueryPart("image", b"GIF89a")], {}, InvalidMedia),
        ([QueryPart("audio", png(1))], {}, UnsupportedMedia),
        ([QueryPart(vector=VECTOR[:383])], {}, InvalidVector),
        ([QueryPart(vector=VECTOR[None])], {}, InvalidVector),
        ([QueryPart(vector=np.zeros(384, np.float32))], {}, InvalidVector),
        ([QueryPart(vector=np.full(384, np.nan, np.float32))], {}, InvalidVector),
        ([QueryPart(vector=["one"] * 384)], {}, InvalidVector),  # type: ignore[arg-type]
        ([QueryPart(vector=VECTOR), QueryPart(vector=-VECTOR)], {}, InvalidVector),
        ([words("x")], {"k": 0}, InvalidInput),
        ([words("x")], {"k": 1_000_000}, InvalidInput),
        ([words("x")], {"k": True}, InvalidInput),
        ([words("x")], {"mode": "telepathic"}, InvalidInput),
        ([words("x")], {"modalities": ["smell"]}, InvalidInput),
        ([words("x")], {"modalities": []}, InvalidInput),
        ([words("x")], {"modalities": "image"}, InvalidInput),
        ([words("x")], {"namespace": "../x"}, InvalidInput),
        ([words("x")], {"filter": {'a" OR 1': 2}}, InvalidInput),
    ],
)
def test_refuses(
    empty_app: Application,
    parts: list[QueryPart],
    options: Mapping[str, Any],
    error: type[MemoryServiceError],
) -> None:
    with pytest.raises(error) as caught:
        empty_app.retriever.retrieve(parts, **options)
    assert caught.value.message


def test_unknown_modality_names_the_valid_ones(empty_app: Application) -> None:
    with pytest.raises(InvalidInput, match="image, text, audio, sensor") as caught:
        empty_app.retriever.retrieve([words("x")], modalities=["smell"])
    assert caught.value.details["accepted"] == ["image", "text", "audio", "sensor"]


def test_a_stored_item_asked_for_again_scores_one(
    app: Application, animals: dict[str, Episode]
) -> None:
    for episode in animals.values():
        stored = next(memory.text for memory in episode.memories if memory.text)
        found = app.retriever.retrieve([words(stored)], modalities=["text", "image"], k=1)
        assert found.hits["image"][0].memory.episode_id == episode.id
        assert found.hits["image"][0].score == found.hits["text"][0].score == 1.0
