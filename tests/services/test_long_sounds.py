"""A long sound is one memory: stored, found, counted and forgotten as one, with the place told."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import Open
from service_media import audio, image, text
from store_consistency import assert_consistent
from stored_contents import files

from encoders.base import Waveform
from encoders.fake import FakeAudioEncoder
from generator.fake import FakeGenerator
from memory_service.app import Application
from memory_service.errors import InvalidInput, MemoryServiceError, TooLarge
from memory_service.records import Memory, QueryPart, Segment, Upload
from memory_service.storage import loading, segments

RATE = 16_000
SPACE = ("fake", "fake-1")


def tones(*frequencies: float, seconds: float = 2.0) -> np.ndarray:
    """One after the other, `seconds` each."""
    time = np.arange(int(seconds * RATE)) / RATE
    return np.concatenate([0.5 * np.sin(2 * np.pi * each * time) for each in frequencies])


def flac(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC")
    return file.getvalue()


SCALE = [300.0 * 1.2**step for step in range(10)]
LONG = flac(tones(*SCALE))  # 20 s: 19 segments


def store_long(app: Application, content: bytes = LONG, **metadata: Any) -> Memory:
    uploads = [Upload("audio", content), text("a scale of ten tones")]
    return app.memory.store(uploads, metadata=metadata).episode.memories[0]


def tone(number: int) -> QueryPart:
    """What the segment from 2 * number on holds, sample for sample."""
    samples, _ = soundfile.read(io.BytesIO(LONG), dtype="float32")
    return QueryPart("audio", flac(samples[2 * number * RATE : 2 * (number + 1) * RATE]))


def test_one_memory_one_original_many_vectors(app: Application) -> None:
    memory = store_long(app)
    stored = segments.of(app.store.catalog, memory.sequence, SPACE)
    assert [each.segment for each in stored] == list(range(1, 20))
    assert [(each.start_s, each.end_s) for each in stored] == [(n, n + 2.0) for n in range(19)]
    mean = np.mean([each.vector for each in stored], axis=0)
    whole = app.store.catalog.vector(memory.sequence, SPACE)
    np.testing.assert_allclose(whole, mean / np.linalg.norm(mean), atol=1e-6)
    assert app.memory.content(memory.id) == (memory, LONG)
    assert_consistent(app)  # the trace counts it once


def test_segments_are_as_long_as_the_encoder_hears(
    open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeAudioEncoder, "segment_s", 10.0)
    monkeypatch.setattr(FakeAudioEncoder, "hop_s", 4.0)
    app = open_app()
    memory = store_long(app)
    stored = segments.of(app.store.catalog, memory.sequence, SPACE)
    assert [(each.start_s, each.end_s) for each in stored] == [(0, 10), (4, 14), (8, 18), (10, 20)]


@pytest.mark.parametrize("seconds", [0.1, 8.0])
def test_a_short_sound_has_one_vector_of_the_whole(app: Application, seconds: float) -> None:
    content = flac(tones(440.0, seconds=seconds))
    memory = store_long(app, content)
    assert not segments.of(app.store.catalog, memory.sequence, SPACE)
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    expected = app.retriever._models.encoder("audio").encode([Waveform(samples, RATE)])[0]
    found = app.store.catalog.vector(memory.sequence, SPACE)
    np.testing.assert_array_equal(found, expected)
    (hit,) = app.retriever.retrieve([QueryPart("audio", content)]).hits["audio"]
    assert hit.segment is None


@pytest.mark.parametrize("mode", ["direct", "auto"])
def test_a_hit_tells_where(app: Application, mode: Any) -> None:
    memory = store_long(app)
    for number in range(10):
        (hit,) = app.retriever.retrieve([tone(number)], modalities=["audio"], mode=mode).hits[
            "audio"
        ]
        assert hit.memory == memory
        assert hit.segment == Segment(2.0 * number, 2.0 * number + 2)
        assert hit.reached_by[0].segment == hit.segment
        assert hit.cosine == pytest.approx(1.0, abs=2e-3)
        assert hit.score == 1.0


def test_association_tells_where_it_started(app: Application) -> None:
    memory = store_long(app)
    (hit,) = app.retriever.retrieve([tone(4)], modalities=["text"], mode="associative").hits["text"]
    (reach,) = hit.reached_by
    assert (reach.via, reach.segment) == (memory.id, Segment(8.0, 10.0))
    assert hit.segment is None
    words = QueryPart("text", b"a scale of ten tones")
    (sound,) = app.retriever.retrieve([words], modalities=["audio"], mode="associative").hits[
        "audio"
    ]
    assert sound.reached_by[0].segment is None  # a text matched, as a whole
    assert sound.segment is not None  # and this is where the sound itself is nearest


def test_the_long_sound_itself_is_found_as_a_whole(app: Application) -> None:
    memory = store_long(app)
    app.memory.store([audio(440)])
    hit = app.retriever.retrieve([QueryPart("audio", LONG)], modalities=["audio"]).hits["audio"][0]
    assert (hit.memory, hit.segment, hit.score) == (memory, None, 1.0)
    assert hit.cosine == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("filter", [None, {"kind": ["long", "short"]}])
def test_many_near_segments_do_not_crowd_out_other_memories(
    app: Application, filter: Mapping[str, Any] | None
) -> None:
    """Hundreds of segments sound like the query; the others do not, and come all the same."""
    app.memory.store([audio(440)], metadata={"kind": "other"})
    long = store_long(app, flac(tones(440.0, seconds=400.0)), kind="long")
    short = [
        app.memory.store([audio(2000.0 + n)], metadata={"kind": "short"}).episode.memories[0]
        for n in range(5)
    ]
    query = QueryPart("audio", flac(tones(440.0)))
    found = app.retriever.retrieve(
        [query], modalities=["audio"], mode="direct", k=6, filter=filter
    ).hits["audio"]
    assert len({hit.memory.id for hit in found}) == 6
    expected = {long.id, *(memory.id for memory in short)}
    assert filter is None or {hit.memory.id for hit in found} == expected


def test_the_index_counts_memories(app: Application) -> None:
    memories = [store_long(app), store_long(app, flac(tones(*SCALE[::-1])))]
    app.memory.store([audio(500)])
    (index,) = [index for key, index in app.store.indexes() if key.modality == "audio"]
    assert len(index) == 3
    assert app.memory.stats()[0].count == 3
    app.memory.forget(memories[0].id)
    assert len(index) == 2
    assert memories[0].sequence not in index.sequences()
    query = app.retriever.retrieve([tone(3)], modalities=["audio"], k=10)
    assert memories[0].id not in {hit.memory.id for hit in query.hits["audio"]}
    assert not app.store.catalog.select(
        "SELECT 1 FROM vectors WHERE sequence = ?", (memories[0].sequence,)
    )
    assert_consistent(app)


def test_its_share_leaves_the_trace_exactly(app: Application) -> None:
    app.memory.store([audio(500)])
    before = app.store.catalog.trace("default", "audio", SPACE)
    memory = store_long(app)
    app.memory.forget(memory.id)
    np.testing.assert_allclose(
        app.store.catalog.trace("default", "audio", SPACE), before, atol=1e-12
    )


@pytest.mark.parametrize("chunk", [1, 7, 8192])
def test_a_restart_rebuilds_the_same_index(
    app: Application, open_app: Open, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """However the rows of one memory are split between two reads."""
    store_long(app)
    app.memory.store([audio(500)])
    store_long(app, flac(tones(*SCALE[::-1])))
    queries = [tone(2), tone(7), QueryPart("audio", LONG)]

    def state(app: Application) -> Any:
        return [
            (len(index), index.vectors, index.sequences().tolist())
            for _, index in sorted(app.store.indexes(), key=lambda each: each[0].modality)
        ], [app.retriever.retrieve([query]).hits for query in queries]

    before = state(app)
    app.close()
    monkeypatch.setattr(loading, "CHUNK", chunk)
    assert state(open_app()) == before


def test_a_long_sound_beside_something_broken_leaves_nothing(app: Application) -> None:
    for broken in (Upload("image", b"\x89PNG\r\n\x1a\n" + b"\1" * 50), Upload("audio", LONG[:-99])):
        with pytest.raises(MemoryServiceError):
            app.memory.store([Upload("audio", LONG), broken])
    assert app.memory.list() == ([], None)
    assert not app.store.blobs.digests()
    assert not files(app.settings.data_dir)


def test_generators_hear_the_segment_that_matched(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_long(app)
    heard = []
    media = FakeGenerator._media

    def listen(self: FakeGenerator, values: Any, condition: Any) -> Any:
        heard.extend(each for each in condition.neighbours if each.modality == "audio")
        return media(self, values, condition)

    monkeypatch.setattr(FakeGenerator, "_media", listen)
    record = app.generation.generate([tone(6)], outputs=["audio"], seed=1)
    (neighbour,) = heard
    np.testing.assert_allclose(neighbour.media.samples, tones(SCALE[6]), atol=1e-4)
    assert neighbour.vector @ record.query_vector == pytest.approx(1.0, abs=1e-3)
    assert all(app.generations.replay(record.id).values())
    kept = app.generations.get(record.id).memories
    assert {share.modality: share.segment for share in kept} == {"audio": Segment(12.0, 14.0)}
    assert record.memories == kept


def test_of_a_long_sound_without_segments_generators_hear_the_beginning(app: Application) -> None:
    """As one that was stored before there were any."""
    memory = store_long(app)
    with app.store.catalog.transaction("going back") as connection:
        connection.execute("DELETE FROM vectors WHERE segment > 0")
    record = app.generation.generate([tone(6)], outputs=["audio"], seed=1)
    assert memory.id in {share.memory_id for share in record.memories}


class TestParts:
    def test_the_part_of_a_hit(self, app: Application) -> None:
        memory = store_long(app)
        found, content = app.memory.part(memory.id, 4.0, 6.0)
        assert found == memory
        samples, rate = soundfile.read(io.BytesIO(content))
        assert rate == RATE
        np.testing.assert_allclose(samples, tones(SCALE[2]), atol=1e-4)

    @pytest.mark.parametrize(
        ("start_s", "end_s", "seconds"), [(None, 3.0, 3.0), (15.0, None, 5.0), (19.5, 99.0, 0.5)]
    )
    def test_what_is_left_out_is_the_sounds_own(
        self, app: Application, start_s: float | None, end_s: float | None, seconds: float
    ) -> None:
        memory = store_long(app)
        _, content = app.memory.part(memory.id, start_s, end_s)
        assert soundfile.info(io.BytesIO(content)).duration == pytest.approx(seconds)

    @pytest.mark.parametrize(
        ("start_s", "end_s"),
        [
            (-1.0, 2.0),
            (2.0, 2.0),
            (3.0, 1.0),
            (20.0, 21.0),
            (float("nan"), 2.0),
            (1.0, float("nan")),
        ],
    )
    def test_refuses(self, app: Application, start_s: float, end_s: float) -> None:
        with pytest.raises(InvalidInput, match=r"lasts 20\.000 s"):
            app.memory.part(store_long(app).id, start_s, end_s)

    def test_no_more_than_a_minute(self, app: Application) -> None:
        memory = store_long(app, flac(tones(440.0, seconds=70.0)))
        for start_s in (None, 1.0):
            with pytest.raises(TooLarge, match=r"to 65 s has 6\d s, at most 60 s .*start_s alone"):
                app.memory.part(memory.id, start_s, 65.0)

    @pytest.mark.parametrize(("start_s", "seconds"), [(0.0, 60.0), (0.1, 60.0), (30.0, 40.0)])
    def test_the_start_alone_means_a_minute_or_the_rest(
        self, app: Application, start_s: float, seconds: float
    ) -> None:
        memory = store_long(app, flac(tones(440.0, seconds=70.0)))
        _, content = app.memory.part(memory.id, start_s)
        assert soundfile.info(io.BytesIO(content)).duration == pytest.approx(seconds)

    def test_pictures_have_none(self, app: Application) -> None:
        memory = app.memory.store([image(1)]).episode.memories[0]
        with pytest.raises(InvalidInput, match="only sounds"):
            app.memory.part(memory.id, 0.0, 1.0)
