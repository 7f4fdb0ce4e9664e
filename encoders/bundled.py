"""Profile `bundled`: one space of 384 dimensions for pictures, texts and sounds.

Importing this module imports no model library: `load` brings in the runtime that it is asked for.

Weights lie beside the code, in `weights/bundled`; nothing is downloaded. How they were made:
`encoders/weights/README.md`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from encoders.base import Encoder, Space
from encoders.calibration import Calibration
from encoders.errors import UnknownName

if TYPE_CHECKING:
    from encoders.openclip import OpenClipImageEncoder, OpenClipTextEncoder

FOLDER = Path(__file__).parent / "weights" / "bundled"
DIMENSION = 384
PREPARATION = "unit length; pictures on white; log-mel 16 kHz; 1"  # raise it when code changes it

RUNTIMES = ("openvino", "torch")


def space(folder: Path = FOLDER) -> Space:
    """The space, its fingerprint taken over every weight, tokenizer and configuration file."""
    digest = hashlib.sha256(f"{DIMENSION} {PREPARATION}".encode())
    for path in sorted(folder.iterdir()):
        if path.name != "calibration.json":  # changes scores, not vectors
            digest.update(path.name.encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return Space("bundled", DIMENSION, digest.hexdigest())


def text_and_image(folder: Path = FOLDER) -> tuple[OpenClipTextEncoder, OpenClipImageEncoder]:
    """The two encoders that share an OpenCLIP model, in torch: what training starts from."""
    from encoders.openclip import LOCAL, OpenClipImageEncoder, OpenClipModel, OpenClipTextEncoder

    shared = OpenClipModel.open(f"{LOCAL}{folder}", space=space(folder))
    return OpenClipTextEncoder(shared), OpenClipImageEncoder(shared)


def load(
    folder: Path = FOLDER, runtime: str = RUNTIMES[0], threads: int = 1
) -> tuple[tuple[Encoder, ...], Calibration]:
    """Encoders of every modality that the folder has weights for, and their calibration.

    `threads`: numeric threads of each call; torch has one number for the whole process instead.
    Raises UnknownName for another runtime, ModelUnavailable when graphs do not fit the weights.
    """
    if runtime not in RUNTIMES:
        raise UnknownName(f"no runtime {runtime!r}; there are: {', '.join(RUNTIMES)}")
    encoders = _in_torch(folder) if runtime == "torch" else _in_openvino(folder, threads)
    calibration = folder / "calibration.json"
    maps = Calibration.load(calibration) if calibration.exists() else Calibration()
    return encoders, maps


def _in_openvino(folder: Path, threads: int) -> tuple[Encoder, ...]:
    from encoders.served import OpenVinoAudioEncoder, OpenVinoImageEncoder, OpenVinoTextEncoder

    shared = space(folder)
    image = OpenVinoImageEncoder(folder, shared, threads)
    text = OpenVinoTextEncoder(folder, shared, threads)
    if not _hears(folder):
        return image, text
    return image, text, OpenVinoAudioEncoder(folder, shared, threads)


def _in_torch(folder: Path) -> tuple[Encoder, ...]:
    text, image = text_and_image(folder)
    if not _hears(folder):
        return image, text
    from encoders.audio import AudioEncoder

    return image, text, AudioEncoder.open(folder, text.space)


def _hears(folder: Path) -> bool:
    return (folder / "audio.safetensors").exists()
