"""What training hears when two sounds are remembered."""

import numpy as np

from encoders.log_mel import SAMPLE_RATE, log_mel
from generator.training.mixing import heard_weights, mix

SECONDS = np.arange(SAMPLE_RATE) / SAMPLE_RATE
LOW = (0.5 * np.sin(2 * np.pi * 200 * SECONDS)).astype(np.float32)
HIGH = (0.5 * np.sin(2 * np.pi * 2000 * SECONDS)).astype(np.float32)


def test_sounds_that_match_alike_are_heard_together() -> None:
    assert heard_weights([0.5, 0.4, 0.1]) == [0.5, 0.4, 0.0]
    assert heard_weights([0.3, 0.7]) == [0.0, 0.7]
    assert heard_weights([0.0, 0.0]) == [1.0, 1.0]


def test_a_mixture_holds_both_sounds() -> None:
    low, high = log_mel(LOW), log_mel(HIGH)
    both = mix([low, high], [0.5, 0.5])
    assert np.allclose(both.max(1).max(), max(low.max(), high.max()), atol=0.1)
    assert (both >= np.maximum(low, high) - 1e-3).all()
