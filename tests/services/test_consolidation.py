"""Near-duplicates, their prototypes, and what becomes of both."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import Open
from service_media import audio, image, text
from store_consistency import assert_consistent
from turnable_clock import TurnableClock

from memory_service.app import Application
from memory_service.errors import InvalidInput, JobConflict, NotFound
from memory_service.records import Hit, Job, Memory, QueryPart, Weights
from memory_service.services import consolidation
from memory_service.services.consolidation import Request
from memory_service.storage import lineage
from memory_service.storage.prototypes import Candidate

NEAR = 0.8  # for texts of the fake encoder: three words in four alike


def words(content: str) -> QueryPart:
    return QueryPart("text", content.encode())


def hits(app: Application, content: str, modality: str = "text", **options: Any) -> list[Hit]:
    options = {"reinforce": False, **options}
    found = app.retriever.retrieve([words(content)], modalities=[modality], **options)
    return list(found.hits[modality])


def consolidated(app: Application, **options: Any) -> Job:
    options = {"modalities": ["text"], "threshold": NEAR, **options}
    job = app.consolidation.run(Request(**options))
    assert job.state == "succeeded", job.error
    return job


@pytest.fixture
def foxes(timed: Application, clock: TurnableClock) -> list[Memory]:
    """Four nearly equal texts, each with a sound of its own, and one text of another kind."""
    stored = []
    for number, name in enumerate(("one", "two", "three", "four")):
        uploads = [text(f"a red fox runs over the green hill {name}"), audio(300 + 200 * number)]
        episode = timed.memory.store(uploads, metadata={"name": name, "kind": "fox"}).episode
        stored.append(episode.memories[0])
        clock.turn(10)
    timed.memory.store([text("a blue whale in the sea"), audio(2000)], metadata={"name": "whale"})
    return stored


def prototype_of(app: Application, memory: Memory) -> Memory:
    found = app.memory.explain(memory.id).lineage
    assert found is not None
    return app.memory.get(found.prototype)


def test_a_group_takes_one_place(timed: Application, foxes: list[Memory]) -> None:
    job = consolidated(timed)
    assert job.result is not None
    assert (job.result["groups"], job.result["members"]) == (1, 4)
    (listed,) = job.result["listed"]
    prototype = timed.memory.get(listed["prototype_id"])
    assert listed["members"] == [memory.id for memory in foxes]
    assert listed["least_cosine"] > NEAR
    found = hits(timed, "a red fox", mode="direct")
    assert next(hit.memory.id for hit in found) == prototype.id
    assert [hit.memory.metadata["name"] for hit in found][1:] == ["whale"]
    assert len(found) == 2
    assert prototype.consolidated_by == job.id
    assert_consistent(timed)


def test_content_of_the_medoid_and_the_mean_vector(timed: Application, foxes: list[Memory]) -> None:
    consolidated(timed)
    prototype = prototype_of(timed, foxes[0])
    told = timed.memory.explain(prototype.id).lineage
    assert told is not None
    space = (timed.profile.encoders[0].space_id, timed.profile.encoders[0].fingerprint)
    vectors = np.stack([timed.store.catalog.vector(each.sequence, space) for each in foxes])  # type: ignore[misc]
    center = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
    own = timed.store.catalog.vector(prototype.sequence, space)
    np.testing.assert_allclose(own, center, atol=1e-6)
    np.testing.assert_allclose([each.cosine for each in told.members], vectors @ center, atol=1e-6)
    medoid = foxes[int((vectors @ center).argmax())]
    assert [each.memory_id for each in told.members if each.medoid] == [medoid.id]
    assert timed.memory.content(prototype.id)[1] == timed.memory.content(medoid.id)[1]
    assert (prototype.text, prototype.metadata) == (medoid.text, medoid.metadata)
    assert prototype.created_at == foxes[-1].created_at


@pytest.mark.parametrize("content", [b"", b"half", "no bytes"])
def test_what_is_damaged_stands_alone(
    timed: Application, foxes: list[Memory], monkeypatch: pytest.MonkeyPatch, content: Any
) -> None:
    """A page of nothing but damaged vectors is no end, either."""
    monkeypatch.setattr(consolidation, "PAGE", 1)
    with timed.store.catalog.transaction("damaging") as connection:
        damaged = connection.execute(
            "UPDATE vectors SET vector = ? WHERE sequence = ?", (content, foxes[0].sequence)
        )
        assert damaged.rowcount == 1
    job = consolidated(timed)
    assert job.result is not None
    (listed,) = job.result["listed"]
    assert listed["members"] == [memory.id for memory in foxes[1:]]


def test_lineage_is_told_from_both_ends(
    timed: Application, foxes: list[Memory], clock: TurnableClock
) -> None:
    job = consolidated(timed)
    prototype = prototype_of(timed, foxes[0])
    whole = timed.memory.explain(prototype.id).lineage
    assert whole is not None
    assert (whole.prototype, whole.job) == (prototype.id, job.id)
    assert [each.memory_id for each in whole.members] == [each.id for each in foxes]
    assert {each.consolidated_at for each in whole.members} == {clock.now()}
    for number, member in enumerate(foxes):
        own = timed.memory.explain(member.id).lineage
        assert own is not None
        assert (own.prototype, own.members) == (prototype.id, (whole.members[number],))
    whale = timed.memory.list(filter={"name": "whale"})[0][0]
    assert timed.memory.explain(whale.id).lineage is None


@pytest.mark.parametrize("mode", ["associative", "auto"])
def test_every_members_episode_is_reached(
    timed: Application, foxes: list[Memory], mode: Any
) -> None:
    consolidated(timed)
    found = hits(timed, "a red fox runs over the hill", "audio", mode=mode, k=4)
    assert {hit.memory.episode_id for hit in found} == {each.episode_id for each in foxes}
    assert {hit.reached_by[-1].via for hit in found} == {prototype_of(timed, foxes[0]).id}


def test_a_hidden_member_is_found_as_its_prototype_over_episodes(timed: Application) -> None:
    """Pictures and texts are both consolidated: the text leads to the pictures' prototype."""
    for number in range(3):
        timed.memory.store([image(1), text(f"a red fox runs over the green hill {number}")])
    timed.memory.store([image(2), text("a blue whale in the sea")])
    consolidated(timed, modalities=["text", "image"])
    found = hits(timed, "a red fox", "image", mode="associative")
    assert len(found) == 2
    assert found[0].memory.consolidated_by is not None
    assert found[0].memory.modality == "image"
    assert len(timed.memory.explain(found[0].memory.id).lineage.members) == 3  # type: ignore[union-attr]


