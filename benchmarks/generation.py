"""How long a generation takes, warm and in process: `python -m benchmarks.generation`.

The sample is stored with profile bundled, then asked by text; medians over different seeds, of the
wall's time and of the processor's. Where other work keeps the machine busy, only the latter tells
something: with one numeric thread it is what an idle machine would take. The limit beside them is
the picture autoencoder alone, once there and back: what cannot be saved.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.importer import scan
from memory_service.records import QueryPart, Upload
from memory_service.settings import Settings

SAMPLES = Path(__file__).parents[1] / "samples/tuxpaint-stamps"
QUERY = QueryPart("text", b"a cat on a farm")
ALL = ("image", "text", "audio")
# (what, outputs, further options, milliseconds it should take on two cores)
CASES: tuple[tuple[str, tuple[str, ...], dict[str, Any], float], ...] = (
    ("picture", ("image",), {}, 300),
    ("text", ("text",), {}, 150),
    ("tags", ("text",), {"modes": {"text": "tags"}}, 150),
    ("answer", ("text",), {"modes": {"text": "answer"}}, 150),
    ("sound", ("audio",), {}, 300),
    ("all three", ALL, {}, 700),
)


def fill(application: Application, episodes: int) -> None:
    for bundle in scan(SAMPLES).bundles[:episodes]:
        files = {"image": bundle.image, "text": bundle.text, "audio": bundle.audio}
        uploads = [
            Upload(modality, path.read_bytes())
            for modality, found in files.items()
            for path in found
        ]
        if uploads:
            application.memory.store(uploads)


@dataclass(frozen=True)
class Took:
    """Medians in milliseconds."""

    wall: float
    processor: float  # of all threads of this process


def took(call: Callable[[], object], repeats: int) -> Took:
    call()
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        call()
        processors.append(time.process_time() - processor)
        walls.append(time.perf_counter() - wall)
    return Took(statistics.median(walls) * 1e3, statistics.median(processors) * 1e3)


def autoencoder(application: Application, repeats: int) -> Took:
    generator: Any = application.active.models.generator("image")
    picture = Image.open(SAMPLES / "animals/mammals/cats/tiger.png").convert("RGB")
    return took(lambda: generator.decode(generator.encode(picture)), repeats)


def measure(
    application: Application, outputs: tuple[str, ...], repeats: int, options: dict[str, Any]
) -> Took:
    seeds = itertools.count()
    return took(
        lambda: application.generation.generate(
            [QUERY], outputs=outputs, seed=next(seeds), reinforce=False, **options
        ),
        repeats,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=222)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    figures: dict[str, Took] = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder) / "data", profile="bundled")
        with build(settings) as application:
            fill(application, arguments.episodes)
            figures["autoencoder"] = autoencoder(application, arguments.repeats)
            for name, outputs, more, _ in CASES:
                for creativity in (0.0, 0.3, 1.0):
                    figures[f"{name}, creativity {creativity:g}"] = measure(
                        application, outputs, arguments.repeats, {**more, "creativity": creativity}
                    )
            figures["all three, explained"] = measure(
                application, ALL, max(arguments.repeats // 5, 1), {"explain": True}
            )
    show(figures)
    if arguments.json:
        told = {name: asdict(each) for name, each in figures.items()}
        arguments.json.write_text(json.dumps(told, indent=2))


def show(figures: Mapping[str, Took]) -> None:
    wanted = {name: ms for name, _, _, ms in CASES}
    limit = figures["autoencoder"]
    table = Table("what", "ms", "processor ms", "should be", "times the autoencoder")
    for name, each in figures.items():
        goal = wanted.get(name.partition(", creativity")[0])
        ratio = f"{each.processor / limit.processor:.1f}"
        row = (f"{each.wall:.0f}", f"{each.processor:.0f}", f"{goal:g}" if goal else "", ratio)
        table.add_row(name, *row)
    Console().print(table)
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    Console().print(f"load of the machine in the last 1, 5 and 15 minutes: {load}")


if __name__ == "__main__":
    main()
