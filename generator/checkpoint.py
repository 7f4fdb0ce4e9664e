"""Committed weights: fp16 safetensors and their JSON settings, read back as fp32, and their hash.

Knows nothing about what the weights mean.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save


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


def read_settings(path: Path) -> dict[str, Any]:
    """The JSON object beside the weights."""
    settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return settings


def write_settings(settings: Any, path: Path) -> None:
    """The dataclass as a JSON object, with the folder it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(settings), indent=1) + "\n", "utf-8")


def fingerprint(*paths: Path) -> str:
    """sha256 over the bytes of the files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
