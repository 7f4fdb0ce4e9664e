"""A greenhouse's sensor log: which days were like this one, and what was written down then?

    python examples/greenhouse.py

Makes a week of temperature, humidity and light (with a fixed seed), stores each day as one episode
with the gardener's note, and asks by words, by another day's log, and by both. Needs a running
service: memory-service serve
"""

from __future__ import annotations

import argparse
import os

import numpy as np

from memory_service.client import DEFAULT_URL, Client
from memory_service.client.scripts import plain_errors

MINUTES = np.arange(0, 24 * 60, 10)
SUN = np.clip(np.sin((MINUTES / 60 - 6) / 12 * np.pi), 0, None)  # from 6 to 18 h
AFTERNOON = (MINUTES >= 14 * 60) & (MINUTES < 17 * 60)
NAMESPACE = "greenhouse"

# (note, degrees that the sun adds, humidity at night, brightest light, what happened)
DAYS = (
    ("A bright day, vents opened on their own.", 14.0, 75.0, 60_000, ""),
    ("Overcast, nothing to do.", 4.0, 80.0, 9_000, ""),
    ("The heating failed in the afternoon, lettuce at risk!", 6.0, 75.0, 15_000, "cold"),
    ("Another bright day.", 15.0, 72.0, 65_000, ""),
    ("Watered far too much, everything drips.", 5.0, 92.0, 12_000, ""),
    ("Lamps tested in the evening.", 6.0, 78.0, 14_000, "lamps"),
    ("Dull and cool.", 3.0, 82.0, 7_000, ""),
)


def log_of(degrees: float, damp: float, brightest: float, event: str, seed: int) -> bytes:
    """One day as CSV: a row every ten minutes."""
    noise = np.random.default_rng(seed).normal(size=(3, len(MINUTES)))
    warm = 16 + degrees * SUN + 0.2 * noise[0] - (14.0 * AFTERNOON if event == "cold" else 0.0)
    humid = np.clip(damp - 1.5 * degrees * SUN + noise[1], 5, 99)
    light = brightest * SUN * (1 + 0.1 * noise[2])
    if event == "lamps":
        light = light + 20_000 * ((MINUTES >= 20 * 60) & (MINUTES < 22 * 60))
    rows = ["time,temperature [°C],humidity [%],light [lux]"]
    for minute, *values in zip(MINUTES, warm, humid, light, strict=True):
        clock = f"2026-05-01T{minute // 60:02d}:{minute % 60:02d}:00Z"
        rows.append(",".join([clock, *(f"{value:.1f}" for value in values)]))
    return "\n".join(rows).encode()


def main() -> None:
    with Client(os.environ.get("MEMORY_SERVICE_URL", DEFAULT_URL)) as memory:
        for number, (note, *day) in enumerate(DAYS):
            log = log_of(*day, seed=number)
            memory.store(text=note, sensor=log, namespace=NAMESPACE, if_duplicate="skip")
        today = log_of(14.5, 74.0, 62_000, "", seed=99)
        flickering = "light fluctuating irregularly"
        questions = {
            "hot": {"text": "a hot and sunny day"},
            "flickering": {"text": flickering},
            "like today": {"sensor": today},
            "like today, but flickering": {"sensor": today, "text": flickering},
        }
        for question, query in questions.items():
            found = memory.retrieve(
                **query,  # type: ignore[arg-type]
                modalities=["sensor"],
                mode="direct",  # by likeness alone, not by what the notes say
                namespace=NAMESPACE,
                k=2,
            )
            for hit in found.hits["sensor"]:
                episode = memory.episode(hit.memory.episode_id)
                note = next(each.text for each in episode.memories if each.modality == "text")
                print(f"{question}: {hit.score:.2f} {note}")


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with plain_errors():
        main()
