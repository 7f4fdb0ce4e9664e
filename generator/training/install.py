"""Put trained weights into the package: `python -m generator.training.install runs/image/weights`.

Takes over what the folder has all files of, after it was read as a service would.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from encoders.registry import load_profile
from generator import learned_fusion
from generator.registry import WEIGHTS, load_weights
from generator.weight_files import FILES


def main(argv: Sequence[str] | None = None, into: Path = WEIGHTS) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m generator.training.install", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="that a training has written weights to")
    folder = parser.parse_args(argv).folder
    known = {**FILES, "fusion": learned_fusion.FILES}
    whole = {
        what: names
        for what, names in known.items()
        if all((folder / name).is_file() for name in names)
    }
    if not whole:
        sys.exit(f"{folder} has no complete weights: {_listed(known)}")
    if set(whole) - {"fusion"}:
        try:
            load_weights(folder, load_profile("bundled").encoders["text"].space)
        except (OSError, ValueError) as error:
            sys.exit(f"{folder}: {error}")
    for what, names in whole.items():
        for name in names:
            shutil.copyfile(folder / name, into / name)
        print(f"{what}: {', '.join(names)} -> {into}")
    print("if shapes or names of tensors have changed: python -m generator.training.export_onnx")


def _listed(known: dict[str, tuple[str, ...]]) -> str:
    return "; or ".join(", ".join(names) for names in known.values())


if __name__ == "__main__":
    main()
