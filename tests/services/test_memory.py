import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from service_media import audio, image, png, text, wav

from memory_service.app import Application
from memory_service.errors import (
    InvalidInput,
    InvalidMedia,
    MemoryServiceError,
    NotFound,
    StorageFailure,
    TooLarge,
    UnsupportedMedia,
)
from memory_service.records import Episode, Manner, Upload


def count(app: Application) -> int:
    return len(app.memory.list(limit=1000)[0])


def files(app: Application) -> set[str]:
    return app.store.blobs.digests()


def test_an_episode_comes_back_as_it_was_given(app: Application) -> None:
    uploads = [image(1), text("ein Bär"), audio(440)]
    stored = app.memory.store(uploads, namespace="zoo", metadata={"a": [1, {"b": None}]})
    assert not stored.duplicate
    assert stored.timings_ms.keys() == {"decode", "encode", "write", "total"}
    episode = stored.episode
    assert app.memory.episode(episode.id) == episode
    assert [memory.modality for memory in episode.memories] == ["image", "text", "audio"]
    assert [memory.sequence for memory in episode.memories] == [1, 2, 3]
    assert sorted(memory.id for memory in episode.memories) == [m.id for m in episode.memories]
    for memory, upload in zip(episode.memories, uploads, strict=True):
        assert app.memory.content(memory.id) == (memory, upload.content)
        assert app.memory.get(memory.id) == memory
        assert memory.metadata == {"a": [1, {"b": None}]}
        assert (memory.namespace, memory.episode_id) == ("zoo", episode.id)
        assert memory.size_bytes == len(upload.content)
    assert [memory.text for memory in episode.memories] == [None, "ein Bär", None]
    assert [m.media_type for m in episode.memories] == ["image/png", "text/plain", "audio/wav"]


def test_lists_in_pages(app: Application) -> None:
    for number in range(7):
        app.memory.store([text(f"note {number}")], metadata={"even": number % 2 == 0})
    app.memory.store([text("elsewhere")], namespace="other")
    seen, after = [], None
    while True:
        page, after = app.memory.list(namespace="default", after=after, limit=3)
        assert len(page) <= 3
        seen += [memory.text for memory in page]
        if after is None:
            break
    assert seen == [f"note {number}" for number in range(7)]
    assert len(app.memory.list(filter={"even": True})[0]) == 4
    assert app.memory.list(modality="image") == ([], None)
    assert count(app) == 8


def test_the_same_contents_again(app: Application) -> None:
    uploads = [image(1), text("fox"), text("fox")]
    first = app.memory.store(uploads).episode
    assert app.memory.store(uploads).episode.id != first.id  # kept by default
    again = app.memory.store(uploads[::-1], if_duplicate="skip")
    assert again.duplicate
    assert again.episode == first
    assert not app.memory.store(uploads[:2], if_duplicate="skip").duplicate
    assert not app.memory.store(uploads, namespace="other", if_duplicate="skip").duplicate


def test_an_episode_that_lost_a_memory_is_no_duplicate(app: Application) -> None:
    episode = app.memory.store([image(1), text("fox")]).episode
    app.memory.forget(episode.memories[1].id)
    assert not app.memory.store([image(1), text("fox")], if_duplicate="skip").duplicate
    assert app.memory.store([image(1)], if_duplicate="skip").duplicate


@pytest.mark.parametrize(
    ("uploads", "options", "error"),
    [
        ([], {}, InvalidInput),
        ([text("x")] * 33, {}, TooLarge),
        ([Upload("smell", b"x")], {}, InvalidInput),
        ([text("fine"), Upload("image", b"not a picture")], {}, UnsupportedMedia),
        ([text("fine"), Upload("image", png(1)[:60])], {}, InvalidMedia),
        ([Upload("audio", wav(440)[:30])], {}, InvalidMedia),
        ([Upload("audio", png(1))], {}, UnsupportedMedia),
        ([Upload("text", b"")], {}, InvalidMedia),
        ([text("x" * 100_001)], {}, TooLarge),
        ([text("x")], {"namespace": "../etc"}, InvalidInput),
        ([text("x")], {"namespace": "a/b"}, InvalidInput),
        ([text("x")], {"namespace": ""}, InvalidInput),
        ([text("x")], {"namespace": "x" * 65}, InvalidInput),
        ([text("x")], {"metadata": [1]}, InvalidInput),
        ([text("x")], {"metadata": {"a": float("nan")}}, InvalidInput),
        ([text("x")], {"metadata": {"a": "\ud800"}}, InvalidInput),
        ([text("x")], {"metadata": {"a": 10**5000}}, InvalidInput),
        ([text("x")], {"metadata": {"a": b"bytes"}}, InvalidInput),
        ([text("x")], {"metadata": {1: "a"}}, InvalidInput),
        ([text("x")], {"metadata": {"a": "x" * 70_000}}, TooLarge),
        ([text("x")], {"if_duplicate": "replace"}, InvalidInput),
        ([text("x")], {"created_at": float("inf")}, InvalidInput),
    ],
)
def test_what_cannot_be_stored_leaves_the_store_unchanged(
    empty_app: Application,
    uploads: list[Upload],
    options: Mapping[str, Any],
    error: type[MemoryServiceError],
) -> None:
    app = empty_app
    with pytest.raises(error) as caught:
        app.memory.store(uploads, **options)
    assert caught.value.message
    json.dumps(caught.value.details)  # goes into an answer as it is
    assert (count(app), files(app), list(app.memory.stats())) == (0, set(), [])


