"""A virtual tour: for each stop a scene, its sound, a guide's line, and the line said aloud.

    python examples/guided_tour.py "a farm with a cow" "birds in a tree" --out tour

Every stop is one generation with three outputs: one condition and one seed, so that they belong
together. The guide's line is spoken by espeak-ng where that is installed. Writes the files, and
`tour/index.html`, which shows and plays them. What each stop was made from is printed, and it is
made again from its record to show that it comes out the same. Needs a running service with
memories: memory-service serve; memory-service import samples/tuxpaint-stamps
"""

from __future__ import annotations

import argparse
import asyncio
import html
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from memory_service.client import DEFAULT_URL, AsyncClient, Generation

NAMED = 0.01  # weight from which a memory is named among the sources
SUFFIX = {"image": ".png", "text": ".txt", "audio": ".wav"}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Tour</title><style>body {{ font: 1.1rem/1.5 sans-serif; max-width: 40rem; margin: 2rem auto;
padding: 0 1rem }} img {{ width: 16rem; image-rendering: auto; border-radius: .5rem }}
audio {{ display: block; margin: .5rem 0 }}</style>{stops}</html>
"""


@dataclass(frozen=True)
class Stop:
    number: int
    scene: str
    made: Generation
    line: str
    sources: tuple[str, ...]
    same: bool  # when made again
    spoken: bool

    def as_html(self) -> str:
        scene, line = html.escape(self.scene), html.escape(self.line)
        narration = f'<audio controls src="{self.number}-guide.wav"></audio>' if self.spoken else ""
        return (
            f"<h2>{self.number}. {scene}</h2><img src='{self.number}.png' alt='{scene}'>"
            f"<audio controls src='{self.number}.wav'></audio><p>{line}</p>{narration}"
        )


def say(line: str, target: Path) -> bool:
    """Write the line as speech; False without espeak-ng."""
    program = shutil.which("espeak-ng")
    if program is None:
        return False
    command = [program, "-w", str(target), "--", line]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


async def make_stop(memory: AsyncClient, number: int, scene: str, out: Path) -> Stop:
    made = await memory.generate(text=scene, output=list(SUFFIX), creativity=0.4, seed=number)
    for part in made.outputs:
        (out / f"{number}{SUFFIX[part.modality]}").write_bytes(part.content or b"")
    sources = []
    for share in made.memories:
        if share.weight >= NAMED:
            source = await memory.memory(share.memory_id)
            name = source.metadata.get("path") or (source.text or source.id).strip()
            sources.append(f"{share.weight:.2f} {share.modality} of {name}")
    text = next(part.text or "" for part in made.outputs if part.modality == "text")
    line = f"Stop {number}: {scene}. {text}"
    spoken = say(line, out / f"{number}-guide.wav")
    same = all((await memory.replay(made.id)).values())
    return Stop(number, scene, made, line, tuple(sources), same, spoken)


async def tour(scenes: list[str], out: Path) -> list[Stop]:
    async with AsyncClient(os.environ.get("MEMORY_SERVICE_URL", DEFAULT_URL)) as memory:
        stops = await asyncio.gather(
            *(make_stop(memory, number, scene, out) for number, scene in enumerate(scenes, 1))
        )
    page = PAGE.format(stops="".join(stop.as_html() for stop in stops))
    (out / "index.html").write_text(page, encoding="utf-8")
    return list(stops)


def main(scenes: list[str], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for stop in asyncio.run(tour(scenes, out)):
        again = "the same" if stop.same else "not the same"
        print(f"{stop.line} (made again: {again})")
        for source in stop.sources:
            print(f"    {source}")
    print(out / "index.html")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("scenes", nargs="*", default=["a farm with a cow", "birds in a tree"])
    parser.add_argument("--out", type=Path, default=Path("tour"))
    arguments = parser.parse_args()
    main(arguments.scenes, arguments.out)
