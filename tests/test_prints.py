"""Prints, and the share of a difference in colour that is taken."""

import numpy as np
import pytest
from PIL import Image

from memory_service.prints import PRINTS, printed, share_taken, tint


def test_prints_of_one_picture_differ_in_tint_and_hardly_otherwise() -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    blue, brown = (tint(printed(picture, *colours)) for colours in PRINTS.values())
    assert blue[2] > 0 > brown[2]
    assert abs(blue.sum()) < 1e-6  # without the grey in it


def test_the_share() -> None:
    one, other = np.array([10.0, 0, -10]), np.array([-10.0, 0, 10])
    middle = np.zeros(3)
    assert share_taken((one, other), (one, other)) == pytest.approx(1)
    assert share_taken((one, middle), (one, other)) == pytest.approx(0.5)
    assert share_taken((other, one), (one, other)) == pytest.approx(-1)
    assert share_taken((one, one), (one, other)) == 0
    assert share_taken((one, other), (one, one)) == 0
