"""How long a generation takes, warm and in process: `python -m benchmarks.generation`.

The sample is stored with profile bundled, then asked by text; medians over different seeds. The
limit beside them is the picture autoencoder alone, once there and back: what cannot be saved.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.run import median_ms
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


def autoencoder_ms(application: Application, repeats: int) -> float:
    generator: Any = application.active.models.generator("image")
    picture = Image.open(SAMPLES / "animals/mammals/cats/tiger.png").convert("RGB")
    return median_ms(lambda: generator.decode(generator.encode(picture)), repeats)


def measure(
    application: Application, outputs: tuple[str, ...], repeats: int, options: dict[str, Any]
) -> float:
    seeds = itertools.count()
    return median_ms(
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
    figures: dict[str, float] = {}
    table = Table("what", "creativity", "ms", "should be", "times the autoencoder")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder) / "data", profile="bundled")
        with build(settings) as application:
            fill(application, arguments.episodes)
            limit = autoencoder_ms(application, arguments.repeats)
            for name, outputs, more, wanted in CASES:
                for creativity in (0.0, 0.3, 1.0):
                    options = {**more, "creativity": creativity}
                    ms = measure(application, outputs, arguments.repeats, options)
                    figures[f"{name} {creativity:g}"] = ms
                    ratio = f"{ms / limit:.1f}"
                    table.add_row(name, f"{creativity:g}", f"{ms:.0f}", f"{wanted:g}", ratio)
            options = {"creativity": 0.3, "explain": True}
            ms = measure(application, ALL, max(arguments.repeats // 5, 1), options)
            table.add_row("all three, explained", "0.3", f"{ms:.0f}", "", f"{ms / limit:.1f}")
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    Console().print(table)
    Console().print(f"autoencoder there and back {limit:.1f} ms; load of the machine {load}")
    if arguments.json:
        arguments.json.write_text(json.dumps({**figures, "autoencoder": limit}, indent=2))


if __name__ == "__main__":
    main()
