"""A picture to descriptive text: a caption from what is remembered, and what that rests on.

    python examples/describe_picture.py samples/tuxpaint-stamps/animals/mammals/dogs/fox.png

The memory is what you stored: with a ward's own scans and reports in it, the caption is put
together from those. It says what resembles the picture, and nothing else.

THIS IS NO MEDICAL DEVICE. Nothing here was trained on, tested on or approved for medical pictures;
a caption may be wrong in ways that read well. It must not be used to diagnose, or to decide about
anyone's treatment. Whoever describes scans with it needs a person who can read them.

Needs a running service with memories: memory-service serve; memory-service import FOLDER
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from memory_service.client import DEFAULT_URL, Client
from memory_service.client.scripts import plain_errors

NOTICE = "No medical device: a likeness to stored texts, not a finding. Do not diagnose with it."
FAINT = 0.35  # cosine below which nothing stored resembles the picture much


def main(picture: Path) -> None:
    with Client(os.environ.get("MEMORY_SERVICE_URL", DEFAULT_URL)) as memory:
        made = memory.generate(image=picture, output="text", creativity=0.0, seed=0, k=4)
        near = memory.retrieve(image=picture, modalities=["text"], k=4, reinforce=False)
        print(NOTICE)
        print(f"caption: {made.outputs[0].text}")
        print("it rests on:")
        for hit in near.hits["text"]:
            cosine = "by its episode" if hit.cosine is None else f"cosine {hit.cosine:.2f}"
            print(f"  {hit.score:.2f} ({cosine}) {(hit.memory.text or '').strip()}")
        named = memory.retrieve(
            text=made.outputs[0].text, modalities=["text"], k=1, mode="direct", reinforce=False
        )
        said = [(hit.memory.text or "").strip() for hit in named.hits["text"]]
        alike = [(hit.memory.text or "").strip() for hit in near.hits["text"][:1]]
        if said != alike:
            print(f"the caption says {said} rather than what is most alike, {alike}")
        best = max((hit.cosine or 0.0 for hit in near.hits["text"]), default=0.0)
        if best < FAINT and not any(way.via for hit in near.hits["text"] for way in hit.reached_by):
            print("nothing stored resembles it much: the caption is a guess")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = "samples/tuxpaint-stamps/animals/mammals/dogs/fox.png"
    parser.add_argument("picture", type=Path, nargs="?", default=default)
    with plain_errors():
        main(parser.parse_args().picture)
