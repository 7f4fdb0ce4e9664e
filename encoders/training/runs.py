"""A training run's folder: a checkpoint to resume from, and a log of one JSON line per epoch."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHECKPOINT = "checkpoint.pt"
ELSEWHERE = {"collection", "run", "cache", "device"}  # a run may go on in another place


class OtherSettings(ValueError):
    """The folder holds a run that was begun with other settings."""


def forget(folder: Path) -> None:
    """The next run in this folder begins anew."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


class Run:
    """`folder/checkpoint.pt` and `folder/log.jsonl`."""

    def __init__(self, folder: Path, settings: DataclassInstance) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._checkpoint = folder / CHECKPOINT
        self._log = folder / "log.jsonl"
        self._settings = {
            field.name: repr(getattr(settings, field.name))
            for field in fields(settings)
            if field.name not in ELSEWHERE
        }

    def resume(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int | None:
        """The number of epochs done; None without a checkpoint.

        Raises OtherSettings: a run is never begun anew in silence.
        """
        if not self._checkpoint.exists():
            return None
        # Onto the processor: what is loaded is copied to where the model is.
        stored = torch.load(self._checkpoint, weights_only=True, map_location="cpu")
        before: dict[str, str] = stored["settings"]
        if before != self._settings:
            names = sorted(before.keys() | self._settings.keys())
            changed = [
                f"{name} {before.get(name, 'unknown')} then, {self._settings.get(name)} now"
                for name in names
                if before.get(name) != self._settings.get(name)
            ]
            raise OtherSettings(
                f"{self._checkpoint} was begun with other settings: {'; '.join(changed)}. "
                "Go on with those, or begin anew in another folder (--run) or with --anew"
            )
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
