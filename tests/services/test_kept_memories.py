"""What is read once is not read again, and never told once it is no longer so."""

import sqlite3
import threading

import pytest
from conftest import Open
from service_media import text
from turnable_clock import TurnableClock

from memory_service.app import Application
from memory_service.records import Memory
from memory_service.storage import kept
from memory_service.storage.catalog import Catalog
from memory_service.storage.kept import KeptMemories


def stored(app: Application, content: bytes, **more: object) -> Memory:
    return app.memory.store([text(content.decode())], **more).episode.memories[0]  # type: ignore[arg-type]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are read by."""
    made: list[str] = []
    select = Catalog.select

    def noted(self: Catalog, statement: str, values: tuple = ()) -> list[sqlite3.Row]:
        made.append(statement)
        return select(self, statement, values)

    monkeypatch.setattr(Catalog, "select", noted)
    return made


def test_a_second_look_reads_nothing(open_app: Open, reads: list[str]) -> None:
    app = open_app()
    memories = [stored(app, b"note %d" % number) for number in range(3)]
    sequences = [each.sequence for each in memories]
    found = app.store.catalog.memories(sequences)
    assert list(found.values()) == memories
    reads.clear()
    assert app.store.catalog.memories(reversed(sequences)) == found
    assert list(app.store.catalog.memories(reversed(sequences))) == sequences[::-1]
    assert not reads
    another = stored(app, b"another")
    reads.clear()
    assert len(app.store.catalog.memories([*sequences, another.sequence])) == 4
    assert len(reads) == 1


def test_what_has_changed_or_gone_or_expired_is_told_as_it_is(open_app: Open) -> None:
    clock = TurnableClock()
    app = open_app(clock)
    changed, gone, short = (stored(app, each) for each in (b"one", b"two", b"three"))
    app.memory.update(short.id, {"ttl_s": 10.0})
    sequences = [changed.sequence, gone.sequence, short.sequence]
    read = app.store.catalog.memories
    assert list(read(sequences)) == sequences
    app.memory.update(changed.id, {"metadata": {"place": "farm"}})
    app.memory.forget(gone.id)
    assert list(read(sequences)) == [changed.sequence, short.sequence]
    assert read(sequences)[changed.sequence].metadata == {"place": "farm"}
    clock.turn(11.0)
    assert list(read(sequences)) == [changed.sequence]
    clock.turn(-11.0)
    assert list(read(sequences)) == [changed.sequence, short.sequence]


def test_nothing_of_a_deleted_memory_stays_in_the_process(open_app: Open) -> None:
    app = open_app()
    gone = stored(app, b"a secret")
    assert app.store.catalog.memories([gone.sequence])
    app.memory.forget(gone.id)
    assert not app.store.catalog._kept.of([gone.sequence])[0]


def test_long_texts_and_large_metadata_are_not_kept(open_app: Open, reads: list[str]) -> None:
    app = open_app()
    long = stored(app, b"a" * (kept.MOST_CHARACTERS + 1))
    large = stored(app, b"small", metadata={"more": "b" * kept.MOST_CHARACTERS})
    for each in (long, large):
        assert app.store.catalog.memories([each.sequence])
        reads.clear()
        assert app.store.catalog.memories([each.sequence]) == {each.sequence: each}
        assert reads


def test_what_was_read_before_a_change_is_not_kept_after_it(open_app: Open) -> None:
    app = open_app()
    memory = stored(app, b"one")
    known = KeptMemories()
    _, moment = known.of([memory.sequence])
    known.changed([memory.sequence])
    known.keep([(memory, 3)], moment)
    assert not known.of([memory.sequence])[0]
    known.keep([(memory, 3)], known.of([])[1])
    assert known.of([memory.sequence])[0]


def test_there_are_never_more_than_the_most(
    open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST", 4)
    app = open_app()
    known = KeptMemories()
    every = [stored(app, b"note %d" % number) for number in range(9)]
    for each in every:
        known.keep([(each, 6)], 0)
        assert len(known.of([one.sequence for one in every])[0]) <= 4
    assert known.of([every[-1].sequence])[0]


def test_changes_beside_readers(open_app: Open) -> None:
    """Who reads after a change was answered sees it, however many read meanwhile."""
    app = open_app()
    memory = stored(app, b"one")
    over = threading.Event()
    read = app.store.catalog.memories

    def look() -> None:
        while not over.is_set():
            read([memory.sequence])

    readers = [threading.Thread(target=look) for _ in range(3)]
    for each in readers:
        each.start()
    try:
        for number in range(60):
            app.memory.update(memory.id, {"metadata": {"n": number}})
            assert read([memory.sequence])[memory.sequence].metadata == {"n": number}
    finally:
        over.set()
        for each in readers:
            each.join()


def test_traces_are_those_of_the_last_commit(open_app: Open, reads: list[str]) -> None:
    app = open_app()
    stored(app, b"one")
    (key,) = [each for each, _ in app.store.indexes() if each.modality == "text"]
    ask = (key.namespace, key.modality, (key.space_id, key.fingerprint))
    first = app.store.catalog.trace(*ask)
    reads.clear()
    assert app.store.catalog.trace(*ask) is first
    assert not reads
    gone = stored(app, b"two")
    second = app.store.catalog.trace(*ask)
    assert first is not None
    assert second is not None
    assert (first != second).any()
    app.memory.forget(gone.id)
    third = app.store.catalog.trace(*ask)
    assert third is not None
    assert (third == first).all()
