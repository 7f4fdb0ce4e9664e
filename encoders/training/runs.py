"""A training run's folder: a checkpoint to resume from, and a log of one JSON line per epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch


class Run:
    """`folder/checkpoint.pt` and `folder/log.jsonl`."""

    def __init__(self, folder: Path, settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._checkpoint = folder / "checkpoint.pt"
        self._log = folder / "log.jsonl"
        self._settings = repr(settings)

    def resume(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int | None:
        """The number of epochs done; None without a checkpoint of the same settings."""
        if not self._checkpoint.exists():
            return None
        # Onto the processor: what is loaded is copied to where the model is.
        stored = torch.load(self._checkpoint, weights_only=True, map_location="cpu")
        if stored["settings"] != self._settings:
            return None
        model.load_state_dict(stored["model"])
        optimizer.load_state_dict(stored["optimizer"])
        print(f"resuming after epoch {stored['epoch']}", flush=True)
        return int(stored["epoch"])

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> None:
        """Write the checkpoint after `epoch` epochs; a crash leaves the one before."""
        partial = self._checkpoint.with_suffix(".partial")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**state, "epoch": epoch, "settings": self._settings}, partial)
        partial.rename(self._checkpoint)

    def log(self, **figures: Any) -> None:
        """Append a line, and print it."""
        with self._log.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(figures) + "\n")
        print("  ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
