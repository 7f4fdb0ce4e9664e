"""What a training keeps: averaged weights, checkpoints, and the rate at a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from generator.training.errors import Refused

EMA_DECAY = 0.999


class Stateful(Protocol):
    """A module or an optimizer."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Average:
    """Exponential moving average of a module's parameters: sharper than the last step's."""

    def __init__(self, module: nn.Module) -> None:
        self.state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        self.updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        decay = min(EMA_DECAY, (1 + self.updates) / (10 + self.updates))
        for name, tensor in module.state_dict().items():
            self.state[name].lerp_(tensor.to(self.state[name].dtype), 1 - decay)

    def applied(self, module: nn.Module) -> _Applied:
        """Context in which the module has the averaged parameters, in evaluation mode."""
        return _Applied(self, module)


class _Applied:
    def __init__(self, average: Average, module: nn.Module) -> None:
        self._average, self._module = average, module

    def __enter__(self) -> None:
        self._own = {name: tensor.clone() for name, tensor in self._module.state_dict().items()}
        self._module.load_state_dict(self._average.state)
        self._module.eval()

    def __exit__(self, *_: object) -> None:
        self._module.load_state_dict(self._own)
        self._module.train()


def set_rate(
    optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int, warm_up: int = 100
) -> None:
    """Linear warm-up, then half a cosine down to 2 %."""
    share = min(1.0, max(0, step - warm_up) / max(1, steps - warm_up))
    factor = min(1.0, (step + 1) / max(1, warm_up)) * (
        0.02 + 0.49 * (1 + math.cos(math.pi * share))
    )
    for group in optimizer.param_groups:
        group["lr"] = peak * factor


def keep(
    path: Path, step: int, average: Average, options: Mapping[str, Any], **parts: Stateful
) -> None:
    """Write step, average, options and the state of every part, all or nothing."""
    state: dict[str, Any] = {name: part.state_dict() for name, part in parts.items()}
    state |= {"step": step, "average": average.state, "updates": average.updates}
    state["options"] = dict(options)
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def restore(path: Path, average: Average, options: Mapping[str, Any], **parts: Stateful) -> int:
    """Go on from the checkpoint that `keep` wrote; its step, 0 when there is none. Raises
    Refused, with the options that differ."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    # A checkpoint of an earlier version says nothing of its options.
    _require_same(path, state.get("options", options), options)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    average.state, average.updates = state["average"], state["updates"]
    return int(state["step"])


def _require_same(path: Path, began: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    told = [
        f"--{name.replace('_', '-')} {now.get(name)} in place of {began.get(name)}"
        for name in sorted({*began, *now})
        if began.get(name) != now.get(name)
    ]
    if told:
        raise Refused(
            f"{path} was begun by other options ({'; '.join(told)}): go on by those, or begin "
            "another training in another folder --runs"
        )
