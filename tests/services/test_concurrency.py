import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from conftest import Open
from service_media import image, large, text
from store_consistency import assert_consistent

from memory_service.app import Application
from memory_service.errors import NotFound, NothingRemembered
from memory_service.records import QueryPart

WORKERS = 6
ROUNDS = 12


def work(app: Application, worker: int) -> set[str]:
    """Store, search, generate and forget at random; returns the episodes that must be there."""
    rng = random.Random(worker)
    mine: list[str] = []
    for number in range(ROUNDS):
        # Contents that other workers store and forget, too.
        uploads = [
            text(f"shared {rng.randrange(4)}"),
            image(rng.randrange(3)),
            large(rng.randrange(2)),
        ]
        mine.append(app.memory.store(uploads, metadata={"worker": worker}).episode.id)
        found = app.retriever.retrieve([QueryPart("text", b"shared 1")], k=5)
        assert all(hit.score <= 1 for hits in found.hits.values() for hit in hits)
        if number % 2:
            app.memory.forget_episode(mine.pop(rng.randrange(len(mine))))
        if number % 4 == 0:
            with suppress(NothingRemembered):
                app.generation.generate([QueryPart("text", b"shared 2")], outputs=["text"])
        for memory in app.memory.list(filter={"worker": worker})[0]:
            app.memory.content(memory.id)
    return set(mine)


def test_threads_leave_a_consistent_store(app: Application, open_app: Open) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        kept = set().union(*pool.map(lambda worker: work(app, worker), range(WORKERS)))
    assert {memory.episode_id for memory in app.memory.list(limit=1000)[0]} == kept
    assert_consistent(app)
    app.close()
    assert_consistent(open_app())


def test_the_same_content_stored_and_forgotten_at_once(app: Application) -> None:
    def once(_: int) -> None:
        episode = app.memory.store([text("contended")]).episode
        assert app.memory.content(episode.memories[0].id)[1] == b"contended"
        app.memory.forget_episode(episode.id)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(once, range(24)))
    assert_consistent(app)
    assert app.memory.list() == ([], None)


def test_skipping_duplicates_keeps_one_of_many(app: Application) -> None:
    with ThreadPoolExecutor(4) as pool:
        stored = list(
            pool.map(
                lambda _: app.memory.store([text("only once")], if_duplicate="skip"), range(12)
            )
        )
    assert sum(not each.duplicate for each in stored) == 1
    assert len({each.episode.id for each in stored}) == 1


def test_only_one_of_many_forgets(app: Application) -> None:
    episode = app.memory.store([text("gone")]).episode

    def forget(_: int) -> bool:
        try:
            app.memory.forget_episode(episode.id)
        except NotFound:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(forget, range(8))) == 1
