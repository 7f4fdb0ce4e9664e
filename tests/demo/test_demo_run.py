"""The whole demonstration on a small folder, with a real service (profile fake)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from memory_service.cli import app
from memory_service.demo.plan import plan
from memory_service.demo.service import DemoError, running_service
from memory_service.importer import scan


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    for number, colour in enumerate(("red", "green", "blue", "brown", "pink", "gray", "gold")):
        Image.new("RGB", (32, 32), colour).save(folder / f"{colour}.png")
        (folder / f"{colour}.txt").write_text(f"Something {colour}")
        wave = np.sin(np.arange(8000) / 8000 * 2 * np.pi * 110 * (number + 1))
        soundfile.write(folder / f"{colour}.wav", wave.astype(np.float32), 8000)
    return folder


def demo(samples: Path, out: Path) -> Result:
    arguments = ["demo", "--profile", "fake", "--samples", str(samples), "--out", str(out)]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_everything_is_written_and_named(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = demo(samples, out)
    assert result.exit_code == 0, result.output
    for name in ("report.html", "contact-sheet.png", "retrieval.json", "generation.json"):
        assert (out / name).stat().st_size > 1000
    assert str(out / "report.html") in result.stdout
    assert str(out / "contact-sheet.png") in result.stdout
    kinds = {path.suffix for path in out.glob("generated-*")}
    assert kinds == {".png", ".txt", ".wav"}
    assert "Shutting down" in (out / "service.log").read_text()
    asked = json.loads((out / "retrieval.json").read_text())["retrievals"]
    sections = {question["section"] for question in asked}
    assert "After forgetting" in sections
    assert len(sections) == (5 if shutil.which("espeak-ng") else 4)


def test_an_empty_folder_fails_loudly(tmp_path: Path) -> None:
    result = demo(tmp_path, tmp_path / "out")
    assert result.exit_code == 1
    assert "the demo failed" in result.stderr


def test_a_rejected_file_fails_loudly(samples: Path, tmp_path: Path) -> None:
    (samples / "red.png").write_bytes(b"no picture")
    result = demo(samples, tmp_path / "out")
    assert result.exit_code == 1
    assert "red was rejected" in result.stderr


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(DemoError, match="nonsense"),
        running_service(tmp_path / "data", tmp_path / "log", profile="nonsense"),
    ):
        pass


def test_the_plan_takes_what_there_is(samples: Path) -> None:
    chosen = plan(scan(samples).bundles)
    assert chosen.pictures
    assert all(bundle.audio for bundle in (*chosen.sounds, *chosen.forget))
    for path in samples.glob("*.wav"):
        path.unlink()
    with pytest.raises(ValueError, match="no audio"):
        plan(scan(samples).bundles)
