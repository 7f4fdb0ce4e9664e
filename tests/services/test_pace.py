"""The time that a re-embedding still takes, told while memories of unlike sizes are embedded."""

import numpy as np
import pytest

from memory_service.services.pace import Pace
from memory_service.services.workload import Sizes
from memory_service.storage.standby import Coverage

MEMORY_S, SECOND_S = 0.01, 0.02  # what a memory takes, and what each second of sound does


def told(lengths: list[float]) -> list[tuple[float, float]]:
    """(eta_s, seconds that it really takes from then on) after each batch of four."""
    numbers = np.arange(1, len(lengths) + 1)
    order = np.argsort(lengths)
    sizes = Sizes(numbers[order], np.array(lengths, np.float64)[order])
    pace = Pace({"audio": Coverage(len(lengths), 0, 0)}, {"audio": sizes})
    seconds = [MEMORY_S + SECOND_S * length for length in lengths]
    found = []
    for at in range(0, len(lengths), 4):
        batch = numbers[at : at + 4].tolist()
        progress = pace.add("audio", batch, len(batch), 0, sum(seconds[at : at + 4]))
        found.append((progress["eta_s"], sum(seconds[at + 4 :])))
    return found


@pytest.mark.parametrize("long_first", [True, False])
def test_it_goes_by_the_sizes_of_what_is_left(long_first: bool) -> None:
    random = np.random.default_rng(0)
    lengths = [*random.uniform(40, 80, 16), *random.uniform(1, 4, 64)]
    for eta_s, rest_s in told(lengths if long_first else lengths[::-1])[1:]:
        assert eta_s == pytest.approx(rest_s, rel=0.02, abs=0.1)


def test_a_modality_that_has_not_begun_goes_by_the_mean_and_one_without_encoder_by_nothing() -> (
    None
):
    coverage = {"text": Coverage(4, 0, 0), "image": Coverage(10, 0, 0), "smell": Coverage(9, 0, 0)}
    sizes = {
        "text": Sizes(np.arange(4), np.ones(4)),
        "image": Sizes(np.arange(4, 14), np.full(10, 1e6)),
    }
    progress = Pace(coverage, sizes).add("text", [0, 1], 1, 1, 2.0)
    assert progress["eta_s"] == 2 * 1.0 + 10 * 1.0
    assert progress["modalities"]["text"] == {"memories": 4, "embedded": 1, "failed": 1}


def test_what_came_meanwhile_has_no_size() -> None:
    pace = Pace({"text": Coverage(1, 0, 0)}, {"text": Sizes(np.array([5]), np.array([3.0]))})
    assert pace.add("text", [5, 9], 2, 0, 1.0)["eta_s"] == 0.0
