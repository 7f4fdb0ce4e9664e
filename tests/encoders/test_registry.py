"""Profiles by name, and how cosines become scores."""

from pathlib import Path

import numpy as np
import pytest

from encoders.calibration import Calibration, Logistic
from encoders.registry import UnknownName, load_profile, profile_names


def test_an_unknown_profile_names_the_valid_ones() -> None:
    with pytest.raises(UnknownName, match="bundled, fake, openclip"):
        load_profile("clip")
    assert profile_names() == ("bundled", "fake", "openclip")


def test_an_option_that_a_profile_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="takes no model"):
        load_profile("fake", model="ViT-B-32")


def test_without_a_map_the_score_is_linear() -> None:
    calibration = Calibration()
    assert calibration.score(-1.0, "text", "image") == 0.0
    assert calibration.score(0.5, None, "image") == 0.75
    np.testing.assert_allclose(
        calibration.score(np.array([0.0, 1.0]), "audio", "audio"), [0.5, 1.0]
    )


def test_a_map_serves_its_pair_and_bare_vectors_of_its_modality() -> None:
    calibration = Calibration({("image", "image"): Logistic(10.0, -5.0)})
    assert calibration.score(0.5, "image", "image") == pytest.approx(0.5)
    assert calibration.score(0.5, None, "image") == pytest.approx(0.5)
    scores = calibration.score(np.linspace(-1, 1, 50), "image", "image")
    assert (np.diff(scores) > 0).all()
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_a_pair_that_nobody_fitted_is_scored_by_the_most_careful_of_its_neighbours() -> None:
    text, image, sound = Logistic(10.0, -5.0), Logistic(10.0, 0.0), Logistic(10.0, -8.0)
    calibration = Calibration(
        {("text", "text"): text, ("text", "image"): image, ("audio", "audio"): sound}
    )
    assert calibration.score(0.5, "text", "sensor") == calibration.score(0.5, "text", "text")
    assert calibration.score(0.5, "sensor", "image") == calibration.score(0.5, "text", "image")
    assert calibration.score(0.5, "sensor", "sensor") == calibration.score(0.5, "audio", "audio")
    scores = calibration.score(np.linspace(-1, 1, 50), "sensor", "text")
    assert (np.diff(scores) > 0).all()


def test_calibration_survives_a_round_trip(tmp_path: Path) -> None:
    calibration = Calibration({("text", "audio"): Logistic(8.5, -2.25)})
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration


def test_a_map_that_would_turn_the_order_is_refused() -> None:
    with pytest.raises(ValueError, match="slope"):
        Logistic(-1.0, 0.0)
