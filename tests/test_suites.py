"""What the package evaluates itself by: the sample, or a collection's test split."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from memory_service import suites
from memory_service.services.evaluation import judges, service
from memory_service.services.evaluation.lab import Budget
from memory_service.settings import Settings

SAMPLES = Path(__file__).parents[1] / "samples/tuxpaint-stamps"
SMALL = Budget(queries=3, seeds=(0,), noised=3, repeated=1, repeats=2, timed=1, folds=3, shown=2)


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "collection"
    folder.mkdir()
    lines = []
    for number in range(40):
        Image.new("RGB", (8, 8), (6 * number, 50, 90)).save(folder / f"{number}.png")
        item = {
            "id": f"i{number:02d}",
            "modality": "image",
            "source": "icons" if number % 4 else "stamps",
            "style": "flat",
            "concept": f"thing {number}",
            "split": "test" if number < 24 else "train",
            "path": f"{number}.png",
            "caption": f"A thing numbered {number}",
            "tags": [],
            "episode": f"e{number}",
            "licence": "CC0",
        }
        lines.append(json.dumps(item))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_the_sample_unless_a_collection_is_named() -> None:
    whole = suites.suite("shipped", samples=SAMPLES)
    assert len(whole.episodes) == 222
    assert whole.source == "222 of the 222 episodes of tuxpaint-stamps"
    assert not whole.training
    quick = suites.suite("quick", samples=SAMPLES, max_items=20)
    splits = [each.metadata["split"] for each in quick.episodes]
    assert splits.count("test") == 18  # what no training saw comes first
    first = quick.episodes[0]
    assert {upload.modality for upload in first.uploads()} >= {"image", "text"}
    assert first.metadata["folder"]


def test_the_test_split_where_there_is_one(collection: Path) -> None:
    found = suites.suite("shipped", samples=SAMPLES, collection=collection, max_items=10)
    assert found.source == "10 of the 24 items of the test split of collection"
    assert {each.metadata["split"] for each in found.episodes} == {"test"}
    assert [each.metadata["source"] for each in found.episodes].count("stamps") == 5  # in turn
    assert {each.metadata["split"] for each in found.training} == {"train"}
    assert found.field == "source"


def test_neither(tmp_path: Path) -> None:
    with pytest.raises(suites.NothingToEvaluate, match="--samples"):
        suites.suite("shipped", samples=tmp_path / "none")
    with pytest.raises(suites.NothingToEvaluate, match=r"encoders\.training\.data"):
        suites.suite("shipped", samples=SAMPLES, collection=tmp_path)


def test_a_manifest_that_lacks_a_field(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"id": "x", "split": "test"}\n')
    with pytest.raises(ValueError, match="modality"):
        suites.suite("shipped", samples=SAMPLES, collection=tmp_path)


def test_from_the_collection_to_the_report(
    collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DEPTHS", {"quick": SMALL, "full": SMALL})
    monkeypatch.setattr(judges, "NETWORK", "no_such_package")  # it takes time
    planned = suites.suite("shipped", samples=SAMPLES, collection=collection, max_items=9)
    told: list[Any] = []
    job, report = suites.evaluate(
        planned, Settings(profile="fake"), on_stored=lambda done, of: told.append((done, of))
    )
    assert job.state == "succeeded", job.error
    assert report is not None
    assert told[-1] == (25, 25)
    about = report.figures["about"]
    assert (about["episodes"], about["unseen"], about["training"]) == (9, 9, "training")
    assert about["source"] in report.page
    (rows,) = (r for r in report.figures["memorisation"] if r["task"] == "text -> image")
    assert rows["training_items"] == 16
