"""The files of the bundled generators: which they are, their settings, their hash.

Imports no model library, so that a service can tell what it would load.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from encoders.base import Modality

# By modality, the settings first, in the order in which they are hashed.
FILES: Mapping[Modality, tuple[str, ...]] = {
    "image": ("image.json", "image_vae.safetensors", "image_flow.safetensors"),
    "text": ("text.json", "text.tokenizer.json", "text.safetensors"),
    "audio": ("audio.json", "audio_vae.safetensors", "audio_flow.safetensors"),
}

NAMES: Mapping[Modality, str] = {
    "image": "picture-vae-flow",
    "text": "caption-gpt2",
    "audio": "mel-vae-flow",
}


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