def test_few_hits_lead_on_to_prototypes(timed: Application, foxes: list[Memory]) -> None:
    """So few that only memories with a mate are searched: see Retriever._associative."""
    consolidated(timed)
    found = hits(timed, "a red fox runs", "audio", mode="associative", k=100)
    assert len(found) == 5


class TestFilters:
    def test_a_member_is_found_where_the_prototype_is_not_allowed(
        self, timed: Application, foxes: list[Memory]
    ) -> None:
        consolidated(timed)
        shown = prototype_of(timed, foxes[0]).metadata["name"]
        for mode in ("direct", "auto"):
            for memory in foxes:
                name = memory.metadata["name"]
                (hit,) = hits(timed, "a red fox", mode=mode, filter={"name": name})
                assert (hit.memory.id == memory.id) == (name != shown)
                assert hit.memory.metadata["name"] == name

    def test_one_hit_where_it_is(self, timed: Application, foxes: list[Memory]) -> None:
        consolidated(timed)
        (hit,) = hits(timed, "a red fox", filter={"kind": "fox"})
        assert hit.memory.id == prototype_of(timed, foxes[0]).id

    def test_over_episodes(self, timed: Application, foxes: list[Memory]) -> None:
        consolidated(timed)
        found = hits(timed, "a red fox", "audio", mode="associative", filter={"name": "two"})
        assert [hit.memory.episode_id for hit in found] == [foxes[1].episode_id]


