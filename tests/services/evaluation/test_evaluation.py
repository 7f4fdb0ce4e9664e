"""An evaluation of a namespace, by the fake profile: what it measures, and what it leaves alone."""

import io
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from service_media import audio, image, text
from store_consistency import assert_consistent

from encoders.base import Modality
from generator.fake import FakeGenerator
from generator.fusion import METHODS, methods_in
from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.errors import InvalidInput, NotFound
from memory_service.records import Job, QueryPart
from memory_service.services.evaluation import (
    judges,
    ladder,
    ladder_table,
    recall,
    robustness,
    scoring,
    service,
)
from memory_service.services.evaluation.cases import read_cases
from memory_service.services.evaluation.lab import FEWEST, Budget, Lab, Task
from memory_service.services.evaluation.request import Request
from memory_service.settings import Settings

QUICK = Request(depth="quick", max_items=40)
SMALL = Budget(queries=3, seeds=(0,), noised=4, repeated=1, repeats=2, timed=1, folds=3, shown=2)
NOUNS = ("fox", "whale", "frog", "owl", "bear", "cow", "cat", "dog", "hen", "bee", "ant", "elk")


@pytest.fixture(scope="module", autouse=True)
def little() -> Iterator[None]:
    """As little as there can be of everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "DEPTHS", {"quick": SMALL, "full": SMALL})
        patch.setattr(judges, "NETWORK", "no_such_package")  # it takes time
        yield


def fill_with_notes(app: Application) -> None:
    """Texts alone: enough for an evaluation that takes little time."""
    for noun in NOUNS[:FEWEST]:
        app.memory.store([text(f"a note about {noun}s")])


def fill(app: Application) -> None:
    for number, noun in enumerate(NOUNS):
        app.memory.store(
            [image(number), text(f"a {noun} at the lake"), audio(200 + 150 * number)],
            metadata={"folder": "wild/x" if number % 2 else "tame/y", "split": "test"},
        )


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Twelve animals, for tests that only read."""
    with build(Settings(data_dir=tmp_path_factory.mktemp("lake"), profile="fake")) as app:
        fill(app)
        yield app


@pytest.fixture(scope="module")
def job(lake: Application) -> Job:
    done = lake.evaluation.run(QUICK)
    assert done.state == "succeeded", done.error
    return done


@pytest.fixture(scope="module")
def figures(job: Job) -> dict[str, Any]:
    assert job.result is not None
    found: dict[str, Any] = json.loads(json.dumps(job.result["figures"], allow_nan=False))
    return found


def lab_of(app: Application) -> Lab:
    from contextlib import nullcontext

    models = app.active.models
    space = models.generator_space
    assert space is not None
    random = np.random.default_rng(0)
    cases = read_cases(app.store, models, space, "default", most=100, random=random)
    return Lab(models, space, cases, SMALL, 0, lambda label: nullcontext())


def test_every_part_is_there(figures: dict[str, Any]) -> None:
    assert {table["task"] for table in figures["ladders"]} == {
        "text -> image",
        "text -> audio",
        "text -> text",
        "image -> text",
    }
    assert figures["about"]["items"] == {"image": 12, "text": 12, "audio": 12}
    assert figures["about"]["unseen"] == 12
    assert figures["about"]["judges"]["form"]["audio"]
    assert figures["about"]["judges"]["meaning"] is None
    assert len(figures["recall"]) == 6
    assert [curve["noise"] for curve in figures["robustness"]] == [
        "Gaussian noise",
        "salt and pepper",
        "white noise",
        "typing errors",
    ]
    assert len(figures["dropped"]) == 9
    assert {row["modality"] for row in figures["cross_validation"]} == {"image", "audio"}
    assert {row["task"] for row in figures["efficiency"]["latency"]} == {
        *(table["task"] for table in figures["ladders"]),
        "text -> image + text + audio",
    }
    assert [row["creativity"] for row in figures["swap"]] == [0.3, 0.5]


def test_the_rungs_of_the_ladder(figures: dict[str, Any]) -> None:
    (table,) = (each for each in figures["ladders"] if each["task"] == "text -> image")
    rows = {row["what"]: row for row in table["rows"]}
    assert {"real", "autoencoder", "copy of the nearest", "latent mean of the nearest"} <= set(rows)
    for rung in ladder.RUNGS:
        expected = rung.memory != "untaught" and rung.fusion in methods_in("fake")
        assert (rung.name in rows) == expected
    assert {rung.k for rung in ladder.RUNGS} == {0, 1, 2, 4, 8}
    assert {rung.fusion for rung in ladder.RUNGS} == set(METHODS)
    assert rows["real"]["ssim"]["mean"] == pytest.approx(1)
    assert rows["real"]["judge_recall_at_10"]["mean"] == 1
    assert rows["copy of the nearest"]["ssim"]["mean"] < 1
    assert rows["copy of the nearest"]["to_memory"]["mean"] <= 1
    assert rows["copy of the nearest"]["novelty"]["mean"] == pytest.approx(0, abs=1e-4)
    assert table["chance"]["recall_at_10"] == pytest.approx(10 / 12, abs=1e-5)
    for row in rows.values():
        for name, value in row.items():
            if isinstance(value, dict):
                assert value["low"] <= value["mean"] + 1e-9, (row["what"], name)
                assert value["mean"] <= value["high"] + 1e-9


