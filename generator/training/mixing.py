"""Two sounds as one: to train with, and what is remembered as the shipped flow was trained with it.

What is served starts from one sound alone (docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from encoders.log_mel import FLOOR
from generator.audio import Floats

TOGETHER = 0.7  # of the best match: from here on another is heard with it


def mix(mels: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """One log-mel of the two heaviest played together: power adds, by weight to the fourth.

    Sharpened so that what is hardly remembered does not fill the pauses of what is: a tenth of
    the weight sounds 40 dB below. More than two at once are heard as noise.
    """
    shares = (np.asarray(weights, np.float64) / max(weights)) ** 4
    power = sum(shares[i] * np.exp(2.0 * mels[i].astype(np.float64)) for i in mixed(weights))
    return np.asarray(0.5 * np.log(np.maximum(power, FLOOR**2)), np.float32)


def mixed(weights: Sequence[float]) -> list[int]:
    """Places of the two heaviest, of one alone where no other is heard beside it."""
    shares = (np.asarray(weights, np.float64) / max(weights)) ** 4
    return [int(i) for i in np.argsort(-shares, kind="stable")[:2] if shares[i] > 1e-5]


def heard_weights(weights: Sequence[float]) -> list[float]:
    """The weights of those that match nearly as well as the best, and 0 of the others.

    A worse match fills the pauses of the better one. Weights that are all 0 count alike.
    """
    best = max(weights)
    if best <= 0:
        return [1.0] * len(weights)
    return [weight if weight >= TOGETHER * best else 0.0 for weight in weights]
