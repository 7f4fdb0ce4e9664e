"""python -m generator.training.train {image,text,audio,fusion}: train what generates."""

from __future__ import annotations

import sys
from importlib import import_module

WHAT = ("image", "text", "audio", "fusion")


def main(argv: list[str]) -> None:
    if not argv or argv[0] not in WHAT:
        sys.exit(f"usage: python -m generator.training.train {{{','.join(WHAT)}}} [options]")
    import_module(f"generator.training.{argv[0]}").main(argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
