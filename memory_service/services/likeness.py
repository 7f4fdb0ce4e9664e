"""How far two pictures, sounds or texts are from each other as they are seen, heard and read.

Beside the cosine of their embeddings, which tells whether they mean the same. Knows no models.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from encoders.base import Waveform
from encoders.log_mel import HOP, SAMPLE_RATE, log_mel, resample

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

MEASURES = {
    "image": "1 - SSIM",
    "audio": "log-mel distance",
    "text": "share of words not quoted",
}
WINDOW = 7  # pixels, as in scikit-image
LONGEST_S = 10.0  # of sounds
MOST_WORDS = 2_000
QUOTED = 2  # so many words in a row are a quote


def distance(modality: str, made: Any, known: Any) -> float | None:
    """From 0, the same, on, by the measure of the modality; None where there is no measure."""
    match modality:
        case "image":
            return picture_distance(made, known)
        case "audio":
            return sound_distance(made, known)
        case "text":
            return text_distance(made, known)
    return None


def similarity(modality: str, distance: float) -> float:
    """Of a `distance`, from 1, the same, down to 0: what it lacks to 1, of sounds e^-distance."""
    return float(np.exp(-distance)) if modality == "audio" else max(0.0, 1.0 - distance)


def picture_distance(made: Image.Image, known: Image.Image) -> float:
    """1 - SSIM at the size of `made`; `known` is shown whole, on white."""
    size = made.size
    fitted = ImageOps.pad(known.convert("RGB"), size, Image.Resampling.LANCZOS, "white")
    return 1.0 - ssim(np.asarray(made.convert("RGB")), np.asarray(fitted))


def ssim(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    """Structural similarity of (H, W, 3) pictures, mean over channels (Wang et al. 2004).

    As `skimage.metrics.structural_similarity` with its defaults: windows of 7 x 7, sample
    covariance. Smaller pictures get a smaller window.
    """
    side = min(WINDOW, *first.shape[:2])
    x, y = first.astype(np.float64), second.astype(np.float64)
    mean_x, mean_y = _means(x, side), _means(y, side)
    unbiased = side**2 / max(side**2 - 1, 1)
    var_x = unbiased * (_means(x * x, side) - mean_x**2)
    var_y = unbiased * (_means(y * y, side) - mean_y**2)
    covariance = unbiased * (_means(x * y, side) - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return float((above / below).mean())


def _means(values: Doubles, side: int) -> Doubles:
    """Of all windows of `side` x `side`, (H - side + 1, W - side + 1, 3), by running sums."""
    sums = np.pad(values, ((1, 0), (1, 0), (0, 0))).cumsum(0).cumsum(1)
    boxes = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return np.asarray(boxes / side**2, np.float64)


def sound_distance(made: Waveform, known: Waveform) -> float:
    """Mean absolute difference of log-mels, in natural logarithms (1 = 8.7 dB).

    Both scaled to a peak of 1, and from where they become audible to where the longer one ends.
    """
    first, second = _heard(made), _heard(known)
    longest = max(len(first), len(second))
    mels = [log_mel(np.pad(each, (0, longest - len(each)))) for each in (first, second)]
    return float(np.abs(mels[0] - mels[1]).mean())


def _heard(sound: Waveform) -> Floats:
    samples = resample(sound)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < 1e-4:
        return samples[: int(LONGEST_S * SAMPLE_RATE)]
    loud = np.flatnonzero(np.abs(samples) > 0.05 * peak)
    start = max(0, int(loud[0]) - HOP)
    return samples[start : start + int(LONGEST_S * SAMPLE_RATE)] / np.float32(peak)


def text_distance(made: str, known: str) -> float:
    """Share of the words of `made` that are not part of a quote from `known`.

    A quote is two or more words in a row, in the same order as there; of a single word, that word.
    Case and punctuation make no difference.
    """
    words, others = _words(made), _words(known)
    if not words:
        return 0.0 if not others else 1.0
    shortest = min(QUOTED, len(words))
    blocks = SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    return 1.0 - sum(each.size for each in blocks if each.size >= shortest) / len(words)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())[:MOST_WORDS]