def test_a_short_ladder_has_the_rows_that_were_asked_for(lake: Application) -> None:
    lab = lab_of(lake)
    lab = replace(lab, budget=replace(lab.budget, short=True))
    made = ladder.climb(lab, Task("text", "text"), scoring.Scorer(lab, "text")).made
    assert {name for name in ladder.ORDER if name != ladder.RECODED} <= set(made)
    assert ladder.Rung("own", 0.0).name in made
    assert not any("k = 2" in name or "sum" in name or "1 candidate" in name for name in made)
    measures = made[ladder.COPY].measures
    assert (measures["novel"] == 0).all()
    assert (measures["media_novelty"] == 0).all()


def test_precision_to_coverage_of_enough_only(
    lake: Application, figures: dict[str, Any], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in figures["ladders"]:
        assert not any("coverage" in row for row in table["rows"])
    page = lake.evaluation.report(job.id).page
    assert "need 100 made and as many real items; here are 3: ask with --queries" in page
    lab = lab_of(lake)
    lab = replace(lab, budget=lab.budget.asking(1000, 12))
    assert lab.budget.queries == 6  # half of them: the rest is what made ones are to be like
    climb = ladder.climb(lab, Task("image", "text"), scoring.Scorer(lab, "image"))
    monkeypatch.setattr(ladder_table.metrics, "PRDC_FEWEST", 6)
    monkeypatch.setattr(ladder_table.metrics.prdc, "__defaults__", (2,))
    rows = {row["what"]: row for row in ladder_table.table(lab, climb)["rows"]}
    for row in rows.values():
        assert 0 <= row["coverage"] <= 1
        assert row["precision"] <= 1
        assert row["density"] >= 0


def test_what_is_imagined_is_not_in_its_memory(lake: Application) -> None:
    lab = lab_of(lake)
    climb = ladder.climb(lab, Task("image", "text"), scoring.Scorer(lab, "image"))
    for made in climb.made.values():
        for place, memory in zip(climb.queries, made.memories, strict=True):
            assert (place in memory) == made.name.startswith("own")
            assert len(set(memory.tolist())) == len(memory)
    sizes = {made.name: len(made.memories[0]) for made in climb.made.values()}
    assert sizes[ladder.Rung("retrieved", k=2).name] == 2
    assert sizes[ladder.Rung("none", 1.0, 0).name] == 0


def test_cases_of_one_meaning_are_held_back_together(app: Application) -> None:
    fill(app)
    app.memory.store([image(50), text("A fox, at the lake!"), audio(900)])
    lab = lab_of(app)
    (fox, twin) = (n for n, case in enumerate(lab.cases.all) if "fox" in case.words)
    task = Task("image", "text")
    both = lab.cases.having("image", "text")
    query = lab.cases.vectors("text", [fox])[0]
    assert lab.nearest(task, query, both, 2).tolist() == [fox, twin]
    assert not {fox, twin} & set(lab.others(fox, both).tolist())


@pytest.mark.parametrize("output", ["image", "text", "audio"])
def test_it_is_made_from_what_a_request_would_choose(app: Application, output: Modality) -> None:
    fill(app)
    app.memory.store([text("a fox, by its words alone")])
    lab = lab_of(app)
    for asked in ("a fox at the lake", "a heron", "the dog or a log"):
        part = QueryPart("text", asked.encode())
        record = app.generation.generate([part], outputs=[output], k=3, seed=1)
        task, (query,) = Task(output, "text"), lab.encode("text", [asked])
        best = lab.nearest(task, query, np.arange(len(lab.cases)), 1)
        sources = [each.memory.id for each in lab.sources(task, query, best)]
        assert sources == [each.memory_id for each in record.memories][: len(sources)]


def test_noise_lowers_what_is_found(figures: dict[str, Any]) -> None:
    for curve in figures["robustness"]:
        points = curve["points"]
        assert points[0]["level"] == 0
        assert points[0]["itself"]["mean"] == 1
        assert points[-1]["itself"]["mean"] <= points[0]["itself"]["mean"]
    typed = figures["robustness"][-1]["points"]
    assert typed[-1]["itself"]["mean"] < 1


def test_one_seed_gives_one_result_and_seeds_differ(figures: dict[str, Any]) -> None:
    for row in figures["consistency"]:
        assert row["equal_bytes_with_one_seed"]["mean"] == 1
        assert all(value["mean"] == 0 for value in row["deviation_with_one_seed"].values())
        if row["creativity"] == 1.0:
            assert row["difference"]["mean"] > 0


def test_the_same_again_gives_the_same_figures(app: Application) -> None:
    for number in range(FEWEST):
        app.memory.store([image(number), text(f"a {NOUNS[number]}")])
    found = []
    for _ in range(2):
        done = app.evaluation.run(QUICK)
        assert done.result is not None, done.error
        figures = dict(done.result["figures"])
        timed = figures.pop("efficiency")
        assert timed["latency"][0]["stages"]["total"]["median_ms"] > 0
        assert timed["machine"]["cores"]
        found.append(figures)
    assert found[0] == found[1]


def test_nothing_is_stored_or_reinforced(lake: Application, job: Job) -> None:
    assert lake.memory.count() == 36
    for memory in lake.memory.list(limit=50)[0]:
        assert lake.memory.explain(memory.id).strength.recalls == 0
    assert not lake.store.catalog.select("SELECT * FROM generations")
    assert_consistent(lake)


def test_the_page_holds_all_and_loads_nothing(lake: Application, job: Job) -> None:
    page = lake.evaluation.report(job.id).page
    for anchor in ("samples", "robustness", "consistency", "generalisation", "efficiency"):
        assert f'id="{anchor}"' in page
    assert page.count("data:audio/wav;base64,") >= 3 * 4
    assert page.count("data:image/svg+xml;base64,") == 4 + 4 + 1
    assert page.count("data:image/png;base64,") > 40  # sheets, the swap, the one without names
    linked = set(re.findall(r'href="#([\w-]+)"', page))
    assert linked == set(re.findall(r'<h2 id="([\w-]+)"', page))  # contents
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page)


