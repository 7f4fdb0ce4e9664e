"""Committed weights: fp16 safetensors, read back as fp32.

Knows nothing about what the weights mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save

M = TypeVar("M", bound=torch.nn.Module)


def save_weights(module: torch.nn.Module, path: Path) -> None:
    """Write the state of `module` as fp16; tensors that share memory are written once."""
    state: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict().items():
        if tensor.data_ptr() in seen and tensor.numel():
            continue  # tied weights: loading ties them again
        seen.add(tensor.data_ptr())
        state[name] = tensor.detach().cpu().half().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(state))  # `save_file` would make the file readable by its owner only


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Load what `save_weights` wrote; ValueError when a tensor is missing or unknown."""
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    own = module.state_dict()
    result = module.load_state_dict(state, strict=False)
    present = {own[name].data_ptr() for name in state if name in own}
    missing = [name for name in result.missing_keys if own[name].data_ptr() not in present]
    if result.unexpected_keys or missing:
        raise ValueError(f"{path.name} does not fit: {result.unexpected_keys or missing}")


def loaded(module: M, path: Path) -> M:
    """`module` with the weights of a file, for serving."""
    load_weights(module, path)
    return module.eval()
