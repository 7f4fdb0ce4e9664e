"""The options that every training of a generator takes, and what is done before its first step."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from encoders.base import Modality
from encoders.training.data.records import MANIFEST
from generator.registry import WEIGHTS
from generator.training.epochs import Plan
from generator.training.errors import Refused
from generator.weight_files import FILES

LEAD_UNTIL = 0.3  # in the settings of new weights: from here on the lead of guidance is kept

# Where things are, and how far to go: another choice of these leaves the training the same.
APART = {
    "collection", "runs", "cache", "weights", "device", "resume", "stop_at", "stage", "part",
    "epoch_steps",
}  # fmt: skip


def training_parser(
    what: str, about: str | None, *, learning_rate: float, epoch_steps: int
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m generator.training.train {what}",
        description=about,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--collection", type=Path, default=Path("collection"), help="what is learnt from")
    add(
        "--runs",
        type=Path,
        help="folder for checkpoints and samples (default: %(default)s)",
        default=Path("runs") / what,
    )
    add("--cache", type=Path, default=Path("runs/cache"), help="folder for what is computed once")
    add(
        "--weights",
        type=Path,
        help="folder that weights are written to (default: weights, in the folder --runs); "
        "python -m generator.training.install FOLDER puts them into the package",
    )
    add("--learning-rate", type=float, default=learning_rate, help="the highest; it falls to 2 %%")
    add(
        "--epoch-steps",
        type=int,
        default=epoch_steps,
        help="steps between two lines, each with figures, weights and a checkpoint",
    )
    add("--seed", type=int, default=0, help="what is drawn by lot follows from it")
    add(
        "--resume",
        action="store_true",
        help="go on from the checkpoint in --runs, by the same options",
    )
    add("--stop-at", type=int, default=None, help="step to leave off at; --resume goes on")
    add("--from-stored", action="store_true", help="start from the weights in the package")
    add(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="what computes; no figure here is of anything but a CPU",
    )
    return parser


def add_without_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--without-memory",
        action="store_true",
        help="the same network, batches and steps, with all that is remembered left out; --runs is "
        "then another folder by default. For memory-service evaluate --no-memory-weights",
    )
    parser.add_argument(
        "--start",
        choices=("nothing", "stored"),
        default="nothing",
        help="what the network --without-memory starts from where --from-stored is given; stored: "
        "the package's, which has learnt with memory, and learns on without",
    )


def starts_from_stored(args: argparse.Namespace) -> bool:
    """Whether the network that `--without-memory` is about begins as the package's."""
    return bool(args.from_stored and (not args.without_memory or args.start == "stored"))


def parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, with the folders that follow from others."""
    args = parser.parse_args(argv)
    if getattr(args, "without_memory", False) and args.runs == parser.get_default("runs"):
        args.runs = args.runs.with_name(f"{args.runs.name}-without-memory")
    if args.weights is None:
        args.weights = args.runs / "weights"
    return args


def begin(args: argparse.Namespace) -> None:
    """Folders and seed. Raises Refused where there is no collection."""
    if not (args.collection / MANIFEST).is_file():
        raise Refused(
            f"there is no collection in {args.collection}: build it by "
            f"python -m encoders.training.data --out {args.collection}, or name one by --collection"
        )
    for folder in (args.runs, args.cache, args.weights):
        folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    print(f"learning from {args.collection}; weights go to {args.weights}", flush=True)


def bring_autoencoder(args: argparse.Namespace, modality: Modality) -> None:
    """What is trained over an autoencoder that is not among the weights yet gets the stored one by
    `--from-stored`. Raises Refused without."""
    names = FILES[modality][:2]
    if all((args.weights / name).is_file() for name in names):
        return
    if not args.from_stored:
        raise Refused(
            f"there is no {names[1]} in {args.weights}: train the autoencoder first, or take the "
            "package's by --from-stored"
        )
    for name in names:
        shutil.copyfile(WEIGHTS / name, args.weights / name)


def plan_of(args: argparse.Namespace, steps: int, learning_rate: float, warm_up: int = 100) -> Plan:
    """What the options say of a training of so many steps."""
    return Plan(
        steps=steps,
        epoch_steps=args.epoch_steps,
        learning_rate=learning_rate,
        warm_up=warm_up,
        seed=args.seed,
        resume=args.resume,
        stop_at=args.stop_at,
        options=options_of(args),
    )


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """Those that another choice of makes another training."""
    return {name: value for name, value in sorted(vars(args).items()) if name not in APART}
