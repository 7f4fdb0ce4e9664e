"""Dry runs of a re-embedding where memories differ in size, and what samples are drawn from."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from reembedding_runs import OTHER, TARGETS, run, vectors_in
from service_media import text

from memory_service.app import Application
from memory_service.records import Upload
from memory_service.services import embedding_batches, forecast, recall_comparison
from memory_service.services.workload import Group, extrapolated

pytestmark = pytest.mark.usefixtures("other_profile")

RATE = 8000
MEMORY_S, VECTOR_S = 0.01, 0.02  # what a memory and a vector take, by the clock of the tests
SHORT, LONG = [1.0] * 90, [10.0] * 8  # seconds: one vector, and nine with that of the whole


def sound(seconds: float, pitch: int) -> Upload:
    file = io.BytesIO()
    time = np.arange(int(seconds * RATE)) / RATE
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * (200 + pitch) * time), RATE, format="WAV")
    return Upload("audio", file.getvalue())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time passes while something is embedded, and as much as is embedded."""
    clock = SimpleNamespace(now=0.0, memories=0)
    real = embedding_batches.embed_batch

    def embed_batch(store: Any, models: Any, batch: Any) -> Any:
        found, failed = real(store, models, batch)
        vectors = sum(len(each) for each in found.values())
        clock.now += MEMORY_S * len(batch) + VECTOR_S * vectors
        clock.memories += len(batch)
        return found, failed

    monkeypatch.setattr(forecast, "embed_batch", embed_batch)
    monkeypatch.setattr(forecast, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def predicted(app: Application) -> dict[str, Any]:
    result: dict[str, Any] = (run(app, dry_run=True).result or {})["forecast"]["modalities"]
    return result


@pytest.mark.parametrize(
    "lengths",
    [[*LONG, *SHORT], [*SHORT, *LONG], SHORT, LONG, [*SHORT, 60.0]],
    ids=["long sounds first", "long sounds last", "short ones", "long ones", "a very long one"],
)
def test_it_comes_to_what_the_whole_store_takes(
    app: Application, clock: SimpleNamespace, lengths: list[float]
) -> None:
    for at in range(0, len(lengths), 32):
        app.memory.store([sound(each, at + n) for n, each in enumerate(lengths[at : at + 32])])
    found = predicted(app)["audio"]
    vectors = sum(1 if each <= 8 else int(each) for each in lengths)  # 2 s each, one every second
    assert found["to_embed"] == len(lengths)
    assert found["sampled"] == min(len(lengths), forecast.SAMPLE)
    seconds = MEMORY_S * len(lengths) + VECTOR_S * vectors
    assert found["seconds"] == pytest.approx(seconds, rel=0.02)
    assert found["memory_bytes"] == pytest.approx(vectors * (400 * 2 + 8), rel=0.02)
    run(app)
    ((made,),) = app.store.catalog.select(
        "SELECT COUNT(*) FROM vectors JOIN spaces ON space = number WHERE id = ?", (OTHER[0],)
    )
    assert made == vectors


@pytest.mark.parametrize("count", [1, 63, 64, 65, 127, 200])
def test_the_sample_is_drawn_over_the_whole_range(
    app: Application, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    for at in range(0, count, 32):
        app.memory.store([text("x" * (n + 1)) for n in range(at, min(count, at + 32))])
    seen: list[int] = []

    def group(store: Any, models: Any, part: Any, *rest: Any) -> Group:
        seen.extend(each.size_bytes for each in part)
        return real(store, models, part, *rest)

    real = forecast._group
    monkeypatch.setattr(forecast, "_group", group)
    found = predicted(app)["text"]
    assert found["sampled"] == len(set(seen)) == min(count, forecast.SAMPLE)
    assert (min(seen), max(seen)) == (1, count)
    gaps = np.diff(sorted(seen))
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_a_sample_that_takes_too_long_is_cut_short(
    app: Application, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "SAMPLE_S", 0.5)
    app.memory.store([sound(1.0, n) for n in range(32)])
    app.memory.store([sound(20.0, n) for n in range(32)])
    monkeypatch.setattr(embedding_batches, "BATCH_BYTES", 0)  # one by one
    found = predicted(app)["audio"]
    assert found["sampled"] == clock.memories - 1 == 17  # the smallest, and one of the largest
    assert found["seconds"] == pytest.approx(64 * MEMORY_S + 32 * 21 * VECTOR_S, rel=0.02)


def group(memories: int, work: float, seconds: float) -> Group:
    return Group(memories, work, seconds, memories, 0)


class TestExtrapolated:
    """64 of 1,000 memories were measured."""

    def total(self, groups: list[Group], work: float) -> float:
        return extrapolated(groups, [each.seconds for each in groups], 1000, work)

    def test_by_memories_where_size_is_nothing(self) -> None:
        groups = [group(16, 1e2, 1.0), group(16, 1e3, 1.0), group(16, 1e6, 1.0)]
        assert self.total(groups, 1e7) == pytest.approx(62.5, rel=0.01)

    def test_by_size_where_that_is_all(self) -> None:
        groups = [group(16, 1e3, 0.1), group(16, 1e4, 1.0), group(16, 1e5, 10.0)]
        assert self.total(groups, 1e6) == pytest.approx(100.0, rel=0.01)

    def test_all_of_one_size(self) -> None:
        groups = [group(16, 160, 1.0), group(16, 160, 1.1), group(16, 160, 0.9)]
        assert self.total(groups, 10_000) == pytest.approx(62.5, rel=0.02)

    def test_a_large_one_does_not_speak_for_the_small_ones(self) -> None:
        """Its size costs less than in proportion."""
        groups = [group(16, 16, 0.016), group(16, 16, 0.016), group(1, 1000, 0.3)]
        assert self.total(groups, 1999) == pytest.approx(1.3, rel=0.1)

    def test_nothing_measured(self) -> None:
        assert self.total([group(16, 16, 0.0)], 1000) == 0.0


@pytest.mark.parametrize("count", [1, 99, 100, 101, 199, 250])
def test_recall_is_compared_on_episodes_over_the_whole_range(
    app: Application, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(recall_comparison, "EPISODES", 20)
    count = max(1, count // 5)
    episodes = [app.memory.store([text(f"note {n}")]).episode.id for n in range(count)]
    chosen = [members[0].episode_id for members in recall_comparison._sample(app.store)]
    places = sorted(episodes.index(each) for each in chosen)
    assert len(places) == min(count, 20)
    assert places[-1] == count - 1
    assert not len(places) > 1 or np.ptp(np.diff(places)) <= 1


def test_nothing_to_embed(app: Application, clock: SimpleNamespace) -> None:
    app.memory.store([text("a red fox")])
    run(app)
    assert vectors_in(app, OTHER) == 1
    assert predicted(app)["text"] == {
        "to_embed": 0, "seconds": 0.0, "disk_bytes": 0, "memory_bytes": 0,
    }  # fmt: skip
    assert set(TARGETS) >= {"text"}