class TestUndoing:
    @pytest.mark.parametrize("by", ["job", "prototype", "delete"])
    def test_all_is_as_before(self, timed: Application, foxes: list[Memory], by: str) -> None:
        before = ranking(timed)
        job = consolidated(timed)
        prototype = prototype_of(timed, foxes[0])
        assert ranking(timed) != before
        if by == "delete":
            receipt = timed.memory.forget(prototype.id)
            assert receipt.memory_ids == (prototype.id,)
            assert receipt.blobs_removed == ()
        else:
            gone = timed.consolidation.undo(job.id if by == "job" else prototype.id)
            assert gone == (prototype.id,)
        assert ranking(timed) == before
        with pytest.raises(NotFound):
            timed.memory.get(prototype.id)
        assert timed.memory.explain(foxes[0].id).lineage is None
        assert_consistent(timed)

    def test_twice(self, timed: Application, foxes: list[Memory]) -> None:
        job = consolidated(timed)
        timed.consolidation.undo(job.id)
        assert timed.consolidation.undo(job.id) == ()
        with pytest.raises(NotFound):
            timed.consolidation.undo("nothing")
        with pytest.raises(NotFound):
            timed.consolidation.undo(foxes[0].id)  # no prototype

    def test_not_while_one_runs(
        self, timed: Application, foxes: list[Memory], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun, go_on = threading.Event(), threading.Event()
        seeds = consolidation.Consolidation._seeds

        def slow(service: Any, place: Any, counts: dict[str, int]) -> Iterator[Candidate]:
            begun.set()
            go_on.wait(20)
            yield from seeds(service, place, counts)

        monkeypatch.setattr(consolidation.Consolidation, "_seeds", slow)
        timed.consolidation.begin(threshold=NEAR)
        assert begun.wait(20)
        for call in (lambda: timed.consolidation.undo("x"), lambda: timed.consolidation.begin()):
            with pytest.raises(JobConflict):
                call()
        go_on.set()


class TestDeleting:
    @pytest.mark.parametrize("number", range(4))
    def test_a_member(self, timed: Application, foxes: list[Memory], number: int) -> None:
        """The mean has a share of what was forgotten: the prototype goes, the others are back."""
        consolidated(timed)
        prototype = prototype_of(timed, foxes[0])
        receipt = timed.memory.forget(foxes[number].id)
        assert set(receipt.memory_ids) == {foxes[number].id, prototype.id}
        left = [hit.memory.id for hit in hits(timed, "a red fox", filter={"kind": "fox"})]
        assert set(left) == {each.id for each in foxes} - {foxes[number].id}
        assert_consistent(timed)
        consolidated(timed)
        assert len(hits(timed, "a red fox", filter={"kind": "fox"})) == 1

    def test_an_episode(self, timed: Application, foxes: list[Memory]) -> None:
        consolidated(timed)
        timed.memory.forget_episode(foxes[1].episode_id)
        assert not timed.store.catalog.select("SELECT 1 FROM lineage")
        assert_consistent(timed)

    def test_all(self, timed: Application, foxes: list[Memory]) -> None:
        consolidated(timed)
        for memory in foxes:
            timed.memory.forget_episode(memory.episode_id)
        assert [memory.metadata["name"] for memory in timed.memory.list()[0]] == ["whale"] * 2
        assert_consistent(timed)

    def test_a_member_expires(
        self, timed: Application, foxes: list[Memory], clock: TurnableClock
    ) -> None:
        timed.memory.update(foxes[1].id, {"ttl_s": 100})
        consolidated(timed)
        prototype = prototype_of(timed, foxes[0])
        assert prototype.expires_at == clock.now() + 100
        clock.turn(100)
        found = {hit.memory.id for hit in hits(timed, "a red fox", filter={"kind": "fox"})}
        assert found == {foxes[0].id, foxes[2].id, foxes[3].id}
        assert timed.upkeep.sweep() == 2
        assert_consistent(timed)

    def test_a_members_expiry_is_set_later(
        self, timed: Application, foxes: list[Memory], clock: TurnableClock
    ) -> None:
        consolidated(timed)
        prototype = prototype_of(timed, foxes[0])
        timed.memory.update(foxes[2].id, {"ttl_s": 10})
        assert timed.memory.get(prototype.id).expires_at == clock.now() + 10
        timed.memory.update(foxes[2].id, {"expires_at": None})
        assert timed.memory.get(prototype.id).expires_at is None


def test_a_prototype_has_its_medoids_metadata(timed: Application, foxes: list[Memory]) -> None:
    consolidated(timed)
    prototype = prototype_of(timed, foxes[0])
    with pytest.raises(InvalidInput):
        timed.memory.update(prototype.id, {"metadata": {"a": 1}})
    for memory in foxes:
        timed.memory.update(memory.id, {"metadata": {"seen": memory.metadata["name"]}})
    changed = timed.memory.get(prototype.id).metadata
    assert changed["seen"] == prototype.metadata["name"]


class TestRunning:
    def test_dry_run_changes_nothing(self, timed: Application, foxes: list[Memory]) -> None:
        before = timed.memory.list()[0]
        job = consolidated(timed, dry_run=True)
        assert job.result is not None
        (listed,) = job.result["listed"]
        assert listed["prototype_id"] is None
        assert listed["members"] == [memory.id for memory in foxes]
        assert timed.memory.list()[0] == before

    def test_again_finds_nothing_new(self, timed: Application, foxes: list[Memory]) -> None:
        consolidated(timed)
        again = consolidated(timed)
        assert again.result is not None
        assert again.result["groups"] == 0
        assert_consistent(timed)

    def test_a_new_one_joins_a_group(
        self, timed: Application, foxes: list[Memory], clock: TurnableClock
    ) -> None:
        consolidated(timed)
        first = prototype_of(timed, foxes[0])
        uploads = [text("a red fox runs over the green hill five")]
        fifth = timed.memory.store(uploads, metadata={"kind": "fox"}).episode.memories[0]
        job = consolidated(timed)
        assert job.result is not None
        assert (job.result["groups"], job.result["members"]) == (1, 5)
        second = prototype_of(timed, fifth)
        assert second.id != first.id
        with pytest.raises(NotFound):
            timed.memory.get(first.id)
        assert len(hits(timed, "a red fox", filter={"kind": "fox"})) == 1
        assert_consistent(timed)

    def test_it_is_taken_up_where_it_ended(
        self, timed: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for group in ("red fox runs over the hill", "blue whale swims in the sea"):
            for number in range(3):
                timed.memory.store([text(f"a {group} {number}")])
        add = timed.store.prototypes.add
        written = []

        def then_end(group: Any) -> Memory | None:
            if written:
                raise KeyboardInterrupt
            written.append(add(group))
            return written[-1]

        with monkeypatch.context() as patch:
            patch.setattr(timed.store.prototypes, "add", then_end)
            with pytest.raises(KeyboardInterrupt):
                timed.consolidation.run(Request(modalities=["text"], threshold=NEAR))
        assert_consistent(timed)  # one group is whole, the other not there
        ended = timed.jobs.latest(1)[0]
        assert ended.state == "interrupted"
        job = consolidated(timed)
        assert job.id == ended.id
        assert job.result is not None
        assert (job.result["groups"], job.result["members"]) == (2, 6)
        assert len(lineage.made_by(timed.store.catalog, job.id)) == 2
        assert_consistent(timed)

    def test_what_is_forgotten_meanwhile(
        self, timed: Application, foxes: list[Memory], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add = timed.store.prototypes.add

        def forget_first(group: Any) -> Memory | None:
            if timed.store.catalog.memories([foxes[3].sequence]):
                timed.memory.forget(foxes[3].id)
            return add(group)

        monkeypatch.setattr(timed.store.prototypes, "add", forget_first)
        job = consolidated(timed)
        assert job.result is not None
        assert job.result["members"] == 3  # from the next of them on
        assert_consistent(timed)

    def test_it_outlives_the_service(
        self, open_app: Open, timed: Application, foxes: list[Memory], clock: TurnableClock
    ) -> None:
        consolidated(timed)
        before = ranking(timed)
        timed.close()
        again = open_app(clock, half_life_s=100.0)
        assert ranking(again) == before
        assert_consistent(again)

    def test_namespaces_do_not_mix(self, timed: Application) -> None:
        for namespace in ("a", "b"):
            for number in range(2):
                timed.memory.store(
                    [text(f"a red fox runs over hills {number}")], namespace=namespace
                )
        job = consolidated(timed, namespace="a")
        assert job.result is not None
        assert [each["namespace"] for each in job.result["listed"]] == ["a"]

    def test_long_sounds_stay_single(self, timed: Application) -> None:
        """Where in them something is, only their own segments tell."""
        import io

        import soundfile

        time = np.arange(16_000 * 10) / 16_000
        for _ in range(2):
            buffer = io.BytesIO()
            soundfile.write(buffer, np.sin(2 * np.pi * 440 * time), 16_000, format="WAV")
            upload = audio(440)
            timed.memory.store([type(upload)("audio", buffer.getvalue())])
        job = consolidated(timed, modalities=["audio"], threshold=0.9)
        assert job.result is not None
        assert job.result["groups"] == 0

    @pytest.mark.parametrize(
        "options",
        [
            {"threshold": 0.0},
            {"threshold": 1.1},
            {"threshold": float("nan")},
            {"namespace": "a b"},
            {"modalities": ["smell"]},
            {"modalities": []},
        ],
    )
    def test_bad_requests(self, empty_app: Application, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput):
            empty_app.consolidation.begin(**options)


class TestStrength:
    def test_a_prototype_is_as_strong_as_all(self, timed: Application, foxes: list[Memory]) -> None:
        timed.retriever.retrieve([words("a red fox")], modalities=["text"], k=2)
        single = [timed.memory.explain(each.id).strength for each in foxes]
        consolidated(timed)
        together = timed.memory.explain(prototype_of(timed, foxes[0]).id).strength
        assert together.value == pytest.approx(sum(each.value for each in single))
        assert together.recalls == sum(each.recalls for each in single) == 2

    def test_generations_are_made_from_what_was_stored(
        self, timed: Application, foxes: list[Memory]
    ) -> None:
        consolidated(timed)
        prototype = prototype_of(timed, foxes[0])
        made = timed.generation.generate(
            [words("a red fox")], outputs=["text"], k=4, weights=Weights(strength=1.0)
        )
        used = {share.memory_id for share in made.memories}
        assert prototype.id not in used
        assert used & {each.id for each in foxes}
        assert all(timed.generations.replay(made.id).values())
        assert timed.memory.explain(prototype.id).strength.recalls == 1
        timed.consolidation.undo(prototype.id)
        assert all(timed.generations.replay(made.id).values())


def test_complete_linkage_makes_no_chains() -> None:
    """Each is near to the next; the first and the last are not near."""
    angles = np.deg2rad([0, 15, 30, 45])
    chain = [
        Candidate(number, np.array([np.cos(angle), np.sin(angle)], np.float32), None)
        for number, angle in enumerate(angles)
    ]
    group = consolidation.complete(chain[:1], chain[1:], float(np.cos(np.deg2rad(20))))
    assert [each.sequence for each in group] == [0, 1]


def ranking(app: Application) -> list[tuple[str, float]]:
    return [
        (hit.memory.id, hit.score)
        for modality in ("text", "audio")
        for hit in hits(app, "a red fox runs", modality)
    ]
