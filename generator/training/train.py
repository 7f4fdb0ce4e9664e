"""Train what generates: pictures, texts, sounds, or the fusion of query and memories.

Each part by its defaults is the recipe of weights of the shipped shape, from nothing but the
collection (python -m encoders.training.data builds it).
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from generator.training.errors import Refused

WHAT = ("image", "text", "audio", "fusion")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m generator.training.train",
        description=__doc__,
        epilog="Options of a part, with their defaults: python -m generator.training.train PART "
        "--help. Weights are written among the runs; python -m generator.training.install FOLDER "
        "puts them into the package.",
    )
    parser.add_argument("part", choices=WHAT, help="what is to be trained")
    parser.add_argument("options", nargs="*", help="of that part")
    part = parser.parse_args(argv[:1]).part
    try:
        import_module(f"generator.training.{part}").main(argv[1:])
    except Refused as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