def test_metadata_too_deep_to_be_queried(empty_app: Application) -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(InvalidInput):
        empty_app.memory.store([text("x")], metadata=deep)


@pytest.mark.parametrize(
    "options",
    [{"limit": 0}, {"limit": 1001}, {"after": "x"}, {"after": "-1"}, {"after": "9" * 40},
     {"namespace": "a b"}, {"modality": "smell"}, {"filter": {"a": {}}}],
)  # fmt: skip
def test_listings_refuse(empty_app: Application, options: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        empty_app.memory.list(**options)


@pytest.mark.parametrize("id", ["", "nobody", "../../etc/passwd", "\ud800", "x" * 100_000])
def test_unknown_ids(empty_app: Application, id: str) -> None:
    memory = empty_app.memory
    for call in (memory.get, memory.content, memory.episode, memory.forget, memory.forget_episode):
        with pytest.raises(NotFound):
            call(id)


def test_a_missing_file_is_the_stores_failure(app: Application) -> None:
    memory = app.memory.store([text("x")]).episode.memories[0]
    app.store.blobs.delete(memory.blob)
    with pytest.raises(StorageFailure):
        app.memory.content(memory.id)


class TestForgetting:
    def test_one_memory(self, app: Application, animals: dict[str, Episode]) -> None:
        picture = animals["fox"].memories[0]
        receipt = app.memory.forget(picture.id)
        assert receipt.memory_ids == (picture.id,)
        assert receipt.episode_ids == ()
        assert receipt.blobs_removed == (picture.blob,)
        assert picture.blob not in files(app)
        left = app.memory.episode(animals["fox"].id)
        assert [memory.modality for memory in left.memories] == ["text", "audio", "sensor"]
        with pytest.raises(NotFound):
            app.memory.forget(picture.id)

    def test_an_episode(self, app: Application, animals: dict[str, Episode]) -> None:
        fox = animals["fox"]
        receipt = app.memory.forget_episode(fox.id)
        assert receipt.memory_ids == tuple(memory.id for memory in fox.memories)
        assert receipt.episode_ids == (fox.id,)
        assert set(receipt.blobs_removed) == {memory.blob for memory in fox.memories}
        with pytest.raises(NotFound):
            app.memory.episode(fox.id)

    def test_the_last_memory_takes_the_episode_along(self, app: Application) -> None:
        episode = app.memory.store([text("alone")]).episode
        assert app.memory.forget(episode.memories[0].id).episode_ids == (episode.id,)

    def test_a_file_stays_while_another_memory_needs_it(self, app: Application) -> None:
        first, second = (app.memory.store([text("twice")]).episode for _ in range(2))
        assert app.memory.forget_episode(first.id).blobs_removed == ()
        assert app.memory.content(second.memories[0].id)[1] == b"twice"
        assert app.memory.forget_episode(second.id).blobs_removed == (second.memories[0].blob,)
        assert not files(app)

    def test_its_share_leaves_the_trace(
        self, app: Application, animals: dict[str, Episode]
    ) -> None:
        before = app.memory.stats()
        episode = app.memory.store([image(77), text("a passing bird"), audio(999)]).episode
        assert app.memory.stats() != before
        app.memory.forget_episode(episode.id)
        for old, new in zip(before, app.memory.stats(), strict=True):
            assert old.trace_norm == pytest.approx(new.trace_norm, abs=1e-12)
            assert replace(old, trace_norm=0.0) == replace(new, trace_norm=0.0)

    def test_the_trace_is_the_sum_of_what_remains(
        self, app: Application, animals: dict[str, Episode]
    ) -> None:
        app.memory.forget_episode(animals["whale"].id)
        app.memory.store([text("a blue whale again")])
        space = ("fake", app.profile.encoders[0].fingerprint)
        for modality in ("image", "text", "audio"):
            memories, _ = app.memory.list(modality=modality)
            vectors = [app.store.catalog.vector(each.sequence, space) for each in memories]
            trace = app.store.catalog.trace("default", modality, space)
            np.testing.assert_allclose(trace, np.sum(vectors, axis=0, dtype=float), atol=1e-6)

    def test_its_bytes_are_nowhere_in_the_folder(self, app: Application) -> None:
        secret = "a secret about xylophones " * 4
        app.memory.store([text("something to keep")])
        episode = app.memory.store([text(secret)], metadata={"who": "Zebedee-4711"}).episode
        app.memory.forget_episode(episode.id, Manner(wait=True))
        for path in app.settings.data_dir.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert b"xylophones" not in content, path
                assert b"Zebedee-4711" not in content, path

    def test_sequences_are_never_used_again(self, app: Application) -> None:
        first = app.memory.store([text("one")]).episode
        app.memory.forget_episode(first.id)
        second = app.memory.store([text("two")]).episode
        assert second.memories[0].sequence > first.memories[0].sequence