def test_a_text_cannot_become_part_of_the_page(app: Application) -> None:
    for number in range(FEWEST):
        app.memory.store([text(f"<script>alert({number})</script>")])
    done = app.evaluation.run(replace(QUICK, seed=3))
    assert "<script" not in app.evaluation.report(done.id).page


def test_the_report_goes_with_what_it_shows(app: Application) -> None:
    fill_with_notes(app)
    done = app.evaluation.run(QUICK)
    shown = sorted(app.evaluation.report(done.id).memory_ids)
    app.memory.forget(shown[0])
    with pytest.raises(NotFound, match="forgotten since"):
        app.evaluation.report(done.id)
    with pytest.raises(NotFound, match="no report"):
        app.evaluation.report(done.id)


def test_only_texts_are_enough(app: Application) -> None:
    fill_with_notes(app)
    done = app.evaluation.run(QUICK)
    assert done.result is not None, done.error
    assert [t["task"] for t in done.result["figures"]["ladders"]] == ["text -> text"]
    assert app.evaluation.report(done.id).page


def test_pictures_and_sounds_that_were_never_stored_together(app: Application) -> None:
    """No episode has all that could be made at once, so that takes no time."""
    for number, noun in enumerate(NOUNS[:FEWEST]):
        app.memory.store([image(number), text(f"a {noun} that is seen")])
        app.memory.store([audio(200 + 150 * number), text(f"a {noun} that is heard")])
    done = app.evaluation.run(QUICK)
    assert done.result is not None, done.error
    timed = [row["task"] for row in done.result["figures"]["efficiency"]["latency"]]
    assert "text -> image" in timed
    assert "text -> audio" in timed
    assert "text -> image + text + audio" not in timed
    assert app.evaluation.report(done.id).page


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"namespace": "no name"}, "not a name"),
        ({"depth": "deep"}, "depth must be one of"),
        ({"max_items": 3}, "max_items must be from"),
        ({"max_items": 10**9}, "max_items must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_wrong_requests(lake: Application, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        lake.evaluation.begin(**wrong)


def test_an_empty_namespace_fails_in_words(lake: Application) -> None:
    done = lake.evaluation.run(replace(QUICK, namespace="nobody"))
    assert done.state == "failed"
    assert done.error is not None
    assert done.error["code"] == "invalid_input"
    assert "needs 8 at least" in done.error["message"]


def test_it_ends_when_it_is_cancelled(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_with_notes(app)
    reached, go_on = threading.Event(), threading.Event()

    def wait(lab: Lab) -> list[Any]:
        reached.set()
        assert go_on.wait(10)
        with lab.step("more"):
            raise AssertionError("it goes on")

    monkeypatch.setattr(recall, "recall", wait)
    begun = app.evaluation.begin(depth="quick")
    assert reached.wait(60)
    app.jobs.cancel(begun.id)
    go_on.set()
    app.jobs.close()
    assert app.jobs.get(begun.id).state == "cancelled"


def test_curves_need_cases(app: Application) -> None:
    app.memory.store([text("alone")])
    assert robustness.curves(lab_of(app)) == []
    assert robustness.dropped(lab_of(app), {}) == []


def test_a_sample_is_drawn_where_there_is_more(lake: Application) -> None:
    models = lake.active.models
    assert models.generator_space is not None

    def drawn(seed: int) -> list[str]:
        random = np.random.default_rng(seed)
        cases = read_cases(
            lake.store,
            models,
            models.generator_space,
            "default",
            most=5,
            random=random,  # type: ignore[arg-type]
        )
        return [case.id for case in cases.all]

    assert len(drawn(0)) == 5
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_copies_are_looked_for_in_the_training(app: Application) -> None:
    fill_with_notes(app)
    for number in range(4):
        app.memory.store([text(f"trained on note {number}")], namespace="training")
    done = app.evaluation.run(replace(QUICK, training="training"))
    assert done.result is not None, done.error
    (row,) = done.result["figures"]["memorisation"]
    assert row["training_items"] == 4
    real = next(each for each in row["rows"] if each["what"] == "real")
    assert 0 <= real["copies_of_training"]["mean"] < 1


def test_without_generators_recall_is_still_measured(tmp_path: Path, other_profile: Any) -> None:
    with build(Settings(data_dir=tmp_path / "other", profile="other")) as app:
        modalities = set(app.active.models.encoders)
        for number, noun in enumerate(NOUNS):
            uploads = [text(f"a {noun}"), *([image(number)] if "image" in modalities else [])]
            app.memory.store(uploads)
        done = app.evaluation.run(QUICK)
        assert done.result is not None, done.error
        assert done.result["figures"]["ladders"] == []
        assert "Robustness" in app.evaluation.report(done.id).page


def test_a_sheet_without_names_and_its_key(lake: Application, job: Job) -> None:
    blind = lake.evaluation.report(job.id).blind
    assert blind is not None
    assert [row["number"] for row in blind.key] == [1, 2]  # of three queries, one of each kind
    assert {row["kind"] for row in blind.key} == {"recalled", "imagined"}
    assert len({row["asked"] for row in blind.key}) == 2
    with PIL.Image.open(io.BytesIO(blind.sheet)) as sheet:
        assert sheet.width > 300
    assert all(row["asked"].encode() not in blind.sheet for row in blind.key)
    assert blind.memory_ids <= {m.id for m in lake.memory.list(limit=50)[0]}


def test_a_model_without_memory_stands_beside(lake: Application) -> None:
    lab = lab_of(lake)
    task = Task("image", "text")
    apart = replace(lab, without_memory={"image": FakeGenerator("image", lab.space.id)})
    climb = ladder.climb(apart, task, scoring.Scorer(apart, "image"))
    made = climb.made[ladder.NAMES["untaught"]]
    assert all(len(memory) == 0 for memory in made.memories)
    assert (
        ladder.NAMES["untaught"] not in ladder.climb(lab, task, scoring.Scorer(lab, "image")).made
    )


def test_weights_that_are_none_are_refused_in_words(lake: Application, tmp_path: Path) -> None:
    done = lake.evaluation.run(replace(QUICK, without_memory=str(tmp_path)))
    assert done.state == "failed"
    assert done.error is not None
    assert "has no weights of generators: there is none of image.json" in done.error["message"]


def test_unseen_concepts_stand_beside_all(app: Application) -> None:
    for number, noun in enumerate(NOUNS):
        metadata = {"split": "test" if number < 2 else "train"}
        app.memory.store([image(number), text(f"a {noun}")], metadata=metadata)
    done = app.evaluation.run(QUICK)
    assert done.result is not None, done.error
    figures = done.result["figures"]
    for row in figures["ladders"][0]["rows"]:
        for name, value in row.items():
            if isinstance(value, dict):
                assert (value["n"], value["unseen"]["n"]) == (3, 2), name
    assert all("unseen" in row for row in figures["targets"] if row["task"] == "text -> text")
    assert figures["recall"][0]["recall_at_10"]["unseen"]["n"] == 2
    assert figures["robustness"][0]["points"][0]["itself"]["unseen"]["n"] == 2
    assert "2 unseen" in app.evaluation.report(done.id).page
