"""Recommendation from a person's own pictures, notes and recordings, asked together.

    python examples/recommend.py samples/tuxpaint-stamps

Imports the folder into a namespace of its own, then asks with a picture and a wish: the weights
say how much each of them counts. Needs a running service: memory-service serve
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from memory_service.client import DEFAULT_URL, Client
from memory_service.client.scripts import plain_errors
from memory_service.importer import Tally, scan, store_bundles


def main(folder: Path) -> None:
    with Client(os.environ.get("MEMORY_SERVICE_URL", DEFAULT_URL)) as memory:
        tally = Tally()
        bundles = scan(folder).bundles
        pictured = [bundle for bundle in bundles if bundle.image]
        if not pictured:
            raise ValueError(f"{folder} has no picture")
        store_bundles(memory, bundles, namespace="recommend", on_outcome=tally.add)
        print(f"{tally.counts['stored']} stored, {tally.counts['duplicate']} there already")

        liked = pictured[0]
        print(f"you liked {liked.path}; and you would like something for a farm:")
        for weight in (0.0, 0.5, 1.0):
            shares = {"image": 1 - weight, "text": weight}
            found = memory.retrieve(
                image=liked.image[0] if weight < 1 else None,
                text="something for a farm" if weight > 0 else None,
                weights={name: share for name, share in shares.items() if share},
                modalities=["text", "image"],
                namespace="recommend",
                k=4,
            )
            names = [hit.memory.text or "" for hit in found.hits["text"]]
            print(f"  {weight:.0%} the wish: {', '.join(name.strip() for name in names)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default="samples/tuxpaint-stamps")
    with plain_errors():
        main(parser.parse_args().folder)
