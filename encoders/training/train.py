"""Train the towers of profile `bundled` and store them beside the code.

    python -m encoders.training.train [--collection collection] [--run runs/encoders]
    python -m encoders.training.train image
    python -m encoders.training.train audio [--device cuda]

Without a name the picture tower is trained, and then the sound tower, which learns from its
vectors, too. The collection is built by `python -m encoders.training.data`, the frozen parts by
`python -m encoders.training.export_pretrained`. A run that was interrupted resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from encoders.training.precision import checked_device
from encoders.training.runs import OtherSettings, forget


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("tower", nargs="?", choices=("image", "audio", "all"), default="all")
    parser.add_argument("--collection", type=Path, default=Path("collection"))
    parser.add_argument("--run", type=Path, default=Path("runs/encoders"))
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument(
        "--phrases", type=_share, help='share of the texts that are "a picture of ..." and the like'
    )
    parser.add_argument("--from-stored", action="store_true", help="audio: train the tower on")
    parser.add_argument("--anew", action="store_true", help="do not go on with an earlier run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args(argv)
    try:
        device = checked_device(arguments.device)
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(arguments.threads)
    chosen = {
        name: value
        for name in ("epochs", "learning_rate", "phrases")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.from_stored and arguments.tower != "audio":
        parser.error("--from-stored: of the sound tower alone (audio)")
    for tower in ("image", "audio") if arguments.tower == "all" else (arguments.tower,):
        try:
            _train(tower, arguments, device, chosen)
        except OtherSettings as error:
            parser.error(str(error))


def _train(tower: str, arguments: argparse.Namespace, device: str, chosen: dict[str, Any]) -> None:
    from encoders.training import audio, image

    places = {
        "collection": arguments.collection,
        "run": arguments.run / tower,
        "cache": arguments.run,
        "seed": arguments.seed,
        "device": device,
    }
    if arguments.anew:
        forget(places["run"])
    if tower == "image":
        image.train(image.Settings(**places, **chosen))
    else:
        audio.train(audio.Settings(**places, **chosen, from_stored=arguments.from_stored))


def _share(value: str) -> float:
    if not 0 <= float(value) <= 1:
        raise argparse.ArgumentTypeError("a share is 0 to 1")
    return float(value)


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    pass


if __name__ == "__main__":
    main()
