"""Real encoders: from the fake profile to the bundled one, and to other weights of that."""

import shutil
from pathlib import Path

import pytest

from encoders import bundled, registry
from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.errors import SpaceMismatch
from memory_service.records import QueryPart, Upload
from memory_service.services.reembedding import Request
from memory_service.settings import Settings

SAMPLES = Path(__file__).parents[2] / "samples/tuxpaint-stamps"
STAMPS = ("animals/birds/owl", "food/fruit/apple_red", "hobbies/music/string/violin")
FRUIT = QueryPart("text", b"a fruit")


@pytest.mark.slow
def test_a_release_with_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path / "data", profile="fake")
    with build(settings) as app:
        for stem in STAMPS:
            files = {"image": ".png", "text": ".txt", "audio": ".ogg"}
            app.memory.store(
                [
                    Upload(modality, (SAMPLES / stem).with_suffix(suffix).read_bytes())
                    for modality, suffix in files.items()
                ],
                metadata={"name": stem},
            )
        first = app.reembedding.run(Request("bundled"))
        assert (first.result or {})["proof"]["complete"]
        assert found(app) == "food/fruit/apple_red"
        assert app.generation.generate([FRUIT], outputs=["text"]).space_id == "bundled"

    weights = tmp_path / "release" / bundled.FOLDER.name  # with the graphs beside it
    shutil.copytree(bundled.FOLDER.parent, weights.parent)
    (weights / "note.txt").write_text("a later release")
    assert bundled.space(weights).id == bundled.space().id
    assert bundled.space(weights).fingerprint != bundled.space().fingerprint

    def later(**options: str) -> registry.Profile:
        encoders, calibration = bundled.load(weights)
        return registry.Profile("bundled", {each.modality: each for each in encoders}, calibration)

    loaders = {**registry._LOADERS, "bundled": (later, registry._LOADERS["bundled"][1])}
    monkeypatch.setattr(registry, "_LOADERS", loaders)
    with build(Settings(data_dir=settings.data_dir, profile="bundled")) as app:
        with pytest.raises(SpaceMismatch, match="memory-service reembed"):
            found(app)
        job = app.reembedding.run(Request("bundled"))
        recall = (job.result or {})["recall"]
        assert recall["recall"]["text -> image"]["before"] == 1.0
        assert set(recall["neighbours_kept"].values()) == {1.0}  # the same weights in truth
        assert found(app) == "food/fruit/apple_red"
        assert app.generation.generate([FRUIT], outputs=["text"]).outputs[0].text


def found(app: Application) -> str:
    hits = app.retriever.retrieve([FRUIT], modalities=["image"], k=1).hits["image"]
    return str(hits[0].memory.metadata["name"])
