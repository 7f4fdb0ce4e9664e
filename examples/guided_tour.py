"""A virtual tour: for each stop a scene, its sound, a guide's line, and the line said aloud.

    python examples/guided_tour.py "a farm with a cow" "birds in a tree" --out tour

Every stop is a picture and a sound of one generation, so that they belong together, and a text of
another from the same query and seed, which is read aloud where the service has espeak-ng. Writes
the files, and `tour/index.html`, which shows and plays them. What each stop was made from is
printed, and it is made again from its record to show that it comes out the same. Needs a running
service with memories: memory-service serve; memory-service import samples/tuxpaint-stamps
"""

from __future__ import annotations

import argparse
import asyncio
import html
import os
from dataclasses import dataclass
from pathlib import Path

from memory_service.client import DEFAULT_URL, AsyncClient, Generation, ServiceError
from memory_service.client.scripts import plain_errors

NAMED = 0.01  # weight from which a memory is named among the sources
SUFFIX = {"image": ".png", "audio": ".wav"}
CREATIVITY = 0.4
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


async def guide(memory: AsyncClient, number: int, scene: str) -> Generation:
    """The guide's text, and that read aloud where the service can."""
    try:
        return await memory.generate(
            text=scene,
            output=["text", "audio"],
            audio_mode="speech",
            creativity=CREATIVITY,
            seed=number,
        )
    except ServiceError as error:
        if error.code != "modality_unavailable":
            raise
        return await memory.generate(text=scene, output="text", creativity=CREATIVITY, seed=number)


async def make_stop(memory: AsyncClient, number: int, scene: str, out: Path) -> Stop:
    made = await memory.generate(
        text=scene, output=list(SUFFIX), creativity=CREATIVITY, seed=number
    )
    for part in made.outputs:
        (out / f"{number}{SUFFIX[part.modality]}").write_bytes(part.content or b"")
    told = await guide(memory, number, scene)
    sources = []
    for share in {share.memory_id: share for share in (*made.memories, *told.memories)}.values():
        if share.weight >= NAMED:
            source = await memory.memory(share.memory_id)
            name = source.metadata.get("path") or (source.text or source.id).strip()
            sources.append(f"{share.weight:.2f} {share.modality} of {name}")
    text, *speech = told.outputs
    (out / f"{number}.txt").write_text(text.text or "", encoding="utf-8")
    for part in speech:
        (out / f"{number}-guide.wav").write_bytes(part.content or b"")
    line = f"Stop {number}: {scene}. {text.text}"
    same = all([*(await memory.replay(made.id)).values(), *(await memory.replay(told.id)).values()])
    return Stop(number, scene, line, tuple(sources), same, bool(speech))


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", nargs="*", default=["a farm with a cow", "birds in a tree"])
    parser.add_argument("--out", type=Path, default=Path("tour"))
    arguments = parser.parse_args()
    with plain_errors():
        main(arguments.scenes, arguments.out)
