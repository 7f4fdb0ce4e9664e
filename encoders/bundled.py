"""Profile `bundled`: one space of 384 dimensions for pictures, texts and sounds.

Weights lie beside the code, in `weights/bundled`; nothing is downloaded. How they were made:
`encoders/weights/README.md`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from encoders.audio import AudioEncoder
from encoders.base import Encoder, Space
from encoders.calibration import Calibration
from encoders.openclip import LOCAL, OpenClipImageEncoder, OpenClipModel, OpenClipTextEncoder

FOLDER = Path(__file__).parent / "weights" / "bundled"
DIMENSION = 384
PREPARATION = "unit length; pictures on white; log-mel 16 kHz; 1"  # raise it when code changes it


def space(folder: Path = FOLDER) -> Space:
    """The space, its fingerprint taken over every weight, tokenizer and configuration file."""
    digest = hashlib.sha256(f"{DIMENSION} {PREPARATION}".encode())
    for path in sorted(folder.iterdir()):
        if path.name != "calibration.json":  # changes scores, not vectors
            digest.update(path.name.encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return Space("bundled", DIMENSION, digest.hexdigest())


def text_and_image(folder: Path = FOLDER) -> tuple[OpenClipTextEncoder, OpenClipImageEncoder]:
    """The two encoders that share an OpenCLIP model."""
    shared = OpenClipModel.open(f"{LOCAL}{folder}", space=space(folder))
    return OpenClipTextEncoder(shared), OpenClipImageEncoder(shared)


def load(folder: Path = FOLDER) -> tuple[tuple[Encoder, ...], Calibration]:
    """Encoders of every modality that the folder has weights for, and their calibration."""
    text, image = text_and_image(folder)
    encoders: list[Encoder] = [image, text]
    if (folder / "audio.safetensors").exists():
        encoders.append(AudioEncoder.open(folder, text.space))
    calibration = folder / "calibration.json"
    maps = Calibration.load(calibration) if calibration.exists() else Calibration()
    return tuple(encoders), maps
