"""Picture to descriptive text: tags and a caption, from what is remembered of similar pictures.

    python examples/describe.py scan.png --namespace archive

THIS IS NO MEDICAL DEVICE. What it writes is put together from texts that somebody stored beside
similar pictures, by small models that were never tested on medical images. It may be wrong in any
way, and must not be used to diagnose, or to decide about treatment. Every line names the memories
that it comes from, for a person who can judge them. Needs a running service: memory-service serve
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from memory_service.client import DEFAULT_URL, Client, Generation

NOTICE = (
    "No medical device: made from texts stored beside similar pictures, untested, possibly wrong."
)


def sources(memory: Client, made: Generation) -> None:
    for share in sorted(made.memories, key=lambda share: -share.weight)[:4]:
        stored = memory.memory(share.memory_id)
        name = (stored.text or str(stored.metadata.get("path", stored.id))).strip()
        effect = share.effects.get("text")
        told = "" if effect is None else f", effect {effect:.2f}"
        print(f"    weight {share.weight:.2f}{told}: {share.modality} {name!r}")


def main(picture: Path, namespace: str) -> None:
    print(NOTICE)
    with Client(os.environ.get("MEMORY_SERVICE_URL", DEFAULT_URL)) as memory:
        for mode in ("tags", "caption"):
            made = memory.generate(
                image=picture,
                output="text",
                text_mode=mode,
                creativity=0.0,
                explain=True,
                namespace=namespace,
            )
            print(f"{mode}: {made.outputs[0].text}")
            sources(memory, made)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--namespace", default="default")
    arguments = parser.parse_args()
    main(arguments.picture, arguments.namespace)
