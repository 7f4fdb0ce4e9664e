"""The package evaluated as people do it: the bundled models, real stamps, one command."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("evaluation")
    command = [sys.executable, "-m", "memory_service.cli", "evaluate", "--suite", "quick"]
    done = subprocess.run(
        [*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (out / "report.html").read_text()
    assert page.count("data:audio/wav;base64,") >= 12
    assert 'src="http' not in page
    found: dict[str, Any] = json.loads((out / "report.json").read_text())
    return found


def ladder(figures: dict[str, Any], task: str) -> dict[str, dict[str, Any]]:
    (table,) = (each for each in figures["ladders"] if each["task"] == task)
    return {row["what"]: row for row in table["rows"]}


@pytest.mark.slow
def test_what_is_stored_comes_back(figures: dict[str, Any]) -> None:
    pictures = ladder(figures, "text -> image")
    assert pictures["real"]["ssim"]["mean"] == pytest.approx(1)
    own, recoded = pictures["own memory, creativity 0"], pictures["autoencoder"]
    assert own["ssim"]["mean"] == pytest.approx(recoded["ssim"]["mean"], abs=0.02)
    assert own["judge_recall_at_10"]["mean"] == 1
    assert ladder(figures, "text -> text")["own memory, creativity 0"]["cosine"]["mean"] > 0.8
    assert ladder(figures, "image -> text")["own memory, creativity 0"]["cosine"]["mean"] > 0.6


@pytest.mark.slow
def test_times_and_an_epoch_are_measured(figures: dict[str, Any]) -> None:
    found = figures["efficiency"]
    assert {(row["modality"], row["network"]) for row in found["training"]} >= {
        ("image", "autoencoder"),
        ("image", "flow"),
        ("audio", "autoencoder"),
        ("audio", "flow"),
    }
    for row in found["latency"]:
        assert row["stages"]["generate"]["median_ms"] > 0
