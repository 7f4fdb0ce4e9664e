"""The loop that every training runs in: epochs, averaged weights, checkpoints, a bar.

What is drawn by lot at a step depends on the seed and the step alone, so a training that was killed
and goes on from its last checkpoint comes to the same weights as one that was not. Knows nothing
about what is trained.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import nn

from generator.training.checkpoints import Average, Stateful, keep, restore, set_rate

# One step: the losses by name. All that it draws comes from the generator, or from torch's.
Update = Callable[[int, np.random.Generator], Mapping[str, float]]
# After an epoch, while the model has its averaged weights: writes them, and says how good they are.
EpochEnd = Callable[[int], str]
Part = TypeVar("Part")
FEW = 10  # parts that are done without a word


@dataclass(frozen=True)
class Plan:
    """How long a training goes, and how fast."""

    steps: int
    epoch_steps: int
    learning_rate: float  # the highest; it falls along half a cosine
    warm_up: int = 100  # steps
    seed: int = 0
    resume: bool = False
    stop_at: int | None = None  # leave off here, as if killed; `resume` goes on
    # What it was begun by, kept with the checkpoint: by others it is not gone on with.
    options: Mapping[str, Any] = field(default_factory=dict)


def run_epochs(
    plan: Plan,
    checkpoint: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    update: Update,
    epoch_ends: EpochEnd,
    **others: Stateful,
) -> None:
    """Train `model` by `update` from step 0, or with `resume` from the checkpoint, if there is one.
    Raises Refused where that was begun by others.

    Every epoch ends with `epoch_ends`, a line and a checkpoint of model, average, optimizer and
    `others`.
    """
    average = Average(model)
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer, **others}
    step = restore(checkpoint, average, plan.options, **parts) if plan.resume else 0
    last = min(plan.steps, plan.stop_at or plan.steps)
    with _bar() as bar:
        task = bar.add_task(checkpoint.stem, total=plan.steps, completed=step)
        while step < last:
            began, first, losses = time.monotonic(), step, Counter[str]()
            model.train()
            while step < min(last, first + plan.epoch_steps - first % plan.epoch_steps):
                set_rate(optimizer, plan.learning_rate, step, plan.steps, plan.warm_up)
                losses.update(update(step, _lots(plan.seed, step)))
                average.update(model)
                step += 1
                bar.update(task, completed=step)
            seconds = time.monotonic() - began
            with average.applied(model):
                quality = epoch_ends(step)
            keep(checkpoint, step, average, plan.options, **parts)
            means = " ".join(f"{name} {sum_ / (step - first):.4f}" for name, sum_ in losses.items())
            bar.console.print(
                f"step {step}/{plan.steps} {means}; {quality}; "
                f"{seconds / (step - first):.2f} s a step"
            )


def descend(loss: torch.Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """One step down the gradient, of a length of at most 1; the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([each for each in model.parameters() if each.requires_grad], 1.0)
    optimizer.step()
    return float(loss.detach())


def told(parts: Sequence[Part], what: str) -> Iterator[Part]:
    """The parts, with a line at the start and after each tenth of them: for what takes minutes
    before a first step. Nothing of a few."""
    began, tenth = time.monotonic(), max(1, len(parts) // 10)
    for number, part in enumerate(parts):
        if number % tenth == 0 and len(parts) >= FEW:
            seconds = time.monotonic() - began
            print(f"{what}: {number * 100 // len(parts)} %, {seconds:.0f} s", flush=True)
        yield part


def _lots(seed: int, step: int) -> np.random.Generator:
    """The step's own random numbers; torch's are set to such, too."""
    random = np.random.default_rng((seed, step))
    torch.manual_seed(int(random.integers(2**63)))
    return random


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        # Lines as they are, also in a log file.
        console=Console(soft_wrap=True, markup=False, highlight=False),
    )
