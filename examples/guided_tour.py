"""A scene, its sound and a line of guide text, made from memory for each stop of a tour.

    python examples/guided_tour.py "a farm with a cow" "birds in a tree" --out tour

Every stop is one generation with three outputs. What it was made from is printed, and it is made
again from its record to show that it comes out the same. Needs a running service with memories:
memory-service serve; memory-service import samples/tuxpaint-stamps
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from memory_service.client import DEFAULT_URL, AsyncClient, Generation

SUFFIX = {"image": ".png", "text": ".txt", "audio": ".wav"}


async def make_stop(memory: AsyncClient, number: int, scene: str, out: Path) -> Generation:
    made = await memory.generate(text=scene, output=list(SUFFIX), creativity=0.4, seed=number)
    for part in made.outputs:
        (out / f"{number}{SUFFIX[part.modality]}").write_bytes(part.content or b"")
    return made


async def tour(scenes: list[str], out: Path) -> None:
    async with AsyncClient(os.environ.get("MEMORY_SERVICE_URL", DEFAULT_URL)) as memory:
        stops = await asyncio.gather(
            *(make_stop(memory, number, scene, out) for number, scene in enumerate(scenes, 1))
        )
        for scene, made in zip(scenes, stops, strict=True):
            text = next(part.text for part in made.outputs if part.modality == "text")
            same = all((await memory.replay(made.id)).values())
            print(f"{scene}: {text!r}; made again: {'the same' if same else 'not the same'}")
            for share in made.memories:
                source = await memory.memory(share.memory_id)
                name = source.metadata.get("path") or (source.text or source.id).strip()
                print(f"    {share.weight:.2f} {share.modality} of {name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("scenes", nargs="*", default=["a farm with a cow", "birds in a tree"])
    parser.add_argument("--out", type=Path, default=Path("tour"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    asyncio.run(tour(arguments.scenes, arguments.out))
