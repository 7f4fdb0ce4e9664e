"""The network that judges pictures, and what it is that it sees."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from encoders.picture import on_white

SAMPLES = Path(__file__).parents[2] / "samples/tuxpaint-stamps"
STAMPS = sorted(SAMPLES.glob("**/*.png"))[::28][:8]


def test_it_finds_a_damaged_picture_again() -> None:
    judge = pytest.importorskip("encoders.judge")
    pytest.importorskip(judge.MODULE)
    pictures = [ImageOps.pad(on_white(Image.open(path)), (64, 64)) for path in STAMPS]
    vectors, classes = judge.looked_at([np.asarray(each) for each in pictures])
    assert vectors.shape == (8, 1280)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert len(set(classes.tolist())) > 3
    blurred = [np.asarray(each.filter(ImageFilter.GaussianBlur(1))) for each in pictures]
    again, _ = judge.looked_at(blurred)
    assert (again @ vectors.T).argmax(axis=1).tolist() == list(range(8))


def test_no_loss_and_no_tower_knows_it() -> None:
    """Nothing that trains or chooses may look through what it judges by."""
    root = Path(__file__).parents[2]
    looking = {
        str(path.relative_to(root))
        for folder in ("encoders", "generator", "memory_service")
        for path in (root / folder).rglob("*.py")
        if "encoders.judge" in path.read_text() or "tf_efficientnet_lite2" in path.read_text()
    }
    assert looking == {
        "encoders/judge.py",
        "generator/training/image_figures.py",
        "memory_service/services/evaluation/judges.py",
    }
