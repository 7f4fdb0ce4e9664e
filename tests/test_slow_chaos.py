"""The service is killed and started again, ten times (`make chaos` does it two hundred times)."""

import io
import random
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.chaos.run import run


@pytest.mark.slow
def test_ten_kills_lose_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    found = run(10, seed, tmp_path, Console(file=io.StringIO()))
    assert not found.wrong, f"python -m benchmarks.chaos.run --kills 10 --seed {seed}"
    assert sum(found.kills.values()) >= 10
    assert found.done["store"] > 10
