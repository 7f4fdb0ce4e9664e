"""`python -m benchmarks.peers.wide ...`: the command line with encoders of 512 dimensions.

None of ours has so many; those of profile `fake` are said to, and encode nothing here: what is
stored and asked for are vectors.
"""

from __future__ import annotations

from encoders import fake
from encoders.base import Space

SPACE = Space(id="wide", dimension=512, fingerprint="wide-1")


def widen() -> None:
    for encoder in (fake.FakeTextEncoder, fake.FakeImageEncoder, fake.FakeAudioEncoder):
        encoder.space = SPACE


if __name__ == "__main__":
    widen()
    from memory_service.cli import app

    app(prog_name="memory-service")
