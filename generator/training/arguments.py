"""The options that every training of a generator takes."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from generator.training.epochs import Plan


def training_parser(
    modality: str, about: str | None, *, learning_rate: float, epoch_steps: int
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"train {modality}",
        description=about,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--collection", type=Path, default=Path("collection"))
    parser.add_argument("--runs", type=Path, default=Path("runs") / modality, help="checkpoints")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="computed once")
    parser.add_argument("--weights", type=Path, default=Path("generator/weights"), help="written")
    parser.add_argument("--learning-rate", type=float, default=learning_rate, help="the highest")
    parser.add_argument("--epoch-steps", type=int, default=epoch_steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--stop-at", type=int, default=None, help="leave off early; resume later")
    parser.add_argument("--from-stored", action="store_true", help="start from the stored weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


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
    )
