"""The demonstration as people run it: the bundled models, the whole sample, a server process."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_demo_writes_what_it_promises(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "memory_service.cli", "demo", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("contact-sheet.png", "report.html", "retrieval.json", "generation.json"):
        assert (tmp_path / name).stat().st_size > 1000
    page = (tmp_path / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "data:audio/" in page
    assert 'src="http' not in page
    retrievals = json.loads((tmp_path / "retrieval.json").read_text())["retrievals"]
    spoken = [each for each in retrievals if each["section"].startswith("Spoken")]
    if shutil.which("espeak-ng"):
        understood = sum(
            each["query"]["caption"].split("”")[0].strip("“")
            in each["answer"]["results"]["image"][0]["memory"]["metadata"]["path"]
            for each in spoken
        )
        assert understood >= 4  # of five, in a voice that was never trained on
    assert list(tmp_path.glob("generated-*.png"))
    assert list(tmp_path.glob("generated-*.wav"))
    assert list(tmp_path.glob("generated-*.txt"))
