"""python -m encoders.training.data: build the collection, or the committed sample."""

from __future__ import annotations

import argparse
from pathlib import Path

from encoders.training.data.build import SOURCES, build
from encoders.training.data.programs import ProgramsMissing, check
from encoders.training.data.sample import write_sample


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m encoders.training.data", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("collection", "sample"), default="collection")
    parser.add_argument("--out", type=Path, help="default: collection, or samples/tuxpaint-stamps")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--seed", type=int, default=0, help="of the split by concept")
    parser.add_argument("--cache", type=Path, default=Path("collection/cache"))
    arguments = parser.parse_args()
    try:
        check(["stamps"] if arguments.what == "sample" else arguments.sources)
    except ProgramsMissing as error:
        parser.exit(1, f"{error}\n")
    if arguments.what == "sample":
        out = arguments.out or Path("samples/tuxpaint-stamps")
        print(f"{write_sample(out, arguments.cache, arguments.seed)} stamps in {out}")
        return
    build(arguments.out or Path("collection"), arguments.sources, arguments.seed, arguments.cache)


if __name__ == "__main__":
    main()
